//! A reply as one JSON body: its text, envelopes, stop reasons, and bodies that are not a reply.

use std::io::Write;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::support::mock_server::{
    JSON, Server, Step, chunk, event, events, http, json_response, message, raw_http,
};
use crate::support::{Folder, MALFORMED, TRUNCATED, ask, error_line, one_line, stdout};
use crate::tls::{Close, ask_closing};

/// A reply with line breaks, escapes and number spelling of its own.
const SPACED: &str = " {\n \"content\" : [ {\"type\":\"text\",\"text\":\"\\u0041\"} ],\r\n \"n\": 1.50, \"stop_reason\":\"end_turn\" }";

#[test]
fn stop_reasons_decide_whether_the_reply_is_finished() {
    for (reason, code, part) in [
        ("end_turn", 0, ""),
        ("stop_sequence", 0, ""),
        ("max_tokens", 5, "the rest"),
        ("model_context_window_exceeded", 5, "model_context_window"),
        ("refusal", 5, "refusal"),
        ("pause_turn", 5, "pause_turn"),
        ("tool_use", 5, "tool_use"),
        ("unknown_reason", 5, "unknown_reason"),
    ] {
        let whole = Server::message("text", reason);
        let stream = Server::stream(&["te", "xt"], reason);
        for (server, form) in [(&whole, "--no-stream"), (&stream, "--stream")] {
            let text = ask(server, &[form, "hi"]);
            text.code(code).stdout("text\n").stderr(error_line(part));
        }
        // With --json the caller can handle a tool call.
        let code = if reason == "tool_use" { 0 } else { code };
        let body = format!("{}\n", message("text", reason));
        ask(&whole, &["--json", "hi"]).code(code).stdout(body);
        let streamed = ask(&stream, &["--json", "--stream", "hi"]).code(code);
        let lines = stdout(&streamed).lines().count();
        assert_eq!(lines, events(&["te", "xt"], reason).len());
    }
}

#[test]
fn a_reply_without_a_stop_reason_is_unfinished() {
    for body in [
        r#"{"content":[{"type":"text","text":"text"}],"stop_reason":null}"#,
        r#"{"content":[{"type":"text","text":"text"}]}"#,
    ] {
        ask(&Server::json(200, body), &["hi"])
            .code(5)
            .stdout("text\n")
            .stderr(one_line(&["stop_reason"]));
    }
}

#[test]
fn a_blank_reply_is_unfinished_except_with_json() {
    for (content, printed) in [
        (r#"[{"type":"text","text":""}]"#, ""),
        (r#"[{"type":"text","text":" \t"}]"#, " \t\n"),
        ("[]", ""),
    ] {
        let body = format!(r#"{{"content":{content},"stop_reason":"end_turn"}}"#);
        let server = Server::json(200, body);
        ask(&server, &["--json", "hi"]).success();
        let text = ask(&server, &["hi"]).code(5).stdout(printed);
        text.stderr(one_line(&["no text"]));
    }
}

#[test]
fn text_blocks_are_joined_and_other_blocks_ignored() {
    let mut reply = message("", "end_turn");
    reply["content"] = json!([
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "one"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "no"}},
        {"type": "text", "text": " two\n\n", "citations": null},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "unknown_block", "text": "no"},
        {"type": "text", "text": "three"},
    ]);
    ask(&Server::json(200, reply), &["hi"]).success().stdout("one\n\n two\n\nthree\n");
}

#[test]
fn text_is_printed_unchanged_with_one_final_newline() {
    let controls = "\u{1b}[31mred\u{1b}[0m \u{7}\u{0}\r \u{9b} \u{202e} é \u{1f600}";
    for (text, newline) in [("a\n\n", ""), ("\n a", "\n"), (controls, "\n")] {
        let printed = format!("{text}{newline}");
        let server = Server::message(text, "end_turn");
        ask(&server, &["hi"]).success().stdout(printed);
    }
}

