//! `HAIKU_LIVE=1 cargo test --locked --test live` asks the real service whether it still is what haiku takes it for.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod check;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use check::Settings;

const DEFAULT_BASE_URL: &str = "https://api.cloudflare.com/client/v4";

const HOW_TO_RUN: &str = "\
live: not run. To check haiku against the real service, for about a cent:

    export CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_API_TOKEN=…
    HAIKU_LIVE=1 cargo test --locked --test live
    HAIKU_LIVE=1 cargo test --locked --test live -- --record FOLDER

It makes fewer than 40 small calls, and prints a line for each fact. Neither what it prints nor what --record keeps
holds the token or the account ID.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if !is_meant(&arguments) {
        return ExitCode::SUCCESS;
    }
    let Some(settings) = settings(&arguments) else {
        let _ = io::stdout().write_all(HOW_TO_RUN.as_bytes());
        return ExitCode::SUCCESS;
    };
    let outcome = check::run(&settings, &mut io::stdout().lock()).expect("standard output");
    ExitCode::from(u8::from(outcome.is_fatal))
}

/// An environment variable; an empty one counts as absent.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn settings(arguments: &[String]) -> Option<Settings> {
    variable("HAIKU_LIVE")?;
    let record = arguments.iter().position(|argument| argument == "--record");
    Some(Settings {
        account: variable("CLOUDFLARE_ACCOUNT_ID")?.trim().to_owned(),
        token: variable("CLOUDFLARE_API_TOKEN")?.trim().to_owned(),
        base_url: variable("CLOUDFLARE_API_BASE_URL").unwrap_or(DEFAULT_BASE_URL.into()),
        gateway: variable("CLOUDFLARE_GATEWAY_ID"),
        ca_file: variable("SSL_CERT_FILE").map(Into::into),
        environment: env::vars_os().collect(),
        record: record.map(|at| arguments.get(at + 1).expect("--record FOLDER").into()),
    })
}

/// `cargo test NAME` and `cargo test -- --list` mean the tests of other targets, and must not cost anything.
fn is_meant(arguments: &[String]) -> bool {
    const WITH_VALUE: [&str; 6] =
        ["--record", "--skip", "--test-threads", "--format", "--color", "--logfile"];
    let is_value = |at: usize| at > 0 && WITH_VALUE.contains(&arguments[at - 1].as_str());
    let is_filter = |at: usize, argument: &str| !argument.starts_with('-') && !is_value(at);
    arguments.iter().enumerate().all(|(at, argument)| {
        argument != "--list" && (argument == "live" || !is_filter(at, argument))
    })
}
