//! `cargo bench --bench bench`: what a whole call costs, compared with what other programs need for the same bytes.
//!
//! Every row runs two programs in turn, so that a machine that slows down slows both, and shows medians.
//! Nothing is asserted: the figures are for a person to read.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod call;
mod network;

#[path = "../it/support/forgetful.rs"]
mod forgetful;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../it/support/mock_server.rs"]
mod mock_server;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../it/support/test_ca.rs"]
mod test_ca;

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use api::Api;
use call::{Call, Cost, find, median, proportional_memory};
use mock_server::{Server, Step, json_response, message};
use test_ca::TestCa;

const HAIKU: &str = env!("CARGO_BIN_EXE_haiku");

/// Where Debian keeps the certificates that every program trusts.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A name with a certificate, to which the dead addresses belong.
const HOST: &str = "api.test";

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn main() {
    if let Some(status) = network::rerun_isolated() {
        process::exit(status.code().unwrap_or(1));
    }
    let bench = Bench::new();
    println!("CPU time of whole calls, unless a row says otherwise.\n");
    println!("| work | against | haiku | theirs | ratio | at most |");
    println!("|---|---|---|---|---|---|");
    bench.small_replies();
    bench.tls();
    bench.streams();
    bench.uploads();
    bench.memory();
    bench.growth();
    bench.waiting();
    bench.errors();
    let size = fs::metadata(HAIKU).unwrap().len() as f64 / 1e6;
    figure("binary", &format!("{size:.1} MB"), "3.6 MB");
}

