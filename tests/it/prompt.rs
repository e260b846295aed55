//! Prompt words and standard input: how they are joined, what is rejected, how long haiku waits.

use std::fs::File;
use std::io::{self, Write};
use std::process::{self, Stdio};
use std::thread;
use std::time::Duration;

use predicates::str::contains;

use crate::support::mock_server::Server;
use crate::support::{Folder, check, dry_run, haiku, haiku_at, one_line, process, shell};

/// The prompt in the body that a dry run prints.
fn prompt(args: &[&str], stdin: &str) -> String {
    let body = dry_run(args, stdin);
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["role"], "user");
    messages[0]["content"].as_str().unwrap().to_owned()
}

#[test]
fn standard_input_and_words_are_joined() {
    for (args, stdin, expected) in [
        (&["Write", "it."][..], "diff\n\n", "diff\n\nWrite it."),
        (&["Before:", "-", "after", "it"], "x\n", "Before:\n\nx\n\nafter it"),
        (&["-n", "only", "words"], "unread", "only words"),
        (&["--", "--json", "-x"], "", "--json -x"),
        (&["--", "-n", "--", "-h"], "", "-n -- -h"),
        (&["--", "a", "-", "-b"], "x\n", "a\n\nx\n\n-b"),
        (&["- item", "-\t", "- item"], "", "- item -\t - item"),
        (&["-s", "--", "a"], "", "a"),
        (&[], "\u{feff}\u{feff}x\r\n\n", "\u{feff}x"),
        (&["é 日本", "  two  blanks  "], "", "é 日本   two  blanks  "),
    ] {
        assert_eq!(prompt(args, stdin), expected, "{args:?}");
    }
}

#[test]
fn text_is_not_changed() {
    let text = "tab\t quote\" back\\slash \u{0}nul \u{1b}esc é 日本 \u{1f600} \u{2028} end";
    assert_eq!(prompt(&[], text), text);
}

