//! `cargo run --example mock_server -- PROMPT` runs the real binary against a mock server: no account, no network.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../it/support/mock_server.rs"]
mod mock_server;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use mock_server::Server;

const MAX_QUOTED_CHARS: usize = 60;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let haiku = build()?;
    let server = Server::documented_or(mock_reply);
    writeln!(
        io::stderr(),
        "mock_server: replies come from a mock server on the loopback interface, not from the model"
    )?;
    let status = Command::new(haiku)
        .args(env::args_os().skip(1))
        .env("CLOUDFLARE_API_BASE_URL", server.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "mock")
        .env("CLOUDFLARE_API_TOKEN", "mock")
        .status()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(u8::try_from(code.unwrap_or(1))?))
}

/// `cargo run --example` builds only the example, not the program that it runs.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    // The example is in target/PROFILE/examples, the program in target/PROFILE.
    let example = env::current_exe()?;
    let profile = example.ancestors().nth(2).ok_or("no build directory")?;
    let haiku = profile.join("haiku");
    let mut build = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    build
        .args(["build", "--package", "haiku-cli", "--bin", "haiku"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // Progress is worth showing only for the first build, which takes a while.
    if haiku.exists() {
        build.arg("--quiet");
    }
    if !build.status()?.success() {
        return Err("cannot build haiku".into());
    }
    Ok(haiku)
}

/// A reply that cannot be mistaken for one of the model's.
fn mock_reply(prompt: &str) -> String {
    let line = prompt.lines().next().unwrap_or_default();
    let quoted: String = line.chars().take(MAX_QUOTED_CHARS).collect();
    let ellipsis = if quoted == prompt { "" } else { "…" };
    format!("(mock reply to: {quoted}{ellipsis})")
}