/// The API, the input files, and the calls that use them.
struct Bench {
    folder: TempDir,
    api: Api,
    /// The system's certificates and the API's own CA, if the system's are in the usual place.
    bundle: Option<PathBuf>,
    /// The C program, if there is a compiler.
    client: Option<PathBuf>,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new();
        let bundle = bundle(&ca, folder.path());
        if network::is_isolated() {
            network::add_dead_addresses(HOST, folder.path());
            if let Some(bundle) = &bundle {
                network::mount_over(bundle, SYSTEM_BUNDLE);
            }
        }
        let bench = Bench {
            api: Api::new(ca.issue(|_| {})),
            client: compile(folder.path()),
            bundle,
            folder,
        };
        bench.write_inputs();
        bench
    }

    fn write_inputs(&self) {
        let line = "Ten megabytes of a \"prompt\", with a line break in each line.\n";
        let prompt = |length| line.repeat(length / line.len());
        let body = |prompt: &str| {
            let messages = json!([{"role": "user", "content": prompt.trim_end()}]);
            let model = "anthropic/claude-haiku-4.5";
            json!({"model": model, "messages": messages, "max_tokens": 8192}).to_string()
        };
        let turns = |count| {
            let turn = "{\"role\":\"user\",\"content\":\"A question\"}\n{\"role\":\"assistant\",\"content\":\"An answer\"}\n";
            turn.repeat(count)
        };
        for (name, content) in [
            ("10MB", prompt(10_000_000)),
            ("3MB", prompt(3_000_000)),
            ("300KB", prompt(300_000)),
            ("small.json", body("hi")),
            ("10MB.json", body(&prompt(10_000_000))),
            ("10000.jsonl", turns(5_000)),
            ("1000.jsonl", turns(500)),
        ] {
            fs::write(self.file(name), content).unwrap();
        }
    }

    fn small_replies(&self) {
        let version = Call::new(HAIKU, &["--version"]);
        let peer = Peer::new("`true`", Call::new("true", &[]), "1.8");
        cpu("`--version`", 60, &version, &[peer]);
        let curl = self.curl("small", &["-s"]);
        let jq = format!("{} | jq -r '.content[0].text'", curl.as_shell_line());
        let mut peers = vec![
            Peer::new("a C program", self.client("small", "print"), "1.9"),
            Peer::new("`curl -s`", curl, "0.24"),
            Peer::new("`curl -s`, `jq`", find("jq").map(|_| Call::shell(&jq)), "0.07"),
        ];
        peers.extend(self.other_clients());
        cpu("small reply, plain HTTP", 60, &self.haiku("small"), &peers);
    }

    fn tls(&self) {
        let (system, named) = (self.system_tls(), self.named_tls());
        let work = "small reply, TLS";
        match &system {
            Some((ours, theirs)) => {
                let peer = Peer::new("`curl -s`", theirs.clone(), "0.12");
                cpu(work, 40, ours, &[peer]);
                let opened = ours.files_opened().map_or("-".into(), |n| n.to_string());
                figure("files opened in that call", &opened, "20");
            }
            None => left_out(work),
        }
        let work = "small reply, TLS, SSL_CERT_FILE";
        match &named {
            Some((ours, theirs)) => {
                let peer = Peer::new("`curl -s --cacert`", theirs.clone(), "0.12");
                cpu(work, 40, ours, &[peer]);
            }
            None => left_out(work),
        }
    }

    fn streams(&self) {
        let peer = Peer::new("`curl -sN`", self.curl("stream", &["-sN"]), "0.30");
        cpu("small stream", 40, &self.stream("stream"), &[peer]);
        let peers = [
            Peer::new("`curl -sN`", self.curl("long", &["-sN"]), "0.70"),
            Peer::new(
                "a C program that de-chunks, finds the text and unescapes it",
                self.client("long", "decode"),
                "3.0",
            ),
        ];
        let work = "5 MB of text in 230,000 events";
        cpu(work, 20, &self.stream("long"), &peers);
        let peer = Peer::new("`curl -sN`", self.curl("segments", &["-sN"]), "0.90");
        let work = "2,000 events, one segment each, 0.5 ms apart";
        cpu(work, 15, &self.stream("segments"), &[peer]);
        let latency = self.first_text() * 1e3;
        let work = "first text after it was sent, wall time";
        figure(work, &format!("{latency:.2} ms"), "1 ms");
    }

    fn uploads(&self) {
        let mut upload = self.client("small", "upload");
        upload = upload.map(|call| call.stdin(self.file("10MB")));
        let peers = [
            Peer::new("`curl --data-binary`", self.curl_upload(), "1.4"),
            Peer::new("a C program that escapes and sends it", upload, "1.5"),
        ];
        cpu("10 MB prompt", 40, &self.upload("10MB"), &peers);
    }

    fn memory(&self) {
        for (what, call, at_most) in [
            ("small reply", Some(self.haiku("small")), "4.5 MB"),
            ("stream", Some(self.stream("long")), "4.5 MB"),
            ("10 MB prompt", Some(self.upload("10MB")), "27 MB"),
            ("small reply, TLS", self.system_tls().map(|(ours, _)| ours), "6.5 MB"),
            ("30 MB reply", Some(self.haiku("30MB")), "95 MB"),
        ] {
            let work = format!("peak memory, {what}");
            match call {
                Some(call) => {
                    let peak = call.peak_memory();
                    let peak = peak.map_or("-".into(), |peak| format!("{peak:.1} MB"));
                    figure(&work, &peak, at_most);
                }
                None => left_out(&work),
            }
        }
        let ours = self.memory_of_each(&self.haiku("held"));
        let theirs = self.memory_of_each(&self.curl("held", &["-s"]));
        let work = "memory of each of 100 calls at once";
        compared(work, "`curl -s`", [ours, theirs], ours / theirs, "MB", "0.36");
    }

    /// How the number of instructions grows with the size of the work.
    fn growth(&self) {
        let messages = |name| {
            let file = self.file(name);
            haiku_at(&self.url("small"), &["-n", "--messages", file.to_str().unwrap(), "hi"])
        };
        for (what, small, large) in [
            ("prompt", self.upload("300KB"), self.upload("3MB")),
            ("turns", messages("1000.jsonl"), messages("10000.jsonl")),
            ("events", self.stream("tenth"), self.stream("long")),
        ] {
            let growth = small.instructions().zip(large.instructions());
            let growth =
                growth.map_or("-".into(), |(small, large)| format!("{:.1} times", large / small));
            figure(&format!("instructions for 10 times the {what}"), &growth, "10.5 times");
        }
    }

    fn waiting(&self) {
        let work = "two dead IPv6 addresses first, wall time";
        if network::is_isolated() && self.bundle.is_some() {
            let url = format!("https://{HOST}:{}/small", self.api.tls_port);
            let peer = Peer::new("`curl -s`", self.curl_at(&url, &["-s"]), "800 ms");
            wall(work, 3, &haiku_at(&url, &["hi"]), &[peer]);
        } else {
            left_out(work);
        }
        let port = network::distant(self.api.tls_port, ROUND_TRIP);
        let work = "small reply, TLS, round trip of 50 ms, wall time";
        if let Some((ours, theirs)) = self.named_tls_at(port) {
            let peer = Peer::new("`curl -s --cacert`", theirs, "1.1");
            if let Some(elapsed) = wall(work, 10, &ours, &[peer]) {
                let round_trips = elapsed / (ROUND_TRIP.as_secs_f64() * 1e3);
                figure("the same, in round trips", &format!("{round_trips:.1}"), "3.6");
            }
        } else {
            left_out(work);
        }
        let work = "reply after two minutes, through a router that forgets a connection after 45 s";
        let arrives = forgetful::in_forgetful_network(Duration::from_secs(45), || {
            let reply = json_response(200, message("late", "end_turn").to_string());
            let wait = Step::Wait(Duration::from_secs(120));
            let server = Server::always(vec![wait, Step::Send(reply)]);
            let mut call = haiku_at(&server.url(), &["hi"]).spawn(Stdio::null());
            call.wait().unwrap().success()
        });
        match arrives {
            Some(arrives) => figure(work, if arrives { "arrives" } else { "lost" }, "arrives"),
            None => println!("| {work} | left out: needs root, ip and iptables | | | | |"),
        }
    }

    fn errors(&self) {
        for (work, call) in [
            ("usage error", Call::new(HAIKU, &["--no-such-option"]).fails_with(2)),
            ("rejected call (401)", self.haiku("401").fails_with(3)),
        ] {
            let name = "the same without RUST_BACKTRACE=1";
            let ours = call.clone().set("RUST_BACKTRACE", "1");
            cpu(work, 20, &ours, &[Peer::new(name, call.clone(), "")]);
            wall(&format!("{work}, wall time"), 20, &ours, &[Peer::new(name, call, "")]);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, response: &str) -> String {
        format!("http://127.0.0.1:{}/{response}", self.api.port)
    }

    fn haiku(&self, response: &str) -> Call {
        haiku_at(&self.url(response), &["hi"])
    }

    fn stream(&self, response: &str) -> Call {
        haiku_at(&self.url(response), &["--stream", "hi"])
    }

    fn upload(&self, prompt: &str) -> Call {
        haiku_at(&self.url("small"), &[]).stdin(self.file(prompt))
    }

    fn curl(&self, response: &str, options: &[&str]) -> Call {
        self.curl_at(&self.url(response), options)
    }

    fn curl_at(&self, url: &str, options: &[&str]) -> Call {
        self.curl_with("small.json", url, options)
    }

    fn curl_upload(&self) -> Call {
        self.curl_with("10MB.json", &self.url("small"), &["-s"])
    }

    fn curl_with(&self, body: &str, url: &str, options: &[&str]) -> Call {
        let body = format!("@{}", self.file(body).display());
        let token = ["-H", "Authorization: Bearer x"];
        let content = ["-H", "Content-Type: application/json", "--data-binary", &body];
        Call::new("curl", &[options, &token, &content, &[url]].concat())
    }

    fn client(&self, response: &str, mode: &str) -> Option<Call> {
        let port = self.api.port.to_string();
        let program = self.client.as_ref()?.to_str()?;
        Some(Call::new(program, &[&port, response, mode]))
    }

    /// Other HTTP and LLM clients, if they are installed.
    fn other_clients(&self) -> Vec<Peer> {
        let url = self.url("small");
        let mut peers = Vec::new();
        if find("xh").is_some() {
            let body = fs::read_to_string(self.file("small.json")).unwrap();
            let args = ["--ignore-stdin", "--body", "POST", &url, "--raw", &body];
            peers.push(Peer::new("`xh`", Call::new("xh", &args), ""));
        }
        if find("aichat").is_some() {
            let config = format!(
                "model: claude:haiku\nsave: false\nclients:\n- type: claude\n  api_base: {url}\n  api_key: x\n  \
                 models:\n  - name: haiku\n    max_output_tokens: 8192\n    require_max_tokens: true\n"
            );
            fs::write(self.file("config.yaml"), config).unwrap();
            let folder = self.folder.path().to_str().unwrap();
            let call = Call::new("aichat", &["-S", "hi"])
                .set("AICHAT_CONFIG_DIR", folder)
                .set("HOME", folder);
            peers.push(Peer::new("`aichat`", call, ""));
        }
        peers
    }

    /// haiku and curl with nothing but the system's certificates, if the API's CA is among them.
    fn system_tls(&self) -> Option<(Call, Call)> {
        self.bundle.as_ref().filter(|_| network::is_isolated())?;
        let url = format!("https://localhost:{}/small", self.api.tls_port);
        let ours = haiku_at(&url, &["hi"]);
        Some((ours, self.curl_at(&url, &["-s"])))
    }

    /// haiku and curl with the name of a bundle.
    fn named_tls(&self) -> Option<(Call, Call)> {
        self.named_tls_at(self.api.tls_port)
    }

    fn named_tls_at(&self, port: u16) -> Option<(Call, Call)> {
        let bundle = self.bundle.as_ref()?.to_str()?;
        let url = format!("https://localhost:{port}/small");
        let ours = haiku_at(&url, &["hi"]).set("SSL_CERT_FILE", bundle);
        Some((ours, self.curl_at(&url, &["-s", "--cacert", bundle])))
    }

    /// The median time from the moment at which a delta is sent until its text is read, in seconds.
    fn first_text(&self) -> f64 {
        let once = |_| {
            let mut child = self.stream("slow").spawn(Stdio::piped());
            let stdout = child.stdout.as_mut().unwrap();
            stdout.read_exact(&mut [0; 4]).unwrap();
            let read = Instant::now();
            let sent = self.api.times.recv().unwrap();
            assert!(child.wait().unwrap().success());
            read.duration_since(sent).as_secs_f64()
        };
        median((0..20).map(once))
    }

    /// The mean memory of 100 processes that wait for their reply at the same time, in megabytes.
    fn memory_of_each(&self, call: &Call) -> f64 {
        let mut children: Vec<Child> = (0..100).map(|_| call.spawn(Stdio::null())).collect();
        for _ in &children {
            self.api.times.recv().unwrap();
        }
        let total: f64 = children.iter().map(proportional_memory).sum();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        total / children.len() as f64
    }
}

