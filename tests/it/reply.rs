//! A reply as one JSON body: its text, its wrappings, and what is not a reply at all.

use std::io::Write;

use serde_json::{Value, json};

use crate::ask;
use crate::server::{Server, Step, head, http, json_response, message};

/// A server that answers 200 with this JSON.
fn answering(body: &Value) -> Server {
    Server::sending(json_response(200, body.to_string()))
}

#[test]
fn text_blocks_are_joined_and_others_ignored() {
    let mut reply = message("", "end_turn");
    reply["content"] = json!([
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "one"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "no"}},
        {"type": "text", "text": " two\n\n", "citations": null},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "never_heard_of", "text": "no"},
        {"type": "text", "text": "three"},
    ]);
    ask(&answering(&reply), &["hi"])
        .ends(0)
        .quiet()
        .prints("one two\n\nthree\n");
}

#[test]
fn one_final_newline() {
    for (text, out) in [
        ("a", "a\n"),
        ("a\n", "a\n"),
        ("a\n\n", "a\n\n"),
        ("\n a", "\n a\n"),
    ] {
        ask(&answering(&message(text, "end_turn")), &["hi"])
            .ends(0)
            .prints(out);
    }
}

#[test]
fn a_pipe_gets_exact_text() {
    let text = "\u{1b}[31mred\u{1b}[0m \u{7}\u{0}\r \u{9b} \u{202e} é \u{1f600}";
    ask(&answering(&message(text, "end_turn")), &["hi"])
        .ends(0)
        .prints(&format!("{text}\n"));
}

#[test]
fn wrappings_are_taken_off() {
    let reply = message("inside", "end_turn");
    let envelope =
        |result: &Value| json!({"success": true, "errors": [], "messages": [], "result": result});
    let job =
        |result: &Value| json!({"state": "Completed", "result": result, "gatewayMetadata": {}});
    for body in [
        envelope(&reply),
        job(&reply),
        envelope(&job(&reply)),
        job(&envelope(&reply)),
    ] {
        ask(&answering(&body), &["hi"])
            .ends(0)
            .quiet()
            .prints("inside\n");
        ask(&answering(&body), &["--json", "hi"])
            .ends(0)
            .prints(&format!("{body}\n"));
    }
}

#[test]
fn a_success_with_an_error_inside_is_a_failure() {
    for (body, code, says) in [
        (
            json!({"success": false, "errors": [{"code": 10000, "message": "Authentication error"}], "result": null}),
            3,
            "Authentication error",
        ),
        (
            json!({"success": false, "errors": [{"code": 2003, "message": "Rate limited"}]}),
            4,
            "Rate limited",
        ),
        (
            json!({"state": "Failed", "error": {"code": 7003, "message": "No such model"}}),
            3,
            "No such model",
        ),
        (
            json!({"success": true, "errors": [], "result": {"state": "Failed", "error": {"code": 7010, "message": "Retired"}}}),
            3,
            "Retired",
        ),
        (json!({"state": "Failed"}), 4, "Failed"),
        (
            json!({"errors": [{"message": "odd"}], "result": message("x", "end_turn")}),
            4,
            "odd",
        ),
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            4,
            "Overloaded",
        ),
        (
            json!({"success": false, "error": {"message": "Spending limit exceeded"}}),
            3,
            "Spending limit exceeded",
        ),
    ] {
        for flags in [
            &["hi"][..],
            &["--json", "hi"],
            &["--json", "--stream", "hi"],
        ] {
            let server = answering(&body);
            ask(&server, flags).ends(code).prints("").says(&[says]);
            assert_eq!(server.requests().len(), 1, "paid for once");
        }
    }
}

#[test]
fn what_is_not_a_whole_message_is_not_passed_off_as_one() {
    let whole = message("half of it", "end_turn").to_string();
    for (body, says) in [
        ("", "empty body"),
        (" \n", "empty body"),
        (&whole[..whole.len() / 2], "cut off"),
        (
            "<html><head><title>Just a moment</title></head><body>Checking</body></html>",
            "Just a moment Checking",
        ),
        ("error code: 1010", "error code: 1010"),
        ("{}", "no message"),
        ("[]", ""),
        ("null", ""),
        ("\"text\"", ""),
        (
            r#"{"success":true,"result":{"response":"old style"}}"#,
            "old style",
        ),
        (
            r#"{"content":"not an array","stop_reason":"end_turn"}"#,
            "garbled",
        ),
        (
            r#"{"content":[{"text":"no type"}],"stop_reason":"end_turn"}"#,
            "garbled",
        ),
        (
            r#"{"content":[{"type":"text","text":"\ud800"}],"stop_reason":"end_turn"}"#,
            "garbled",
        ),
    ] {
        for flags in [&["hi"][..], &["--json", "hi"], &["--stream", "hi"]] {
            let server = Server::sending(json_response(200, body));
            ask(&server, flags).ends(4).prints("").says(&[says]);
            assert_eq!(server.requests().len(), 1, "paid for once");
        }
    }
    let server = Server::sending(json_response(
        200,
        b"{\"content\":[{\"type\":\"text\",\"text\":\"\xff\"}]}",
    ));
    ask(&server, &["hi"]).ends(4).prints("").says(&["garbled"]);
    ask(&Server::sending(http(204, &[], "")), &["hi"])
        .ends(4)
        .prints("")
        .says(&["204"]);
}