#[test]
fn envelopes_around_the_message_are_removed() {
    let reply = message("inside", "end_turn");
    let envelope =
        |result: &Value| json!({"success": true, "errors": [], "messages": [], "result": result});
    let job =
        |result: &Value| json!({"state": "Completed", "result": result, "gatewayMetadata": {}});
    for body in [envelope(&reply), job(&reply), envelope(&job(&reply)), job(&envelope(&reply))] {
        let server = Server::json(200, &body);
        ask(&server, &["hi"]).success().stdout("inside\n");
        ask(&server, &["--json", "hi"]).success().stdout(format!("{body}\n"));
    }
}

#[test]
fn http_200_with_an_error_inside_fails_without_a_retry() {
    for (code, bodies) in [
        (
            3,
            &[
                r#"{"success":false,"errors":[{"code":10000,"message":"reason"}],"result":null}"#,
                r#"{"state":"Failed","error":{"code":7003,"message":"reason"}}"#,
                r#"{"result":{"state":"Failed","error":{"code":7010,"message":"reason"}}}"#,
                r#"{"success":false,"error":{"message":"Spending limit, reason"}}"#,
                r#"{"success":false,"errors":[{"code":10000,"message":"reason \ud83e"}]}"#,
            ][..],
        ),
        (
            4,
            &[
                r#"{"success":false,"errors":[{"code":2003,"message":"reason"}]}"#,
                r#"{"errors":[{"message":"reason"}],"result":{"content":[],"stop_reason":"end_turn"}}"#,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"reason"}}"#,
            ],
        ),
    ] {
        for body in bodies {
            for options in [&["-n"][..], &["--json"], &["--json", "--stream"]] {
                is_not_a_reply(Server::json(200, body), options, code, "reason");
            }
        }
    }
    is_not_a_reply(Server::json(200, r#"{"state":"Failed"}"#), &[], 4, "Failed");
}

#[track_caller]
fn is_not_a_reply(server: Server, options: &[&str], code: i32, part: &str) {
    ask(&server, &[options, &["hi"]].concat()).code(code).stdout("").stderr(one_line(&[part]));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn http_200_without_a_complete_message_fails_without_a_retry() {
    let whole = message("half of it", "end_turn").to_string();
    for (part, bodies) in [
        ("empty body", &["", " \n"][..]),
        ("without a message", &["{}"]),
        ("haiku: ", &["[]", "null", "\"text\""]),
        (TRUNCATED, &[&whole[..whole.len() / 2]]),
        ("error code: 1010", &["error code: 1010"]),
        ("Just a moment", &["<title>Just a moment</title><p>Checking"]),
        ("old style", &[r#"{"result":{"response":"old style"}}"#]),
        (MALFORMED, &[r#"{"content":"not an array","stop_reason":"end_turn"}"#]),
    ] {
        for body in bodies {
            for option in ["-n", "--json", "--stream"] {
                is_not_a_reply(Server::json(200, body), &[option], 4, part);
            }
        }
    }
}

#[test]
fn unusable_successful_responses_are_temporary_failures() {
    let not_utf8 = b"{\"content\":[{\"type\":\"text\",\"text\":\"\xff\"}]}";
    let too_short = raw_http(200, &[JSON, ("content-length", "100000")], "{\"content\":[");
    for (response, part) in [
        (json_response(200, not_utf8), MALFORMED),
        (http(204, &[], ""), "204"),
        (too_short, TRUNCATED),
    ] {
        is_not_a_reply(Server::sending(response), &[], 4, part);
    }
}

#[test]
fn a_body_without_a_length_is_read_to_its_end() {
    let body = message("to the end", "end_turn").to_string();
    let mut response = raw_http(200, &[JSON, ("connection", "close")], body);
    ask(&Server::sending(response.clone()), &["hi"]).success().stdout("to the end\n");
    response.truncate(response.len() - 30);
    ask(&Server::sending(response), &["hi"]).code(4).stdout("").stderr(one_line(&[TRUNCATED]));
}

#[test]
fn json_prints_the_body_byte_for_byte_and_ends_with_a_newline() {
    for newlines in ["", "\n", "\n\n"] {
        let body = format!("{SPACED}{newlines}");
        let newline = if newlines.is_empty() { "\n" } else { "" };
        ask(&Server::json(200, &body), &["--json", "hi"])
            .success()
            .stdout(format!("{body}{newline}"));
    }
}

#[test]
fn a_json_body_in_place_of_a_stream_is_printed_on_one_line() {
    let server = Server::json(200, SPACED);
    let line = SPACED.replace(['\n', '\r'], " ") + "\n";
    let json = ask(&server, &["--json", "--stream", "hi"]);
    json.success().stdout(line);
    let text = ask(&server, &["--stream", "hi"]);
    text.success().stdout("A\n");
}

#[test]
fn a_reply_over_10_mb_is_printed_and_one_over_32_mb_is_an_error() {
    let text = "0123456789abcde\n".repeat(800_000);
    let reply = ask(&Server::message(&text, "end_turn"), &["hi"]).success();
    assert!(reply.get_output().stdout == text.as_bytes());
    let too_long = "x".repeat(33_000_000);
    ask(&Server::message(&too_long, "end_turn"), &["hi"])
        .code(4)
        .stdout(predicate::str::is_empty())
        .stderr(one_line(&["32 MB"]));
}

#[test]
fn gzip_bodies_are_decompressed() {
    let gzip = |bytes: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let serve_as = |encoding, status, body: &[u8]| {
        Server::sending(http(status, &[JSON, ("content-encoding", encoding)], body))
    };
    let serve = |status, body: &[u8]| serve_as("gzip", status, body);
    let reply = message("packed", "end_turn").to_string();
    let packed = gzip(&reply);
    let server = serve(200, &packed);
    ask(&server, &["hi"]).success().stdout("packed\n");
    ask(&server, &["--json", "hi"]).success().stdout(format!("{reply}\n"));
    for encoding in ["GZIP", "x-gzip", "X-GZip", " gzip "] {
        ask(&serve_as(encoding, 200, &packed), &["hi"]).success().stdout("packed\n");
    }
    let recorded = Server::sending(include_bytes!("../data/cases/x-gzip.http"));
    ask(&recorded, &["hi"]).success();
    ask(&serve(200, &packed[..packed.len() - 12]), &["hi"])
        .code(4)
        .stdout("")
        .stderr(one_line(&[]));
    // A complete message, but not the one that was sent.
    let mut damaged = packed.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    ask(&serve(200, &damaged), &["hi"])
        .code(4)
        .stdout("")
        .stderr("haiku: malformed reply: corrupt gzip stream does not have a matching checksum\n");
    for media_type in ["application/json", "text/event-stream"] {
        let headers = [("content-type", media_type), ("content-encoding", "gzip")];
        ask(&Server::sending(http(200, &headers, &reply)), &["hi"])
            .code(4)
            .stdout("")
            .stderr("haiku: malformed reply: invalid gzip header\n");
    }
    let error = gzip(r#"{"errors":[{"code":10000,"message":"Authentication error"}]}"#);
    ask(&serve(401, &error), &["hi"]).code(3).stderr(one_line(&["Authentication error"]));
}

#[test]
fn a_slow_body_is_waited_for() {
    let reply = json_response(200, message("slow", "end_turn").to_string());
    let wait = Step::Wait(Duration::from_millis(20));
    let send = |piece: &[u8]| [Step::Send(piece.to_vec()), wait.clone()];
    let steps = reply.chunks(100).flat_map(send).collect();
    ask(&Server::always(steps), &["hi"]).success().stdout("slow\n");
}

#[test]
fn unknown_and_odd_values_do_not_invalidate_a_reply() {
    let content = r#"[{"type":"x","text":null},{"type":7},{"type":"text","text":"text"}]"#;
    for other in [
        r#""usage":{"input_tokens":1e99,"output_tokens":-1},"state":7,"errors":[null]"#,
        r#""usage":[],"errors":[[],{},"",false],"error":null,"result":7,"stop_details":[1]"#,
        r#""usage":"many","usage":{"input_tokens":{}},"success":false,"messages":7"#,
    ] {
        let body = format!(r#"{{"content":{content},{other},"stop_reason":"end_turn"}}"#);
        let server = Server::json(200, &body);
        ask(&server, &["hi"]).success().stdout("text\n");
        ask(&server, &["--json", "hi"]).success().stdout(body + "\n");
    }
}

#[test]
fn halves_of_a_character_are_joined_or_replaced() {
    let body = r#"{"content":[{"type":"text","text":"a\ud83e"},{"type":"text","text":"\udd80b\ud83e"}],"stop_reason":"end_turn"}"#;
    let server = Server::json(200, body);
    ask(&server, &["hi"]).success().stdout("a🦀b\u{fffd}\n");
    ask(&server, &["--json", "hi"]).success().stdout(format!("{body}\n"));
}

#[test]
fn a_refusal_is_explained() {
    for (details, part) in [
        (
            json!({"type": "refusal", "category": "cyber", "explanation": "That\u{1b} is why"}),
            "(refusal): That^[ is why\n",
        ),
        (json!({"type": "refusal", "category": "cyber"}), "(refusal): cyber\n"),
        (json!(null), "(refusal)\n"),
    ] {
        let mut reply = message("text", "refusal");
        reply["stop_details"] = details.clone();
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}});
        let mut stream = events(&["text"], "end_turn");
        stream[5] = event(&end);
        for server in [Server::json(200, reply), Server::events(&stream)] {
            ask(&server, &["hi"]).code(5).stdout("text\n").stderr(one_line(&[part.trim_end()]));
        }
    }
}

#[test]
fn an_encoding_that_was_not_requested_is_named() {
    for (status, code, line) in [
        (200, 4, "haiku: malformed reply in a content encoding that was not requested: br\n"),
        (
            400,
            3,
            "haiku: HTTP 400: the body is in the content encoding br, which was not requested\n",
        ),
    ] {
        let server =
            Server::sending(http(status, &[JSON, ("content-encoding", "br")], b"\x8b\x02"));
        ask(&server, &["hi"]).code(code).stdout("").stderr(line);
    }
}

#[test]
fn blocks_and_deltas_of_any_shape_spoil_nothing() {
    let text = r#"{"type":"text","text":"X"}"#;
    for odd in ["null", "5", "[]", "\"x\"", "{}", r#"{"type":5}"#] {
        let body = format!(r#"{{"content":[{odd},{text}],"stop_reason":"end_turn"}}"#);
        ask(&Server::json(200, body), &["hi"]).success().stdout("X\n");
        let event = |kind: &str, data: &str| format!("event: {kind}\ndata: {data}\n\n");
        let start = event("content_block_start", &format!(r#"{{"content_block":{odd}}}"#));
        let delta = event("content_block_delta", &format!(r#"{{"delta":{odd}}}"#));
        let bare = event("content_block_delta", odd);
        let events = [start, delta, bare].into_iter().chain(events(&["X"], "end_turn"));
        let server = Server::events(&Vec::from_iter(events));
        ask(&server, &["--stream", "hi"]).success().stdout("X\n");
    }
}

#[test]
fn a_json_body_that_is_called_a_stream_is_read_as_a_body() {
    let called_stream =
        |body: &str| Server::sending(http(200, &[("content-type", "text/event-stream")], body));
    let reply = message("X", "end_turn").to_string();
    ask(&called_stream(&reply), &["--stream", "hi"]).success().stdout("X\n");
    let error = r#" {"errors":[{"code":7003,"message":"Could not route"}]}"#;
    ask(&called_stream(error), &["hi"]).code(3).stdout("").stderr(one_line(&["the account ID"]));
}

#[test]
fn a_message_that_is_complete_counts_however_its_connection_ended() {
    let body = message("text", "end_turn").to_string();
    let length = (body.len() + 10).to_string();
    for headers in [("content-length", length.as_str()), ("transfer-encoding", "chunked")] {
        let body = match headers.0 {
            "content-length" => body.clone().into_bytes(),
            _ => chunk(&body),
        };
        let server = Server::sending(raw_http(200, &[JSON, headers], body));
        ask(&server, &["hi"]).success().stdout("text\n");
    }
    let marked = Server::json(200, format!("\u{feff}{body}"));
    ask(&marked, &["hi"]).success().stdout("text\n");
    let unclosed = raw_http(200, &[JSON, ("connection", "close")], &body);
    ask_closing(unclosed, Close::WithoutNotify).success().stdout("text\n");
}

#[test]
fn a_connection_closed_without_close_notify_is_lost_in_plain_words() {
    let body = message("text", "end_turn").to_string();
    let headers = [JSON, ("connection", "close")];
    let half = raw_http(200, &headers, &body[..body.len() / 2]);
    for (response, part) in [
        (half, "truncated reply: incomplete JSON\n"),
        (vec![], "lost the connection to localhost: it was closed without a response\n"),
    ] {
        ask_closing(response, Close::WithoutNotify)
            .code(4)
            .stdout("")
            .stderr(contains(part))
            .stderr(contains("docs.rs").not());
    }
}

#[test]
fn max_tokens_can_be_raised_only_below_the_models_maximum() {
    let folder = Folder::new();
    let body = |tokens: u32| {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let body = json!({"model": "m", "messages": messages, "max_tokens": tokens});
        folder.write(&tokens.to_string(), body.to_string())
    };
    let (small, large) = (body(100), body(8192));
    let server = Server::message("text", "max_tokens");
    for (args, advice) in [
        (&["--max-tokens", "8191", "hi"][..], "raise --max-tokens"),
        (&["--body", &small], "raise --max-tokens"),
        (&["hi"], "ask for a shorter answer, or for the rest"),
        (&["--max-tokens", "9000", "hi"], "ask for a shorter answer, or for the rest"),
        (&["--body", &large], "ask for a shorter answer, or for the rest"),
    ] {
        ask(&server, args).code(5).stdout("text\n").stderr(format!(
            "haiku: the reply was cut off at the token limit (max_tokens); {advice}\n"
        ));
    }
}

#[test]
fn the_reply_of_a_newer_model_is_read() {
    let body = include_str!("../data/cases/newer-model.json");
    let stream = include_str!("../data/cases/newer-model.sse");
    for (server, option) in
        [(Server::json(200, body), "--no-stream"), (Server::events(&[stream]), "--stream")]
    {
        ask(&server, &["-v", option, "hi"])
            .success()
            .stdout("Hello\n")
            .stderr(one_line(&["12 input tokens, 34 output tokens; ", "; key BYOK"]));
        ask(&server, &["--json", option, "hi"]).success().stdout(contains("thinking"));
    }
}

#[test]
fn blocks_without_a_type_and_halves_of_characters_do_not_spoil_a_reply() {
    let odd = r#""\ud83e":"\ud83e","x":"\ud83e","y":{"\udd80":["\ud83e"]}"#;
    let body = format!(
        r#"{{{odd},"content":[{{"text":"no"}},{{{odd}}},{{{odd},"type":"text","text":"text"}}],"usage":{{{odd},"input_tokens":1}},"stop_reason":"end_turn"}}"#
    );
    let events = [
        format!(r#"{{{odd},"type":"message_start","message":{{{odd}}}}}"#),
        format!(r#"{{{odd},"type":"content_block_start","content_block":{{{odd}}}}}"#),
        format!(
            r#"{{{odd},"type":"content_block_delta","delta":{{{odd},"type":"text_delta","text":"text"}}}}"#
        ),
        format!(r#"{{{odd},"type":"ping"}}"#),
        format!(r#"{{{odd},"type":"message_delta","delta":{{{odd},"stop_reason":"end_turn"}}}}"#),
        format!(r#"{{{odd},"type":"message_stop"}}"#),
    ];
    let stream = Server::events(&events.map(|data| format!("data: {data}\n\n")));
    for (server, option) in [(Server::json(200, body), "--no-stream"), (stream, "--stream")] {
        ask(&server, &[option, "hi"]).success().stdout("text\n");
        ask(&server, &[option, "--json", "hi"]).success().stdout(contains("text"));
    }
}