fn haiku_at(url: &str, args: &[&str]) -> Call {
    Call::new(HAIKU, args)
        .set("CLOUDFLARE_API_BASE_URL", url)
        .set("CLOUDFLARE_ACCOUNT_ID", "x")
        .set("CLOUDFLARE_API_TOKEN", "x")
}

fn bundle(ca: &TestCa, folder: &Path) -> Option<PathBuf> {
    let system = fs::read_to_string(SYSTEM_BUNDLE).ok()?;
    let own = fs::read_to_string(ca.file()).unwrap();
    let bundle = folder.join("bundle.pem");
    fs::write(&bundle, system + &own).unwrap();
    Some(bundle)
}

fn compile(folder: &Path) -> Option<PathBuf> {
    let client = folder.join("client");
    let mut cc = Command::new(find("cc")?);
    cc.args(["-O2", "-o"]).arg(&client);
    cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/client.c"));
    cc.status().unwrap().success().then_some(client)
}

/// Another program that does the same work.
struct Peer {
    name: &'static str,
    call: Option<Call>,
    at_most: &'static str,
}

impl Peer {
    fn new(name: &'static str, call: impl Into<Option<Call>>, at_most: &'static str) -> Peer {
        Peer { name, call: call.into().filter(Call::is_available), at_most }
    }
}