#[test]
fn a_body_cut_short_of_its_length_is_cut_off() {
    let mut bytes = head(
        200,
        &[
            ("content-type", "application/json"),
            ("content-length", "100000"),
        ],
    );
    bytes.extend_from_slice(b"\r\n{\"content\":[");
    let server = Server::sending(bytes);
    ask(&server, &["hi"]).ends(4).prints("").says(&["cut off"]);
    assert_eq!(server.requests().len(), 1, "paid for once");
}

#[test]
fn a_body_without_a_length_is_read_to_its_end() {
    let mut bytes = head(
        200,
        &[
            ("content-type", "application/json"),
            ("connection", "close"),
        ],
    );
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(message("to the end", "end_turn").to_string().as_bytes());
    ask(&Server::sending(bytes.clone()), &["hi"])
        .ends(0)
        .prints("to the end\n");
    bytes.truncate(bytes.len() - 30);
    ask(&Server::sending(bytes), &["hi"])
        .ends(4)
        .prints("")
        .says(&["cut off"]);
}

#[test]
fn json_is_the_body_byte_for_byte() {
    let pretty = "{\n \"content\" : [ {\"type\":\"text\",\"text\":\"\\u0041\"} ],\r\n \"n\": 1.50, \"stop_reason\":\"end_turn\" }";
    for (body, out) in [
        (pretty.to_owned(), format!("{pretty}\n")),
        (format!("{pretty}\n"), format!("{pretty}\n")),
        (format!(" {pretty}\n\n"), format!(" {pretty}\n\n")),
    ] {
        let server = Server::sending(json_response(200, body));
        ask(&server, &["--json", "hi"]).ends(0).quiet().prints(&out);
    }
    // A stream was asked for and one body came: the body is one of the JSON Lines.
    let server = Server::sending(json_response(200, pretty));
    let line = pretty.replace(['\n', '\r'], " ");
    ask(&server, &["--json", "--stream", "hi"])
        .ends(0)
        .quiet()
        .prints(&format!("{line}\n"));
    ask(&server, &["--stream", "hi"])
        .ends(0)
        .quiet()
        .prints("A\n");
}

#[test]
fn a_body_over_ten_megabytes_comes_whole() {
    let text = "0123456789abcde\n".repeat(800_000);
    ask(&answering(&message(&text, "end_turn")), &["hi"])
        .ends(0)
        .quiet()
        .prints(&text);
    let too_long = "x".repeat(33_000_000);
    ask(&answering(&message(&too_long, "end_turn")), &["hi"])
        .ends(4)
        .prints("")
        .says(&["32 MB"]);
}

#[test]
fn gzip_is_unpacked() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let reply = message("packed", "end_turn").to_string();
    let packed = gzip(reply.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    ask(&Server::sending(http(200, &headers, &packed)), &["hi"])
        .ends(0)
        .quiet()
        .prints("packed\n");
    let server = Server::sending(http(200, &headers, &packed));
    ask(&server, &["--json", "hi"])
        .ends(0)
        .prints(&format!("{reply}\n"));
    let cut = &packed[..packed.len() - 12];
    ask(&Server::sending(http(200, &headers, cut)), &["hi"])
        .ends(4)
        .prints("")
        .says(&["haiku: "]);
    let error = gzip(br#"{"errors":[{"code":10000,"message":"Authentication error"}]}"#);
    ask(&Server::sending(http(401, &headers, error)), &["hi"])
        .ends(3)
        .says(&["Authentication error"]);
}

#[test]
fn a_slow_body_is_waited_for() {
    let reply = json_response(200, message("slow", "end_turn").to_string());
    let mut steps = Vec::new();
    for piece in reply.chunks(100) {
        steps.push(Step::Send(piece.to_vec()));
        steps.push(Step::Wait(std::time::Duration::from_millis(20)));
    }
    ask(&Server::always(steps), &["hi"])
        .ends(0)
        .quiet()
        .prints("slow\n");
}
