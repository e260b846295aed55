//! What a user sees at a terminal: the tests open a pseudo-terminal of their own.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use predicates::str::{contains, starts_with};
use serde_json::json;

use crate::support::mock_server::{Server, events};
use crate::support::pty::{read_all, terminal};
use crate::support::{check, dry_run, peak_kilobytes, process};

/// The exit status, and what appears on a terminal, standard error included.
fn on_terminal(server: &Server, args: &[&str]) -> (i32, String) {
    let (master, slave) = terminal();
    let mut command = process(server);
    command.args(args).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let shown = read_all(master);
    (child.wait().unwrap().code().unwrap(), shown)
}

#[test]
fn only_text_on_a_terminal_is_streamed_by_default() {
    for (args, stream) in [
        (&["hi"][..], json!(true)),
        (&["--no-stream", "hi"], json!(null)),
        (&["--json", "hi"], json!(null)),
        (&["--json", "--stream", "hi"], json!(true)),
        (&["--cache-ttl", "1m", "hi"], json!(null)),
        (&["--cache-ttl", "1m", "--stream", "hi"], json!(true)),
        (&["--no-stream", "--stream", "hi"], json!(true)),
    ] {
        let server = Server::documented();
        assert_eq!(on_terminal(&server, args).0, 0);
        assert_eq!(server.request().json()["stream"], stream, "{args:?}");
    }
    assert_eq!(dry_run(&["hi"], "").get("stream"), None);
    let (_, shown) = on_terminal(&Server::documented(), &["--dry-run", "hi"]);
    assert!(!shown.contains("stream"), "{shown}");
}

#[test]
fn control_characters_are_made_visible() {
    let text = "\u{1b}[31mred\u{9b}2J\u{202e}x\r\u{7f}\ttab\n";
    let visible = (0, "^[[31mred<U+009B>2J<U+202E>x^M^?\ttab\n".to_owned());
    let whole = Server::message(text, "end_turn");
    assert_eq!(on_terminal(&whole, &["--no-stream", "hi"]), visible);
    // A sequence that is split across deltas.
    let pieces: Vec<&str> = text.split_inclusive(|_| true).collect();
    let stream = Server::stream(&pieces, "end_turn");
    assert_eq!(on_terminal(&stream, &["hi"]), visible);
    // JSON escapes only the control characters below U+0020 itself.
    let (_, shown) = on_terminal(&whole, &["--json", "hi"]);
    assert!(shown.contains("<U+009B>2J<U+202E>"), "{shown}");
}

#[test]
fn a_large_reply_of_control_characters_takes_bounded_memory() {
    const MAX_KILOBYTES: u64 = 120_000;
    // Two bytes each: just below the largest reply.
    let count = 15_900_000;
    let server = Server::message(&"\u{9b}".repeat(count), "end_turn");
    let (mut master, slave) = terminal();
    let mut command = process(&server);
    let mut child = command.args(["--no-stream", "hi"]).stdout(slave).spawn().unwrap();
    drop(command);
    let mut shown = 0;
    let mut peak = 0;
    let mut piece = [0; 65_536];
    while let Ok(length @ 1..) = master.read(&mut piece) {
        shown += length;
        peak = peak.max(peak_kilobytes(child.id()).unwrap_or(0));
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(shown, count * "<U+009B>".len() + 1);
    assert!(0 < peak && peak < MAX_KILOBYTES, "{peak} kB");
}

#[test]
fn control_characters_in_errors_are_made_visible() {
    let message = "\u{1b}]0;title\u{7}\u{202e}bad\nhaiku: fake";
    let server = Server::json(400, json!({"error": {"message": message}}));
    let expected = "haiku: HTTP 400: ^[]0;title^G<U+202E>bad haiku: fake\n";
    assert_eq!(on_terminal(&server, &["hi"]), (3, expected.into()));
}

#[test]
fn an_error_within_a_stream_begins_on_a_new_line() {
    let server = Server::events(&events(&["half"], "end_turn")[..4]);
    let (code, shown) = on_terminal(&server, &["hi"]);
    assert_eq!(code, 4);
    assert!(shown.starts_with("half\nhaiku: "), "{shown}");
}

#[test]
fn a_terminal_as_standard_input_is_not_read() {
    let (_master, slave) = terminal();
    check(process(&Server::documented()).arg("hi").stdin(slave))
        .success()
        .stdout("hi\n")
        .stderr("");
}

#[test]
fn a_terminal_as_standard_input_is_read_for_a_dash() {
    let (mut master, slave) = terminal();
    let mut command = process(&Server::documented());
    command.args(["-", "and more"]).stdin(slave);
    let child = command.spawn().unwrap();
    master.write_all(b"typed\n\x04").unwrap();
    check(child.wait_with_output().unwrap()).success().stdout("typed\n\nand more\n").stderr("");
}

#[test]
fn a_missing_prompt_at_a_terminal_shows_the_usage() {
    let server = Server::documented();
    for args in [&[][..], &["  "], &["-n"]] {
        let (_master, slave) = terminal();
        // Settings are not needed: this is the first call of a new user.
        check(process(&server).env_clear().args(args).stdin(slave))
            .code(2)
            .stderr(starts_with("haiku: no prompt"))
            .stderr(contains("haiku [OPTIONS] "));
    }
    assert!(server.requests().is_empty());
}

/// Starts a call whose standard input stays silent.
fn start_with_silent_input(args: &[&str], stderr: Stdio) -> (Child, PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    let mut command = process(&Server::documented());
    command.args(args).stdin(reader).stdout(Stdio::null()).stderr(stderr);
    (command.spawn().unwrap(), writer)
}

#[test]
fn silent_optional_input_causes_a_hint_after_three_seconds() {
    let terminals = [terminal(), terminal(), terminal()];
    let calls = [&["hi"][..], &["-q", "hi"], &["-", "hi"]];
    let start = |((master, slave), args): ((File, File), &[&str])| {
        (master, start_with_silent_input(args, slave.into()))
    };
    let calls: Vec<_> = terminals.into_iter().zip(calls).map(start).collect();
    let (piped, open) = start_with_silent_input(&["hi"], Stdio::piped());
    let (quiet, _silent) = start_with_silent_input(&["-q", "--timeout", "4", "hi"], Stdio::piped());
    thread::sleep(Duration::from_millis(4500));
    let mut shown = Vec::new();
    for (master, (mut child, mut writer)) in calls {
        writer.write_all(b"x").unwrap();
        drop(writer);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        shown.push(read_all(master));
    }
    assert!(shown[0].starts_with("haiku: waiting for standard input; "), "{shown:?}");
    assert_eq!(shown[0].lines().count(), 1, "{shown:?}");
    assert_eq!(shown[1..], ["", ""]);
    drop(open);
    let hint = "haiku: waiting for standard input; use -n if there is none\n";
    check(piped.wait_with_output().unwrap()).success().stderr(hint);
    let error = "haiku: no data on standard input for 4 s; use -n or </dev/null if there is none\n";
    check(quiet.wait_with_output().unwrap()).code(2).stderr(error);
}
