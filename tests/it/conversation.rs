//! `--messages`: a conversation from a file or standard input.

use serde_json::{Value, json};

use crate::support::mock_server::Server;
use crate::support::{Folder, ask, dry_run, one_line};

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn standard_input_is_read_only_with_a_prompt() {
    let folder = Folder::new();
    let chat = folder.write("chat", user("hi").to_string());
    let empty = folder.write("empty", "");
    let chat = ["--messages", &chat];
    for (args, stdin, expected) in [
        (&["-q"][..], "unread", json!([user("hi")])),
        (&["and?"], "in\n", json!([user("hi"), user("in\n\nand?")])),
        (&["-n", "and?"], "in", json!([user("hi"), user("and?")])),
        (&[" "], "\n", json!([user("hi")])),
    ] {
        let body = dry_run(&[&chat, args].concat(), stdin);
        assert_eq!(body["messages"], expected, "{args:?}");
    }
    let body = dry_run(&["--messages", &empty, "first"], "");
    assert_eq!(body["messages"], json!([user("first")]));
}

#[test]
fn invalid_conversations_are_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    for text in [
        "[]",
        r#"[{"role":"user""#,
        r#"[{"role":"system","content":"x"}]"#,
        r#"{"role":"user","content":"x"} trailing"#,
        r#"{"role":"assistant","content":"prefill "}"#,
    ] {
        let file = folder.write("chat", text);
        ask(&server, &["--messages", &file]).code(2).stderr(one_line(&["--messages"]));
    }
    ask(&server, &["--messages", "/missing"])
        .code(2)
        .stderr(one_line(&["--messages /missing: No such file"]));
    assert!(server.requests().is_empty());
}

#[test]
fn half_a_character_is_rejected_with_its_message() {
    let folder = Folder::new();
    let server = Server::documented();
    let sample = include_str!("../data/cases/half-character.jsonl");
    let lines = format!("{}\n{sample}", user("hi"));
    let array = format!("[{},{sample}]", user("hi"));
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":{array}}}"#);
    let why =
        r"half a character (\ud83e) that no server accepts; whatever cut the text cut it there";
    for (option, text, number) in [
        ("--messages", sample, 1),
        ("--messages", &lines, 2),
        ("--messages", &array, 2),
        ("--body", &body, 2),
    ] {
        let file = folder.write("file", text);
        let line = format!("haiku: {option} {file}: message {number}: {why}\n");
        ask(&server, &[option, &file]).code(2).stderr(line);
    }
    assert!(server.requests().is_empty());
}
