//! `--schema`: schemas that are rejected, and whether the reply is JSON.

use crate::support::mock_server::Server;
use crate::support::{Folder, ask, error_line, one_line};

#[test]
fn a_schema_that_is_not_a_json_object_is_rejected() {
    let folder = Folder::new();
    let server = Server::documented();
    for text in ["", "[]", "true", "{", "{} {}", "not json"] {
        let file = folder.write("schema.json", text);
        ask(&server, &["--schema", &file, "hi"]).code(2).stderr(one_line(&["--schema"]));
    }
    ask(&server, &["--schema", "/missing", "hi"])
        .code(2)
        .stderr(one_line(&["--schema /missing: No such file"]));
    assert!(server.requests().is_empty());
}

#[test]
fn a_reply_that_is_not_json_is_printed_but_unfinished() {
    let folder = Folder::new();
    let schema = folder.write("schema.json", "{}");
    for (text, code) in [
        (r#"{"total": 1.50}"#, 0),
        ("[1]\n", 0),
        ("```json\n{}\n```", 5),
        ("{\"total\":", 5),
        ("Sure! {}", 5),
        (" ", 5),
    ] {
        let whole = Server::message(text, "end_turn");
        let pieces: Vec<_> = text.split_inclusive(' ').collect();
        let stream = Server::stream(&pieces, "end_turn");
        let printed = format!("{}\n", text.strip_suffix('\n').unwrap_or(text));
        let part = if code == 0 { "" } else { "not valid JSON" };
        for (server, form) in [(&whole, "--no-stream"), (&stream, "--stream")] {
            ask(server, &["--schema", &schema, form, "hi"])
                .code(code)
                .stdout(printed.clone())
                .stderr(error_line(part));
            ask(server, &["--json", "--schema", &schema, form, "hi"]).code(code);
        }
        let file = folder.write("old", "old");
        let (in_file, on_stdout) =
            if code == 0 { (printed.as_str(), "") } else { ("old", printed.as_str()) };
        ask(&whole, &["--schema", &schema, "-o", &file, "hi"])
            .code(code)
            .stdout(on_stdout.to_owned());
        assert_eq!(folder.read("old"), in_file);
    }
}

#[test]
fn the_stop_reason_counts_before_the_schema() {
    let folder = Folder::new();
    let schema = folder.write("schema.json", "{}");
    ask(&Server::message("{\"a\":", "max_tokens"), &["--schema", &schema, "hi"])
        .code(5)
        .stderr(one_line(&["max_tokens"]));
    ask(&Server::message("", "tool_use"), &["--json", "--schema", &schema, "hi"]).success();
}
