//! Man page and completions: made from the one definition of the options, and kept in step with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use clap_complete::{Generator, Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::has;

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../src/cli/args.rs"]
mod args;

/// When the man page last changed in more than its options.
const DATE: &str = "2026-11-23";

const FILES: &str = "There is no configuration file, and nothing is kept between calls. Beside the FILE that \
    --output names, a file whose name begins with .haiku- stands for a moment while the new one is \
    written; it then takes the name FILE, so that FILE's owner, access control list and hard links may change.";

const PRIVACY: &str = "haiku keeps nothing. The gateway logs prompts and replies unless it is told not to: \
    -H 'cf-aig-collect-log: false' keeps it from logging the call, \
    -H 'cf-aig-collect-log-payload: false' from logging what was said in it.";

/// Compares a committed file with what it should hold. Where they differ it is rewritten, and the
/// test fails once, so that nobody commits one without the other.
#[track_caller]
fn is_current(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if fs::read_to_string(&path).unwrap_or_default() != expected {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
        panic!(
            "{} was out of date and has been rewritten: commit it",
            path.display()
        );
    }
}

fn man_page() -> String {
    let mut page = Vec::new();
    let man = Man::new(args::Args::command())
        .date(DATE)
        .manual("User Commands");
    man.render(&mut page).unwrap();
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (status, meaning, remedy) in args::EXIT_STATUS {
        rest.control("TP", []);
        rest.text([bold(status.to_string())]);
        rest.text([roman(format!("{meaning}; {remedy}"))]);
    }
    rest.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in args::ENVIRONMENT {
        rest.control("TP", []);
        rest.text([bold(name)]);
        rest.text([roman(meaning)]);
    }
    rest.control("SH", ["FILES"]);
    rest.text([roman(FILES)]);
    rest.control("SH", ["PRIVACY"]);
    rest.text([roman(PRIVACY)]);
    rest.control("SH", ["EXAMPLES"]);
    for (call, what) in args::EXAMPLES {
        rest.control("TP", []);
        rest.text([bold(call)]);
        rest.text([roman(what)]);
    }
    rest.control("SH", ["SEE ALSO"]);
    for (i, name) in ["curl", "git", "jq"].into_iter().enumerate() {
        let comma = if i < 2 { ", " } else { "" };
        rest.text([bold(name), roman(format!("(1){comma}"))]);
    }
    page.extend_from_slice(rest.to_roff().as_bytes());
    String::from_utf8(page).unwrap()
}

fn completion(shell: impl Generator) -> String {
    let mut script = Vec::new();
    generate(shell, &mut args::Args::command(), "haiku", &mut script);
    String::from_utf8(script).unwrap()
}

#[test]
fn the_man_page_is_current() {
    is_current("man/haiku.1", &man_page());
}

#[test]
fn the_completions_are_current() {
    is_current("completions/haiku.bash", &completion(Shell::Bash));
    is_current("completions/_haiku", &completion(Shell::Zsh));
    is_current("completions/haiku.fish", &completion(Shell::Fish));
}

/// What a tool prints on standard output, if it is there.
fn tool(command: &mut Command) -> Option<String> {
    if !has(command.get_program().to_str().unwrap()) {
        return None;
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn shipped(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_man_page_is_well_formed() {
    let page = shipped("man/haiku.1");
    if let Some(complaints) =
        tool(Command::new("mandoc").args(["-T", "lint", "-W", "warning", &page]))
    {
        assert_eq!(complaints, "");
    }
    if let Some(text) = tool(Command::new("mandoc").args(["-T", "ascii", &page])) {
        for part in [
            "EXIT STATUS",
            "--max-tokens",
            "GATEWAY AND CONNECTION",
            "CLOUDFLARE_API_TOKEN",
        ] {
            assert!(plain(&text).contains(part), "{part} in {text}");
        }
    }
}

/// Text without the backspaces that make letters bold.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    plain
}

#[test]
fn bash_completes_from_the_shipped_file() {
    let script = format!(
        "source '{}'; COMP_WORDS=(haiku --ret); COMP_CWORD=1; COMP_LINE='haiku --ret'; COMP_POINT=11; \
         _haiku haiku --ret haiku; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        shipped("completions/haiku.bash")
    );
    if let Some(words) = tool(Command::new("bash").args(["--norc", "-c", &script])) {
        assert_eq!(words, "--retries\n");
    }
}

#[test]
fn bash_completes_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    let script = format!(
        "source '{}'; COMP_WORDS=(haiku --messages ch); COMP_CWORD=2; _haiku haiku ch --messages; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        shipped("completions/haiku.bash")
    );
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", &script]).current_dir(&folder);
    if let Some(words) = tool(&mut command) {
        assert_eq!(words, "chat.jsonl\n");
    }
}

#[test]
fn fish_completes_from_the_shipped_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    let script = format!(
        "source '{}'; complete -C 'haiku --ret'; complete -C 'haiku --messages ch'",
        shipped("completions/haiku.fish")
    );
    let mut command = Command::new("fish");
    command
        .args(["--no-config", "-c", &script])
        .current_dir(&folder)
        .env("HOME", folder.path());
    if let Some(words) = tool(&mut command) {
        assert!(words.starts_with("--retries\t"), "{words}");
        assert!(words.ends_with("\nchat.jsonl\n"), "{words}");
    }
}

#[test]
fn zsh_completes_from_the_shipped_file() {
    // Completion in zsh needs its line editor, and that a terminal: one of zsh's own. Each read
    // waits until the pattern has come; what never comes ends with the time limit.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    let script = format!(
        r#"
        zmodload zsh/zpty
        zpty -b z zsh -f -i
        zpty -w z "fpath=({} \$fpath); autoload -Uz compinit; compinit -u -d ./dump; PS1='RE''ADY '"
        zpty -r -m z line '*READY *'
        zpty -w -n z $'haiku --ret\t'
        zpty -r -m z line '*--retries*'
        zpty -w -n z $'\C-uhaiku --messages ch\t'
        zpty -r -m z line '*chat.jsonl*'
        print BOTH
        "#,
        shipped("completions")
    );
    let mut command = Command::new("timeout");
    command
        .args(["20", "zsh", "-f", "-c", &script])
        .current_dir(&folder)
        .env("TERM", "dumb");
    if has("zsh") {
        assert_eq!(tool(&mut command).unwrap(), "BOTH\n");
    }
}
