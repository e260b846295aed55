//! `-a FILE` and `--schema FILE`: what is read, what is sent, what is refused.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, event_stream, events, json_response, message};
use crate::{ask, at, bare, run};

const KINDS: [(&str, &[u8], &str, &str); 5] = [
    ("a.png", b"\x89PNG\r\n\x1a\n and more", "image", "image/png"),
    ("b.jpg", b"\xff\xd8\xff\xe0 and more", "image", "image/jpeg"),
    ("c.gif", b"GIF89a and more", "image", "image/gif"),
    ("d.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "image", "image/webp"),
    ("e.pdf", b"%PDF-1.7 and more", "document", "application/pdf"),
];

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn block(kind: &str, media_type: &str, bytes: &[u8]) -> Value {
    let data = STANDARD.encode(bytes);
    json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn messages(args: &[&str], stdin: &str) -> Value {
    let run = run(bare().arg("--dry-run").args(args).write_stdin(stdin))
        .ends(0)
        .quiet();
    serde_json::from_str::<Value>(&run.out).unwrap()["messages"].clone()
}

#[test]
fn each_kind_is_a_block_before_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["What is it?".to_owned()];
    let mut blocks = Vec::new();
    for (name, bytes, kind, media_type) in KINDS {
        // The name says nothing: the bytes do.
        args.extend(["-a".into(), write(&folder, &format!("{name}.txt"), bytes)]);
        blocks.push(block(kind, media_type, bytes));
    }
    blocks.push(json!({"type": "text", "text": "in\n\nWhat is it?"}));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(
        messages(&args, "in\n"),
        json!([{"role": "user", "content": blocks}])
    );
}

#[test]
fn without_a_prompt_the_attachments_go_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (name, bytes, kind, media_type) = KINDS[0];
    let file = write(&folder, name, bytes);
    let alone = json!([{"role": "user", "content": [block(kind, media_type, bytes)]}]);
    assert_eq!(messages(&["-a", &file], ""), alone);
    assert_eq!(messages(&["-n", "-a", &file], "not me"), alone);
    assert_eq!(messages(&["-a", &file, " "], "\n"), alone);
    // A dash still demands something.
    run(bare().args(["--dry-run", "-a", &file, "-"]))
        .ends(2)
        .says(&["standard input is empty"]);
}

#[test]
fn attachments_follow_a_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let (name, bytes, kind, media_type) = KINDS[4];
    let file = write(&folder, name, bytes);
    let chat = write(&folder, "chat", br#"{"role":"user","content":"hi"}"#);
    let hi = json!({"role": "user", "content": "hi"});
    let mut blocks = vec![block(kind, media_type, bytes)];
    assert_eq!(
        messages(&["--messages", &chat, "-a", &file], "not me"),
        json!([hi, {"role": "user", "content": blocks}])
    );
    blocks.push(json!({"type": "text", "text": "sum up"}));
    assert_eq!(
        messages(&["--messages", &chat, "-a", &file, "sum up"], ""),
        json!([hi, {"role": "user", "content": blocks}])
    );
}

#[test]
fn anything_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::documented();
    for (name, bytes) in [
        ("a.png", &b"text"[..]),
        ("empty.png", b""),
        ("x.svg", b"<svg/>"),
        ("bmp", b"BM......"),
    ] {
        let file = write(&folder, name, bytes);
        ask(&server, &["-a", &file, "hi"])
            .ends(2)
            .prints("")
            .says(&[&file, "standard input"]);
    }
    ask(&server, &["-a", "/nowhere.png", "hi"])
        .ends(2)
        .says(&["/nowhere.png: No such file"]);
    ask(&server, &["-a", folder.path().to_str().unwrap(), "hi"])
        .ends(2)
        .says(&["directory"]);
    assert!(server.requests().is_empty());
}

#[test]
fn what_is_too_large_is_refused_with_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::documented();
    let mut image = KINDS[0].1.to_vec();
    image.resize(6_000_000, 0);
    let image = write(&folder, "large.png", &image);
    ask(&server, &["-a", &image, "hi"])
        .ends(2)
        .says(&["large.png", "6.0 MB", "5 MB"]);
    let mut pdf = KINDS[4].1.to_vec();
    pdf.resize(15_000_000, 0);
    let pdf = write(&folder, "large.pdf", &pdf);
    run(bare().args(["--dry-run", "-a", &pdf, "hi"])).ends(0);
    ask(&server, &["-a", &pdf, "-a", &pdf, "hi"])
        .ends(2)
        .says(&["large.pdf", "32 MB"]);
    assert!(server.requests().is_empty());
}

#[test]
fn a_schema_reaches_the_body_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{"type":"object","properties":{"z":{"minimum":1.50},"a":{}},"required":["z"]}"#;
    let file = write(&folder, "schema.json", format!(" {schema}\n").as_bytes());
    let run = run(bare().args(["--dry-run", "--schema", &file, "hi"])).ends(0);
    let expected =
        format!(r#""output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}"#);
    assert!(run.out.contains(&expected), "{run:?}");
}

#[test]
fn a_schema_that_is_no_object_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::documented();
    for text in ["", "[]", "true", "{", "{} {}", "not json"] {
        let file = write(&folder, "schema.json", text.as_bytes());
        ask(&server, &["--schema", &file, "hi"])
            .ends(2)
            .prints("")
            .says(&["--schema"]);
    }
    ask(&server, &["--schema", "/nowhere", "hi"])
        .ends(2)
        .says(&["--schema /nowhere: No such file"]);
    assert!(server.requests().is_empty());
}

#[test]
fn a_reply_that_is_no_json_is_not_finished() {
    let folder = tempfile::tempdir().unwrap();
    let schema = write(&folder, "schema.json", b"{}");
    let old = write(&folder, "old", b"old");
    for (text, code) in [
        (r#"{"total": 1.50}"#, 0),
        ("[1]\n", 0),
        ("```json\n{}\n```", 5),
        ("{\"total\":", 5),
        ("Sure! {}", 5),
        (" ", 5),
    ] {
        let body = Server::sending(json_response(200, message(text, "end_turn").to_string()));
        let stream = Server::sending(event_stream(&events(
            &text.split_inclusive(' ').collect::<Vec<_>>(),
            "end_turn",
        )));
        let out = format!("{}\n", text.strip_suffix('\n').unwrap_or(text));
        for (server, form) in [(&body, "--no-stream"), (&stream, "--stream")] {
            let run = ask(server, &["--schema", &schema, form, "hi"])
                .ends(code)
                .prints(&out);
            if code == 0 {
                run.quiet()
            } else {
                run.says(&["not JSON"])
            };
            ask(server, &["--json", "--schema", &schema, form, "hi"]).ends(code);
        }
        run(at(&body).args(["--schema", &schema, "-o", &old, "hi"]))
            .ends(code)
            .prints(if code == 0 { "" } else { &out });
        assert_eq!(
            fs::read_to_string(&old).unwrap(),
            if code == 0 { &out } else { "old" }
        );
        fs::write(&old, "old").unwrap();
    }
    let cut = Server::sending(json_response(
        200,
        message("{\"a\":", "max_tokens").to_string(),
    ));
    ask(&cut, &["--schema", &schema, "hi"])
        .ends(5)
        .says(&["--max-tokens"]);
    // A call for a tool is what --json may bring.
    let tool = Server::sending(json_response(200, message("", "tool_use").to_string()));
    ask(&tool, &["--json", "--schema", &schema, "hi"])
        .ends(0)
        .quiet();
}
