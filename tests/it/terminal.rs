//! What a person at a terminal sees; the terminal is a pseudo-terminal of the test's own.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};
use serde_json::json;

use crate::server::{Server, event_stream, events, json_response, message};
use crate::{dry, process};

/// The two ends of a terminal that passes on what is written to it as it is.
fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut modes = tcgetattr(&slave).unwrap();
    modes.output_modes &= !OutputModes::OPOST;
    tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
    (File::from(master), slave)
}

/// Everything that came out at the other end; a terminal whose last user left is an error there.
fn read_all(mut master: File) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length) = master.read(&mut piece) {
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(bytes).unwrap()
}

/// What `args` print on a terminal, standard error included.
fn on_terminal(server: &Server, args: &[&str]) -> (i32, String) {
    let (master, slave) = terminal();
    let mut command = process(server);
    command
        .args(args)
        .stdout(slave.try_clone().unwrap())
        .stderr(slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let out = read_all(master);
    (child.wait().unwrap().code().unwrap(), out)
}

#[test]
fn only_text_for_a_terminal_is_streamed_unasked() {
    for (args, streamed) in [
        (&["hi"][..], json!(true)),
        (&["--no-stream", "hi"], json!(null)),
        (&["--json", "hi"], json!(null)),
        (&["--json", "--stream", "hi"], json!(true)),
    ] {
        let server = Server::documented();
        assert_eq!(on_terminal(&server, args).0, 0);
        assert_eq!(server.request().json()["stream"], streamed, "{args:?}");
    }
    assert_eq!(dry(&["hi"], "").get("stream"), None);
    let server = Server::documented();
    let (_, out) = on_terminal(&server, &["--dry-run", "hi"]);
    assert!(!out.contains("stream"), "{out}");
}

#[test]
fn controls_are_shown_not_obeyed() {
    let text = "\u{1b}[31mred\u{1b}]52;c;aGk=\u{7}\r\u{9b}2J\u{202e}x\u{2069}\u{7f}\ttab\n";
    let shown = "^[[31mred^[]52;c;aGk=^G^M<U+009B>2J<U+202E>x<U+2069>^?\ttab\n";
    let body = Server::sending(json_response(200, message(text, "end_turn").to_string()));
    assert_eq!(on_terminal(&body, &["hi"]), (0, shown.into()));
    // A sequence that is split across deltas is no better.
    let letters: Vec<String> = text.chars().map(String::from).collect();
    let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
    let stream = Server::sending(event_stream(&events(&letters, "end_turn")));
    assert_eq!(on_terminal(&stream, &["hi"]), (0, shown.into()));
    // JSON spells controls below space itself; the others can stand in it as they are.
    let server = Server::sending(json_response(
        200,
        message("\u{9b}2J\u{202e}", "end_turn").to_string(),
    ));
    let (_, out) = on_terminal(&server, &["--json", "hi"]);
    assert!(out.contains("<U+009B>2J<U+202E>"), "{out}");
}

#[test]
fn a_servers_controls_are_harmless_on_standard_error_too() {
    let body =
        json!({"error": {"message": "\u{1b}]0;title\u{7}\u{202e}bad\nhaiku: fake"}}).to_string();
    let server = Server::sending(json_response(400, body));
    let (code, out) = on_terminal(&server, &["hi"]);
    assert_eq!(code, 3);
    assert_eq!(
        out,
        "haiku: HTTP 400: ^[]0;title^G<U+202E>bad haiku: fake\n"
    );
}

#[test]
fn a_message_about_a_broken_stream_stands_on_its_own_line() {
    let mut all = events(&["half"], "end_turn");
    all.truncate(4);
    let server = Server::sending(event_stream(&all));
    let (code, out) = on_terminal(&server, &["hi"]);
    assert_eq!(code, 4);
    assert!(
        out.starts_with("half\nhaiku: the reply was cut off"),
        "{out}"
    );
}

#[test]
fn a_terminal_as_standard_input_is_not_read_unasked() {
    let server = Server::documented();
    let (_master, slave) = terminal();
    let output = process(&server).arg("hi").stdin(slave).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"hi\n");
}

#[test]
fn a_dash_reads_a_terminal() {
    let server = Server::documented();
    let (mut master, slave) = terminal();
    let mut command = process(&server);
    command
        .args(["-", "and more"])
        .stdin(slave)
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command);
    master.write_all(b"typed\n\x04").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "typed\n\nand more\n"
    );
}

#[test]
fn no_prompt_at_a_terminal_shows_the_usage() {
    let server = Server::documented();
    for args in [&[][..], &["  "], &["-n"]] {
        let (_master, slave) = terminal();
        // Without an account, too: this is what a newcomer sees first.
        let output = process(&server)
            .env_clear()
            .args(args)
            .stdin(slave)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.starts_with("haiku: no prompt: "), "{err}");
        assert!(err.contains("usage: haiku [OPTIONS] [PROMPT]..."), "{err}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_hint_after_three_seconds_of_silence() {
    let server = Server::documented();
    let waiting = |args: &[&str], stderr: Stdio| {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = process(&server);
        command
            .args(args)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(stderr);
        let child = command.spawn().unwrap();
        (child, writer)
    };
    let (master, slave) = terminal();
    let (quiet_master, quiet_slave) = terminal();
    let (dash_master, dash_slave) = terminal();
    let mut calls = [
        waiting(&["hi"], slave.into()),
        waiting(&["-q", "hi"], quiet_slave.into()),
        waiting(&["-", "hi"], dash_slave.into()),
        waiting(&["hi"], Stdio::piped()),
    ];
    std::thread::sleep(Duration::from_millis(4500));
    let mut errors = Vec::new();
    for (child, writer) in &mut calls {
        writer.write_all(b"x").unwrap();
        errors.push(child.stderr.take());
    }
    for (mut child, writer) in calls {
        drop(writer);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(
        read_all(master),
        "haiku: waiting for standard input; use -n to leave it alone\n"
    );
    assert_eq!(read_all(quiet_master), "");
    assert_eq!(read_all(dash_master), "");
    let mut piped = String::new();
    errors
        .pop()
        .unwrap()
        .unwrap()
        .read_to_string(&mut piped)
        .unwrap();
    assert_eq!(piped, "");
}
