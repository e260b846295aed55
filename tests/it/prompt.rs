//! Arguments and standard input: what is joined, what is refused, what is left alone.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::server::Server;
use crate::{ask, at, bare, dry, process, run};

/// The prompt that `args` and `stdin` make.
fn prompt(args: &[&str], stdin: &str) -> String {
    let body = dry(args, stdin);
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["role"], "user");
    messages[0]["content"].as_str().unwrap().to_owned()
}

#[test]
fn standard_input_comes_first() {
    assert_eq!(prompt(&["Write", "it."], "diff\n\n"), "diff\n\nWrite it.");
    assert_eq!(prompt(&["Write", "it."], ""), "Write it.");
    assert_eq!(prompt(&[], "just this\r\n"), "just this");
    assert_eq!(
        prompt(&["Before:", "-", "after", "it"], "x\n"),
        "Before:\n\nx\n\nafter it"
    );
    assert_eq!(prompt(&["-"], "x"), "x");
    assert_eq!(prompt(&["-n", "only", "words"], "not me"), "only words");
}

#[test]
fn options_stand_anywhere_and_two_dashes_end_them() {
    assert_eq!(prompt(&["a", "--no-stdin", "b"], ""), "a b");
    assert_eq!(prompt(&["--", "--json", "-x"], ""), "--json -x");
    assert_eq!(prompt(&["a", "--", "-"], "in"), "a\n\nin");
}

#[test]
fn text_is_not_changed() {
    let text = "tab\t quote\" back\\slash \u{0}nul \u{1b}esc é 日本 \u{1f600} \u{2028} end";
    assert_eq!(prompt(&[], text), text);
    assert_eq!(
        prompt(&["é 日本", "  two  blanks  "], ""),
        "é 日本   two  blanks  "
    );
}