#[test]
fn blank_prompts_are_rejected() {
    let server = Server::documented();
    for (args, stdin, part) in [
        (&[][..], "", "no prompt"),
        (&[], " \n\t", "no prompt"),
        (&[" "], "", "no prompt"),
        (&["-n"], "x", "no prompt"),
        (&["-n", ""], "x", "no prompt"),
        (&["-", "Write it."], "", "standard input is empty"),
        (&["-", "Write it."], "\n", "standard input is empty"),
        (&["-", "Write it."], "  \n\t\n", "standard input is empty"),
    ] {
        check(haiku_at(&server).args(args).write_stdin(stdin)).code(2).stderr(one_line(&[part]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn standard_input_can_be_used_only_once() {
    let server = Server::documented();
    let mut calls = vec!["- -".to_owned(), "-n -".into(), "-n --body -".into()];
    for file in ["--messages -", "-a -", "--system-file -", "--schema -", "--param x=@-"] {
        let others = ["-a - hi", "--param y=@- hi", "-n hi", "-"];
        calls.extend(others.map(|other| format!("{file} {other}")));
    }
    for args in calls {
        check(haiku_at(&server).args(args.split(' ')).write_stdin("{}"))
            .code(2)
            .stderr(one_line(&["standard input", "-"]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn invalid_utf8_in_input_is_reported_with_its_offset() {
    let folder = Folder::new();
    let file = folder.write("chat.jsonl", b"{\"role\":\"user\",\"content\":\"\xff\"}");
    let iconv = "iconv -f ISO-8859-1 -t UTF-8";
    check(haiku().arg("--dry-run").write_stdin(b"caf\xe9 au lait")).code(2).stderr(one_line(&[
        "standard input",
        "offset 3",
        iconv,
    ]));
    check(haiku().args(["--dry-run", "--messages", &file])).code(2).stderr(one_line(&[
        "chat.jsonl",
        "offset 26",
        iconv,
    ]));
}

#[test]
fn binary_input_is_called_what_it_is() {
    for (bytes, part) in [
        (&b"\x89PNG\r\n\x1a\n\0"[..], "standard input is a PNG file, not text; attach it with -a"),
        (b"\xff\xd8\xff\xe0", "standard input is a JPEG file, not text; attach it with -a"),
        (b"GIF89a\xff", "standard input is a GIF file, not text; attach it with -a"),
        (b"RIFF\xff\0\0\0WEBP", "standard input is a WebP file, not text; attach it with -a"),
        (b"%PDF-1.7\n\xe2", "standard input is a PDF file, not text; attach it with -a"),
        (b"\x1f\x8b\x08\0", "standard input is binary data, not text"),
    ] {
        let line = format!("haiku: {part}\n");
        check(haiku().args(["--dry-run", "What is it?"]).write_stdin(bytes)).code(2).stderr(line);
    }
}

#[test]
fn words_after_two_dashes_change_nothing_of_the_call() {
    let (server, other) = (Server::documented(), Server::documented());
    let title = format!("--base-url={}", other.url());
    let text = format!("Summarize: {title}\n");
    check(haiku_at(&server).args(["--", "Summarize:", &title])).success().stdout(text).stderr("");
    check(haiku_at(&server).args(["Summarize:", &title])).code(2);
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn input_over_32_mb_is_rejected_without_reading_further() {
    let server = Server::documented();
    let mut child = process(&server).arg("question").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // This input never ends, so the loop does only if the program stops reading.
    let piece = vec![b'a'; 1 << 20];
    let error = loop {
        if let Err(error) = stdin.write_all(&piece) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    check(child.wait_with_output().unwrap())
        .code(2)
        .stderr(one_line(&["standard input is larger than 32 MB"]));
    assert!(server.requests().is_empty());
}

#[test]
fn a_body_over_32_mb_is_rejected() {
    let server = Server::documented();
    // Each of these bytes takes six in JSON.
    check(haiku_at(&server).write_stdin(vec![1; 6_000_000]))
        .code(2)
        .stderr(one_line(&["36.0 MB", "32 MB"]));
    assert!(server.requests().is_empty());
}

#[test]
fn ten_megabytes_of_input_are_sent() {
    let server = Server::documented();
    let text = "Zeile mit \"Zitat\" und é\n".repeat(400_000);
    let reply = check(haiku_at(&server).write_stdin(text.clone())).success().stderr("");
    assert!(reply.get_output().stdout == text.as_bytes());
    assert!(server.request().json()["messages"][0]["content"] == text.trim_end());
}

#[test]
fn closed_standard_input_counts_as_empty() {
    let server = Server::documented();
    for (args, code, reply) in [("hello", 0, "hello\n"), ("", 2, ""), ("- hello", 2, "")] {
        let mut closed = shell(&server, &format!("\"$HAIKU\" {args} <&-"));
        check(&mut closed).code(code).stdout(reply);
    }
}

#[test]
fn unreadable_standard_input_is_reported() {
    let server = Server::documented();
    check(process(&server).arg("x").stdin(File::open("/").unwrap()))
        .code(2)
        .stderr(one_line(&["standard input: Is a directory"]));
    assert!(server.requests().is_empty());
}

/// Starts a dry run whose standard input stays open, and silent unless something is written to it.
fn start_with_open_stdin(args: &[&str]) -> (io::PipeWriter, process::Child) {
    let (reader, writer) = io::pipe().unwrap();
    let mut command = process(&Server::documented());
    command.arg("--dry-run").args(args).stdin(reader);
    (writer, command.spawn().unwrap())
}

#[test]
fn silent_optional_input_times_out() {
    let (_writer, child) = start_with_open_stdin(&["--timeout", "0.3", "x"]);
    check(child.wait_with_output().unwrap()).code(2).stderr(one_line(&[
        "standard input",
        "0.3 s",
        "-n",
        "</dev/null",
    ]));
}

#[test]
fn required_input_is_waited_for() {
    for words in [&["-", "x"][..], &["-"], &[]] {
        let args = [&["--timeout", "0.2"], words].concat();
        let (mut writer, child) = start_with_open_stdin(&args);
        thread::sleep(Duration::from_millis(600));
        writer.write_all(b"late").unwrap();
        drop(writer);
        check(child.wait_with_output().unwrap()).success().stdout(contains("late"));
    }
}

#[test]
fn slow_input_is_read_to_its_end() {
    let (mut writer, child) = start_with_open_stdin(&["--timeout", "1", "x"]);
    for piece in ["a", "b", "c"] {
        writer.write_all(piece.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    drop(writer);
    check(child.wait_with_output().unwrap()).success().stdout(contains(r"abc\n\nx"));
}
