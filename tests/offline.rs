//! `cargo run --example offline -- PROMPT` runs the real binary against the stand-in server: no account, no network.

#[allow(
    dead_code,
    clippy::expect_used,
    reason = "the tests use it too, and more of it"
)]
#[path = "it/server.rs"]
mod server;

use std::env;
use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let haiku = build()?;
    let server = server::Server::documented();
    let status = Command::new(haiku)
        .args(env::args_os().skip(1))
        .env("CLOUDFLARE_API_BASE_URL", server.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "offline")
        .env("CLOUDFLARE_API_TOKEN", "offline")
        .status()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(u8::try_from(code.unwrap_or(1))?))
}

/// `cargo run --example` builds the example alone, not the program that it runs.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--bin", "haiku", "--manifest-path"])
        .arg(manifest);
    // The example lies in target/PROFILE/examples, the program beside that folder.
    let example = env::current_exe()?;
    let profile = example.ancestors().nth(2).ok_or("no build folder")?;
    if profile.ends_with("release") {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("haiku does not build".into());
    }
    Ok(profile.join("haiku"))
}
