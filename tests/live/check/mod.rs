//! Calls the service through haiku, and compares what comes with what haiku takes for granted.

mod facts;
mod relay;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assert_cmd::Command;
use tempfile::TempDir;
use ureq::http::Uri;

use facts::{Fact, Probe};
use relay::{Exchange, Relay};

/// Stands, in arguments and input, for a word that no earlier run has sent.
const ONCE: &str = "{once}";

/// The service to ask, and who asks.
pub struct Settings {
    pub account: String,
    pub token: String,
    pub base_url: String,
    pub gateway: Option<String>,
    pub ca_file: Option<PathBuf>,
    /// What the call has that is made without the relay: a proxy, say.
    pub environment: Vec<(OsString, OsString)>,
    /// A folder for the responses.
    pub record: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub confirmed: usize,
    pub differ: usize,
    /// Whether one that differs is one that haiku's behaviour depends on.
    pub is_fatal: bool,
}

/// One call of haiku, and what passed the relay.
pub struct Call {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub exchange: Exchange,
}

/// What came: as an error, if it is not what we believe.
pub type Finding = Result<String, String>;

impl Outcome {
    fn note(
        &mut self,
        fact: &Fact,
        finding: Finding,
        service: &Service,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let is_confirmed = finding.is_ok();
        let (Ok(came) | Err(came)) = finding;
        let (verdict, note) = match (is_confirmed, fact.is_relied_on) {
            (true, _) => ("confirmed", ""),
            (false, true) => ("differs", " [haiku depends on it]"),
            (false, false) => ("differs", " [haiku does not depend on it]"),
        };
        let Fact { name, believed, .. } = fact;
        let line = format!("{verdict:9}  {name}: {believed}; came: {came}{note}");
        writeln!(out, "{}", visible(&service.redact(&line)))?;
        self.confirmed += usize::from(is_confirmed);
        self.differ += usize::from(!is_confirmed);
        self.is_fatal |= !is_confirmed && fact.is_relied_on;
        Ok(())
    }
}

/// Makes every call and prints a line for each fact.
///
/// # Errors
/// Output or recordings that cannot be written.
pub fn run(settings: &Settings, out: &mut dyn Write) -> io::Result<Outcome> {
    let service = Service::new(settings);
    let mut outcome = Outcome::default();
    let mut accepted = BTreeSet::new();
    for (number, probe) in facts::probes().iter().enumerate() {
        let call = service.call(probe);
        if call.exchange.status() == Some(200) {
            accepted.extend(facts::properties(&call.exchange.sent()));
        }
        for fact in &probe.facts {
            outcome.note(fact, (fact.judge)(&call), &service, out)?;
        }
        if let Some(folder) = &settings.record {
            service.record(folder, number, probe, &call)?;
        }
    }
    for fact in facts::input_properties() {
        let is_accepted = accepted.contains(&fact.name);
        let finding = if is_accepted { Ok("accepted".into()) } else { Err("refused".into()) };
        outcome.note(&fact, finding, &service, out)?;
    }
    let differ = if outcome.differ == 1 { "differs" } else { "differ" };
    writeln!(out, "{} confirmed, {} {differ}", outcome.confirmed, outcome.differ)?;
    Ok(outcome)
}

/// One line without control characters, and not too long to read.
fn visible(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

struct Service<'a> {
    settings: &'a Settings,
    relay: Relay,
    /// The base URL with the relay in place of the host.
    relay_url: String,
    folder: TempDir,
    once: String,
}

impl Service<'_> {
    fn new(settings: &Settings) -> Service<'_> {
        let base_url: Uri = settings.base_url.parse().expect("a base URL");
        let relay = Relay::new(&base_url, settings.ca_file.as_deref());
        let relay_url = format!("http://127.0.0.1:{}{}", relay.port, base_url.path());
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in facts::files() {
            fs::write(folder.path().join(name), bytes).expect("a file");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Service { settings, relay, relay_url, folder, once: format!("run-{}", now.as_millis()) }
    }

    fn call(&self, probe: &Probe) -> Call {
        let settings = self.settings;
        let fill = |text: &str| text.replace(ONCE, &self.once);
        let mut command = Command::new(env!("CARGO_BIN_EXE_haiku"));
        command.env_clear();
        let base_url = if probe.is_direct {
            command.envs(settings.environment.iter().cloned());
            &settings.base_url
        } else {
            &self.relay_url
        };
        self.relay.treat(probe.treatment);
        let output = command
            .env("CLOUDFLARE_API_BASE_URL", base_url)
            .env("CLOUDFLARE_ACCOUNT_ID", probe.account.unwrap_or(&settings.account))
            .env("CLOUDFLARE_API_TOKEN", probe.token.unwrap_or(&settings.token))
            .envs(settings.gateway.iter().map(|id| ("CLOUDFLARE_GATEWAY_ID", id)))
            .envs(settings.ca_file.iter().map(|file| ("SSL_CERT_FILE", file)))
            .args(["--timeout", "120", "--retries", if probe.is_retried { "2" } else { "0" }])
            .args(probe.arguments.iter().map(|argument| fill(argument)))
            .write_stdin(fill(&probe.input))
            .current_dir(&self.folder)
            .timeout(Duration::from_secs(180))
            .output()
            .expect("haiku runs");
        Call {
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            exchange: self.relay.take().unwrap_or_default(),
        }
    }

    fn redact(&self, text: &str) -> String {
        let secrets = [&self.settings.token, &self.settings.account];
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(*secret, "[redacted]"))
    }

    /// Keeps a response byte for byte, but for what is secret.
    fn record(&self, folder: &Path, number: usize, probe: &Probe, call: &Call) -> io::Result<()> {
        let secrets = [&self.settings.token, &self.settings.account];
        let exchange = call.exchange.without(&secrets.map(String::as_bytes));
        let name = probe.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{:02}-{name}.http", number + 1)), exchange.response)
    }
}
