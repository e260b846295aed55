//! `--attach`: what is read, what is sent, what is rejected.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::mock_server::Server;
use crate::support::{Folder, ask, check, dry_run, haiku, one_line};

const FILES: [(&str, &[u8], &str, &str); 5] = [
    ("a.png", b"\x89PNG\r\n\x1a\n and more", "image", "image/png"),
    ("b.jpg", b"\xff\xd8\xff\xe0 and more", "image", "image/jpeg"),
    ("c.gif", b"GIF89a and more", "image", "image/gif"),
    ("d.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "image", "image/webp"),
    ("e.pdf", b"%PDF-1.7 and more", "document", "application/pdf"),
];

fn block(kind: &str, media_type: &str, bytes: &[u8]) -> Value {
    let data = STANDARD.encode(bytes);
    json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn messages(args: &[&str], stdin: &str) -> Value {
    dry_run(args, stdin)["messages"].take()
}

#[test]
fn files_are_content_blocks_before_the_text_whatever_their_names() {
    let folder = Folder::new();
    let mut args = Vec::new();
    let mut content = Vec::new();
    for (name, bytes, kind, media_type) in FILES {
        args.extend(["-a".into(), folder.write(&format!("{name}.txt"), bytes)]);
        content.push(block(kind, media_type, bytes));
    }
    content.push(json!({"type": "text", "text": "in\n\nWhat is it?"}));
    args.push("What is it?".into());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let expected = json!([{"role": "user", "content": content}]);
    assert_eq!(messages(&args, "in\n"), expected);
}

#[test]
fn attachments_need_no_prompt() {
    let folder = Folder::new();
    let (name, bytes, kind, media_type) = FILES[0];
    let file = folder.write(name, bytes);
    let expected = json!([{"role": "user", "content": [block(kind, media_type, bytes)]}]);
    for (args, stdin) in
        [(&["-a", &file][..], ""), (&["-n", "-a", &file], "unread"), (&["-a", &file, " "], "\n")]
    {
        assert_eq!(messages(args, stdin), expected, "{args:?}");
    }
    check(haiku().args(["--dry-run", "-a", &file, "-"]))
        .code(2)
        .stderr(one_line(&["standard input is empty"]));
}

#[test]
fn attachments_follow_the_conversation() {
    let folder = Folder::new();
    let (name, bytes, kind, media_type) = FILES[4];
    let file = folder.write(name, bytes);
    let chat = folder.write("chat", r#"{"role":"user","content":"hi"}"#);
    let (hi, pdf) = (json!({"role": "user", "content": "hi"}), block(kind, media_type, bytes));
    assert_eq!(
        messages(&["--messages", &chat, "-a", &file], "unread"),
        json!([hi, {"role": "user", "content": [pdf]}])
    );
    let text = json!({"type": "text", "text": "sum up"});
    assert_eq!(
        messages(&["--messages", &chat, "-a", &file, "sum up"], ""),
        json!([hi, {"role": "user", "content": [pdf, text]}])
    );
}

#[test]
fn unsupported_and_unreadable_files_are_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    for (name, bytes) in
        [("a.png", "BM\0....."), ("empty.png", ""), ("blank.txt", " \n"), ("bin", "a\0")]
    {
        let file = folder.write(name, bytes);
        ask(&server, &["-a", &file, "hi"]).code(2).stderr(one_line(&["--attach", &file]));
    }
    for (file, part) in [("/missing.png", "/missing.png: No such file"), ("/", "directory")] {
        ask(&server, &["-a", file, "hi"]).code(2).stderr(one_line(&[part]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn files_over_the_size_limits_are_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    let large = |name: &str, start: &[u8], length| {
        let mut bytes = start.to_vec();
        bytes.resize(length, 0);
        folder.write(name, bytes)
    };
    let image = large("large.png", FILES[0].1, 6_000_000);
    ask(&server, &["-a", &image, "hi"]).code(2).stderr(one_line(&["large.png", "6.0 MB", "5 MB"]));
    let pdf = large("large.pdf", FILES[4].1, 15_000_000);
    check(haiku().args(["--dry-run", "-a", &pdf, "hi"])).success();
    ask(&server, &["-a", &pdf, "-a", &pdf, "hi"]).code(2).stderr(one_line(&["large.pdf", "32 MB"]));
    assert!(server.requests().is_empty());
}
