//! Shared by the tests: the program in a cleared environment, and the checks that every call has to pass.

pub mod dead_host;
pub mod forgetful;
pub mod mock_server;
pub mod pty;
pub mod sandbox;
pub mod test_ca;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs, process};

use assert_cmd::Command;
use assert_cmd::assert::{Assert, OutputAssertExt};
use predicates::BoxPredicate;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use mock_server::Server;

const HAIKU: &str = env!("CARGO_BIN_EXE_haiku");

/// The API token of every test. No output may ever contain it.
pub const TOKEN: &str = "sEcr3t-t0ken.of+the/tests";

/// How messages name a reply that ended too early, and one that cannot be parsed.
pub const TRUNCATED: &str = "truncated reply";
pub const MALFORMED: &str = "malformed";

/// The program without any environment variable.
pub fn haiku() -> Command {
    let mut command = Command::new(HAIKU);
    command.env_clear().timeout(Duration::from_secs(60));
    command
}

/// The program with an account and a token, and `server` as its API.
pub fn haiku_at(server: &Server) -> Command {
    haiku_at_url(&server.url())
}

pub fn haiku_at_url(url: &str) -> Command {
    let mut command = haiku();
    command.envs(account(url));
    command
}

/// Like [`haiku_at`], for tests that need the process itself: without input, its output captured.
pub fn process(server: &Server) -> process::Command {
    process_at_url(&server.url())
}

pub fn process_at_url(url: &str) -> process::Command {
    let mut command = process::Command::new(HAIKU);
    command
        .env_clear()
        .envs(account(url))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A shell script that calls the program as `"$HAIKU"`.
pub fn shell(server: &Server, script: &str) -> process::Command {
    let mut command = process::Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().env("HAIKU", HAIKU).envs(account(&server.url()));
    command
}

fn account(url: &str) -> [(&'static str, String); 3] {
    [
        ("CLOUDFLARE_API_BASE_URL", url.to_owned()),
        ("CLOUDFLARE_ACCOUNT_ID", "0123456789abcdef".to_owned()),
        ("CLOUDFLARE_API_TOKEN", TOKEN.to_owned()),
    ]
}

/// Runs a command, or takes the output of one that has ended, and asserts what holds for every
/// call: no token in the output, nothing but our own lines on standard error, and nothing on
/// standard output if the call is wrong (exit status 2) or rejected (3).
#[track_caller]
pub fn check(run: impl OutputAssertExt) -> Assert {
    let every_line_is_ours = |stderr: &str| stderr.lines().all(|line| line.starts_with("haiku: "));
    let result = run
        .assert()
        .stdout(contains(TOKEN).not())
        .stderr(contains(TOKEN).not())
        .stderr(contains("panicked").not())
        .stderr(
            predicate::function(every_line_is_ours).fn_name("begins every line with `haiku: `"),
        );
    match result.get_output().status.code() {
        Some(2 | 3) => result.stdout(""),
        _ => result,
    }
}

/// Runs the program with `args` and an empty standard input. If it succeeds, it has to be silent on
/// standard error, unless `-v` is given.
#[track_caller]
pub fn ask(server: &Server, args: &[&str]) -> Assert {
    let result = check(haiku_at(server).args(args));
    match result.get_output().status.code() {
        Some(0) if !args.contains(&"-v") => result.stderr(""),
        _ => result,
    }
}

/// The request body that `--dry-run` prints.
#[track_caller]
pub fn dry_run(args: &[&str], stdin: &str) -> Value {
    let mut command = haiku();
    command.arg("--dry-run").args(args).write_stdin(stdin);
    let printed = check(&mut command).success().stderr("");
    serde_json::from_slice(&printed.get_output().stdout).expect("JSON")
}

/// Exactly one line, which contains all of `parts`.
pub fn one_line(parts: &[&str]) -> BoxPredicate<str> {
    let one_line = predicate::function(|text: &str| text.lines().count() == 1);
    let one_line = one_line.fn_name("is one line").boxed();
    let and = |all: BoxPredicate<str>, part: &&str| all.and(contains(*part)).boxed();
    parts.iter().fold(one_line, and)
}

/// Where an error is expected: one line with `part`. For an empty `part`, nothing at all.
pub fn error_line(part: &str) -> BoxPredicate<str> {
    if part.is_empty() { predicate::str::is_empty().boxed() } else { one_line(&[part]) }
}

pub fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("UTF-8")
}

pub fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).expect("UTF-8")
}

/// The most memory that a process has had, while it runs.
pub fn peak_kilobytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A temporary folder of files that a test passes by path.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path.into_os_string().into_string().expect("UTF-8")
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text file")
    }

    /// The names of everything in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(name).map(|name| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

/// Whether an optional tool is installed. Under CI every tool has to be.
#[track_caller]
pub fn has(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    assert!(found || env::var_os("CI").is_none(), "{tool} is missing");
    found
}