fn cpu(work: &str, runs: usize, ours: &Call, peers: &[Peer]) {
    compare(work, runs, ours, peers, |cost| cost.cpu);
}

fn wall(work: &str, runs: usize, ours: &Call, peers: &[Peer]) -> Option<f64> {
    compare(work, runs, ours, peers, |cost| cost.wall)
}

/// Prints a row for each peer and returns our last median. Ours and the peer's runs take turns, and no third program
/// comes between them: that would leave less of the caches to the one that needs more of them.
fn compare(
    work: &str,
    runs: usize,
    ours: &Call,
    peers: &[Peer],
    time: fn(Cost) -> f64,
) -> Option<f64> {
    let mut our_time = None;
    for Peer { name, call, at_most } in peers {
        let Some(theirs) = call else {
            println!("| {work} | {name} | not installed | | | {at_most} |");
            continue;
        };
        let pairs: Vec<_> = (0..runs).map(|_| [time(ours.run()), time(theirs.run())]).collect();
        let of_pairs = |figure: fn(&[f64; 2]) -> f64| median(pairs.iter().map(figure));
        let times = [of_pairs(|pair| pair[0]), of_pairs(|pair| pair[1])];
        compared(work, name, times, of_pairs(|pair| pair[0] / pair[1]), "ms", at_most);
        our_time = Some(times[0]);
    }
    our_time
}

fn compared(
    work: &str,
    against: &str,
    [ours, theirs]: [f64; 2],
    ratio: f64,
    unit: &str,
    at_most: &str,
) {
    println!(
        "| {work} | {against} | {ours:.2} {unit} | {theirs:.2} {unit} | {ratio:.2} | {at_most} |"
    );
}

fn figure(work: &str, measured: &str, at_most: &str) {
    println!("| {work} | | {measured} | | | {at_most} |");
}

fn left_out(work: &str) {
    println!(
        "| {work} | left out: needs unshare (root or user namespaces), ip with veth, and {SYSTEM_BUNDLE} | | | | |"
    );
}
