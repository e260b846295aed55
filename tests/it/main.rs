//! The built binary, seen from outside: a module for each stage. Every test starts from a cleared environment.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, missing_docs)]

mod authority;
mod server;

mod account;
mod attach;
mod ending;
mod examples;
mod files;
mod generated;
mod help;
mod hostile;
mod output;
mod prompt;
mod properties;
mod proxy;
mod recipes;
mod reply;
mod request;
mod retries;
mod stream;
mod terminal;
mod timing;
mod tls;

use std::process;
use std::time::Duration;

use assert_cmd::Command;

use server::Server;

/// The credential that every test uses, and that no output may ever show.
pub const TOKEN: &str = "sEcr3t-t0ken.of+the/tests";

/// How one call ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Asserts the exit status, with everything in view if it is another.
    #[track_caller]
    pub fn ends(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts that standard error is the one line `haiku: …` with all of `parts`.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Run {
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} in {self:?}");
        }
        self
    }

    /// Asserts what standard output got.
    #[track_caller]
    pub fn prints(self, out: &str) -> Run {
        assert_eq!(self.out, out, "{self:?}");
        self
    }

    /// Asserts that nothing was said on standard error.
    #[track_caller]
    pub fn quiet(self) -> Run {
        assert_eq!(self.err, "", "{self:?}");
        self
    }
}

/// The program with no environment at all.
pub fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haiku"));
    command.env_clear().timeout(Duration::from_secs(60));
    command
}

/// The program with an account, and `server` as its API.
pub fn at(server: &Server) -> Command {
    let mut command = bare();
    command
        .env("CLOUDFLARE_API_BASE_URL", server.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "0123456789abcdef")
        .env("CLOUDFLARE_API_TOKEN", TOKEN);
    command
}

/// The same for tests that need the process itself: its signals, descriptors and times. Its
/// standard input is empty.
pub fn process(server: &Server) -> process::Command {
    let mut command = process::Command::new(env!("CARGO_BIN_EXE_haiku"));
    command
        .env_clear()
        .env("CLOUDFLARE_API_BASE_URL", server.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", TOKEN)
        .stdin(process::Stdio::null());
    command
}

/// Runs `command` and checks what holds for every call: the token is nowhere, and every line on
/// standard error begins with the program's name.
#[track_caller]
pub fn run(command: &mut Command) -> Run {
    checked(&command.output().expect("the binary runs"))
}

/// How a call ended, after a look at what holds for every call.
#[track_caller]
pub fn checked(output: &process::Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let run = Run {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(
        !run.out.contains(TOKEN) && !run.err.contains(TOKEN),
        "{run:?}"
    );
    assert!(
        run.err.lines().all(|line| line.starts_with("haiku: ")),
        "{run:?}"
    );
    assert!(!run.err.contains("panicked"), "{run:?}");
    run
}

/// Runs the program against `server` with `args` and an empty standard input.
#[track_caller]
pub fn ask(server: &Server, args: &[&str]) -> Run {
    run(at(server).args(args))
}

/// Runs the program with `args`, prints the body, and gives it as JSON.
#[track_caller]
pub fn dry(args: &[&str], stdin: &str) -> serde_json::Value {
    let mut command = bare();
    command.arg("--dry-run").args(args).write_stdin(stdin);
    let run = run(&mut command).ends(0).quiet();
    serde_json::from_str(&run.out).expect("JSON")
}

/// Whether a tool is there that not every machine has. The project's own checks insist on it.
#[track_caller]
pub fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{tool} is missing"
    );
    found
}
