//! Prompt words and standard input: how they are joined, what is rejected, how long haiku waits.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
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

/// Text that is not UTF-8, and what a message says of it after its name.
const NOT_UTF8: [(&[u8], &str); 6] = [
    (
        include_bytes!("../data/cases/cut.txt"),
        "is not valid UTF-8: it ends within a character (byte 0xe8 at offset 32); cut it elsewhere, or use iconv -c -f UTF-8 -t UTF-8",
    ),
    (
        b"\xac \xe2\x80\x94 na\xc3\xafve\n",
        "is not valid UTF-8: it begins within a character (byte 0xac at offset 0); cut it elsewhere, or use iconv -c -f UTF-8 -t UTF-8",
    ),
    (
        b"\xac na\xc3\xafve \xe6\x97",
        "is not valid UTF-8: it begins within a character (byte 0xac at offset 0); cut it elsewhere, or use iconv -c -f UTF-8 -t UTF-8",
    ),
    (
        include_bytes!("../data/cases/mixed.diff"),
        "is not valid UTF-8 (byte 0xef at offset 33): it mixes encodings; drop the bad bytes with iconv -c -f UTF-8 -t UTF-8",
    ),
    (
        include_bytes!("../data/cases/cp1252.csv"),
        "is not valid UTF-8 (byte 0xf8 at offset 13); convert it with iconv -f WINDOWS-1252 -t UTF-8",
    ),
    (
        b"\xef\xbb\xbfcaf\xc3\xa9 \xe9\n",
        "is not valid UTF-8 (byte 0xe9 at offset 9): it mixes encodings; drop the bad bytes with iconv -c -f UTF-8 -t UTF-8",
    ),
];

#[test]
fn text_that_is_not_utf8_is_rejected_by_its_cause_wherever_it_comes_from() {
    let folder = Folder::new();
    for (bytes, why) in NOT_UTF8 {
        let file = folder.write("file", bytes);
        let line = |name: &str| format!("haiku: {name} {why}\n");
        let by_stdin = &mut haiku();
        by_stdin.arg("--dry-run").write_stdin(bytes);
        check(by_stdin).code(2).stderr(line("standard input"));
        for option in ["--messages", "--attach", "--system-file", "--schema", "--body"] {
            let words = if option == "--body" { &[][..] } else { &["hi"] };
            check(haiku().args(["--dry-run", option, &file]).args(words))
                .code(2)
                .stderr(line(&format!("{option} {file}")));
        }
        let text = OsStr::from_bytes(bytes);
        for (option, name) in
            [("--system", "--system"), ("--metadata", "--metadata"), ("--", "prompt word 1")]
        {
            check(haiku().args(["--dry-run", "-n", option]).arg(text).arg("hi"))
                .code(2)
                .stderr(line(name));
        }
    }
}

#[test]
fn binary_input_is_called_what_it_is() {
    for (bytes, part) in [
        (&b"\x89PNG\r\n\x1a\n\0"[..], "standard input is a PNG file, not text; attach it with -a"),
        (b"\xff\xd8\xff\xe0", "standard input is a JPEG file, not text; attach it with -a"),
        (b"GIF89a\xff", "standard input is a GIF file, not text; attach it with -a"),
        (b"RIFF\xff\0\0\0WEBP", "standard input is a WebP file, not text; attach it with -a"),
        (b"%PDF-1.7\n\xe2", "standard input is a PDF file, not text; attach it with -a"),
        (
            include_bytes!("../data/cases/newline.pdf"),
            "standard input is a PDF file, not text; attach it with -a",
        ),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0\xff",
            "standard input is a HEIC file; convert it to JPEG or PNG, and attach that",
        ),
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
fn a_silent_socket_is_no_data_either_and_a_dash_waits_for_it() {
    let start = |words: &[&str]| {
        let (socket, other) = UnixStream::pair().unwrap();
        let mut command = process(&Server::documented());
        command.args(["--dry-run", "--timeout", "0.3"]).args(words).stdin(OwnedFd::from(socket));
        (command.spawn().unwrap(), other)
    };
    let (child, _open) = start(&["x"]);
    let line = "haiku: no data on standard input for 0.3 s; use -n or </dev/null if there is none, or - to wait for it\n";
    check(child.wait_with_output().unwrap()).code(2).stderr(line);
    let (child, mut other) = start(&["-", "x"]);
    thread::sleep(Duration::from_millis(600));
    other.write_all(b"late").unwrap();
    drop(other);
    check(child.wait_with_output().unwrap()).success().stdout(contains("late")).stderr("");
}

#[test]
fn input_that_waits_unread_causes_a_warning() {
    const WARNING: &str =
        "haiku: warning: unread data on standard input; use - to read it, or -n to skip it\n";
    let folder = Folder::new();
    let chat = folder.write("chat", r#"{"role":"user","content":"hi"}"#);
    let body = folder.write("body", r#"{"model":"m","max_tokens":1,"messages":[]}"#);
    let text = folder.write("text", "question\n");
    let pipe = |bytes: &[u8]| {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        OwnedFd::from(reader)
    };
    let socket = || {
        let (socket, mut other) = UnixStream::pair().unwrap();
        other.write_all(b"x").unwrap();
        OwnedFd::from(socket)
    };
    let file = || OwnedFd::from(File::open(&text).unwrap());
    let file_at_its_end = || {
        let mut file = File::open(&text).unwrap();
        file.read_to_end(&mut Vec::new()).unwrap();
        OwnedFd::from(file)
    };
    let file_beyond_its_end = || {
        let mut file = File::open(&text).unwrap();
        file.seek(io::SeekFrom::Start(100)).unwrap();
        OwnedFd::from(file)
    };
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    for (args, stdin, expected) in [
        (&["--messages", &chat][..], pipe(b"q\n"), WARNING),
        (&["--messages", &chat], file(), WARNING),
        (&["--messages", &chat], socket(), WARNING),
        (&["--messages", &chat, "-a", &text], pipe(b"q\n"), WARNING),
        (&["--body", &body], pipe(b"q\n"), WARNING),
        (&["--messages", &chat], pipe(b""), ""),
        (&["--messages", &chat], null(), ""),
        (&["--body", &body], null(), ""),
        (&["--messages", &chat], file_at_its_end(), ""),
        (&["--messages", &chat], file_beyond_its_end(), ""),
        (&["-n", "--messages", &chat], pipe(b"q\n"), ""),
        (&["-q", "--messages", &chat], pipe(b"q\n"), ""),
        (&["-q", "--body", &body], file(), ""),
        (&["--messages", &chat, "and?"], pipe(b"q\n"), ""),
        (&["--messages", &chat, "-"], pipe(b"q\n"), ""),
        (&["--messages", &chat, "--system-file", "-"], pipe(b"q\n"), ""),
    ] {
        let mut command = process(&Server::documented());
        check(command.arg("--dry-run").args(args).stdin(stdin)).success().stderr(expected);
    }
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