#[test]
fn no_prompt_is_refused() {
    for (args, stdin) in [
        (&[][..], ""),
        (&[], " \n\t"),
        (&[" "], ""),
        (&["-n"], "x"),
        (&["-n", ""], "x"),
    ] {
        let server = Server::documented();
        run(at(&server).args(args).write_stdin(stdin))
            .ends(2)
            .prints("")
            .says(&["haiku: no prompt: "]);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn an_empty_demanded_input_buys_nothing() {
    for stdin in ["", "\n", "  \n\t\n"] {
        let server = Server::documented();
        run(at(&server)
            .args(["-", "Write the message."])
            .write_stdin(stdin))
        .ends(2)
        .prints("")
        .says(&["standard input is empty"]);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn standard_input_is_used_once() {
    for args in [
        &["-", "-"][..],
        &["-", "-n"],
        &["--messages", "-", "-n"],
        &["--messages", "-", "-", "x"],
        &["a", "--", "-", "-"],
    ] {
        let server = Server::documented();
        run(at(&server).args(args).write_stdin("x"))
            .ends(2)
            .prints("")
            .says(&["-"]);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn messages_alone_leave_standard_input_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.json");
    std::fs::write(&file, r#"[{"role":"user","content":"hi"}]"#).unwrap();
    let file = file.to_str().unwrap();
    let hi = json!({"role": "user", "content": "hi"});
    assert_eq!(
        dry(&["--messages", file], "not me")["messages"],
        json!([hi])
    );
    assert_eq!(
        dry(&["--messages", file, "and?"], "me first\n")["messages"],
        json!([hi, {"role": "user", "content": "me first\n\nand?"}])
    );
    assert_eq!(
        dry(&["--messages", file, "-n", "and?"], "not me")["messages"],
        json!([hi, {"role": "user", "content": "and?"}])
    );
    assert_eq!(
        dry(&["--messages", file, " "], "\n")["messages"],
        json!([hi])
    );
}

#[test]
fn bad_utf8_is_named_by_its_offset() {
    let server = Server::documented();
    let bad = OsStr::from_bytes(b"ab\xff");
    let run_with =
        |arguments: &[&OsStr], stdin: &[u8]| run(at(&server).args(arguments).write_stdin(stdin));
    let iconv = "iconv -f ISO-8859-1 -t UTF-8";
    run_with(&[], b"caf\xe9 au lait").ends(2).prints("").says(&[
        "standard input is not UTF-8",
        "offset 3",
        iconv,
    ]);
    run_with(&["ok".as_ref(), bad], b"")
        .ends(2)
        .says(&["word 2", "offset 2", iconv]);
    run_with(&["x".as_ref(), "-s".as_ref(), bad], b"")
        .ends(2)
        .says(&["--system", "offset 2", iconv]);
    run_with(&["x".as_ref(), "--param".as_ref(), bad], b"")
        .ends(2)
        .says(&["--param", "offset 2", iconv]);
    run_with(&["x".as_ref(), "-H".as_ref(), bad], b"")
        .ends(2)
        .says(&["--header", "offset 2", iconv]);
    run_with(&["x".as_ref(), "-m".as_ref(), bad], b"")
        .ends(2)
        .says(&["argument 3", "offset 2", iconv]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.jsonl");
    std::fs::write(&file, b"{\"role\":\"user\",\"content\":\"\xff\"}").unwrap();
    run_with(&["--messages".as_ref(), file.as_ref()], b"")
        .ends(2)
        .says(&["chat.jsonl", "offset 26", iconv]);
    assert!(server.requests().is_empty());
}

#[test]
fn input_over_32_mb_is_refused_without_reading_on() {
    let server = Server::documented();
    let mut child = process(&server)
        .arg("question")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Endless: only a reader that stops makes this end.
    let piece = vec![b'a'; 1 << 20];
    let error = loop {
        if let Err(error) = stdin.write_all(&piece) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(
        err,
        "haiku: standard input is over 32 MB, the most that the API takes\n"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_body_over_32_mb_is_refused() {
    let server = Server::documented();
    // Each of these bytes takes six in JSON.
    run(at(&server).write_stdin(vec![1; 6_000_000]))
        .ends(2)
        .says(&["the request is 36.0 MB; the API takes at most 32 MB"]);
    assert!(server.requests().is_empty());
}

#[test]
fn ten_megabytes_go_through() {
    let server = Server::documented();
    let text = "Zeile mit \"Zitat\" und é\n".repeat(400_000);
    run(at(&server).write_stdin(text.clone()))
        .ends(0)
        .quiet()
        .prints(&text);
    assert_eq!(
        server.request().json()["messages"][0]["content"],
        text.trim_end()
    );
}

#[test]
fn a_closed_standard_input_is_an_empty_one() {
    let server = Server::documented();
    let closed = |args: &str| {
        let output = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("\"$HAIKU\" {args} <&-"))
            .env_clear()
            .env("HAIKU", env!("CARGO_BIN_EXE_haiku"))
            .env("CLOUDFLARE_API_BASE_URL", server.url())
            .env("CLOUDFLARE_ACCOUNT_ID", "x")
            .env("CLOUDFLARE_API_TOKEN", "x")
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(closed("hello"), (Some(0), "hello\n".into()));
    assert_eq!(closed(""), (Some(2), String::new()));
    assert_eq!(closed("- hello"), (Some(2), String::new()));
}

#[test]
fn an_input_that_cannot_be_read_is_named() {
    let folder = std::fs::File::open("/").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_haiku"))
        .env_clear()
        .args(["--dry-run", "x"])
        .stdin(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(err, "haiku: cannot read standard input: Is a directory\n");
    run(bare().args(["--dry-run", "--messages", "/nowhere"]))
        .ends(2)
        .says(&["cannot read --messages /nowhere: No such file or directory"]);
}

#[test]
fn a_silent_standard_input_is_given_up() {
    let server = Server::documented();
    let (_silent, stdin) = silent_pipe();
    let output = Command::new(env!("CARGO_BIN_EXE_haiku"))
        .env_clear()
        .args(["--dry-run", "--timeout", "0.3", "x"])
        .stdin(stdin)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "haiku: standard input sent nothing for 0.3 s and did not end; use -n to leave it alone, or </dev/null\n"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_demanded_or_only_standard_input_is_waited_for() {
    for args in [&["-", "x"][..], &["-"], &[]] {
        let (mut writer, stdin) = silent_pipe();
        let child = Command::new(env!("CARGO_BIN_EXE_haiku"))
            .env_clear()
            .args(["--dry-run", "--timeout", "0.2"])
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(600));
        writer.write_all(b"late").unwrap();
        drop(writer);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("late"));
    }
}

#[test]
fn a_slow_standard_input_is_read_to_its_end() {
    let (mut writer, stdin) = silent_pipe();
    let child = Command::new(env!("CARGO_BIN_EXE_haiku"))
        .env_clear()
        .args(["--dry-run", "--timeout", "0.3", "x"])
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for piece in ["a", "b", "c"] {
        writer.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(writer);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(r"abc\n\nx")
    );
}

/// A standard input that stays open and silent until the writer is dropped.
fn silent_pipe() -> (io::PipeWriter, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (writer, reader)
}

#[test]
fn a_dash_among_options_is_a_file_not_a_word() {
    let server = Server::documented();
    ask(&server, &["--token-file", "-", "x"])
        .ends(2)
        .says(&["--token-file -"]);
}
