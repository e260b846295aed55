//! Error responses: exit statuses, the server's message, advice, and redaction of the token.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;

use crate::support::mock_server::{JSON, Server, Step, http, raw_http};
use crate::support::{Folder, TOKEN, ask, check, haiku_at, one_line, stderr};

#[test]
fn errors_are_reported_with_status_message_and_advice() {
    let v4 = r#"{"success":false,"errors":[{"code":10000,"message":"reason"}],"result":null}"#;
    let gateway = r#"{"success":false,"error":[{"code":2021,"message":"Rate limit, reason"}]}"#;
    let policy = r#"{"success":false,"error":{"message":"Spending limit, reason"}}"#;
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"reason"}}"#;
    let plain = r#"{"error":{"message":"reason"}}"#;
    let page = "<html><head><title>reason</title></head><body><h1>Oh</h1></body></html>";
    for (status, body, code, parts) in [
        (401, v4, 3, ["reason", "Workers AI Read"]),
        (401, v4, 3, ["reason", "CLOUDFLARE_API_TOKEN"]),
        (402, gateway, 4, ["reason", "Rate limit"]),
        (404, v4, 3, ["reason", "CLOUDFLARE_API_TOKEN"]),
        (404, plain, 3, ["reason", "--model"]),
        (413, anthropic, 4, ["reason", ""]),
        (413, plain, 3, ["reason", "32 MB"]),
        (418, "plain reason", 3, ["reason", "plain"]),
        (429, policy, 3, ["reason", "Spending limit"]),
        (502, page, 4, ["reason", ""]),
        (503, "", 4, ["", ""]),
        (529, anthropic, 4, ["reason", ""]),
    ] {
        for option in ["-n", "--stream", "--json"] {
            let server = Server::json(status, body);
            let named = format!("HTTP {status}");
            ask(&server, &["--retries", "0", option, "hi"])
                .code(code)
                .stdout("")
                .stderr(one_line(&[&named, parts[0], parts[1]]));
            assert_eq!(server.requests().len(), 1);
        }
    }
}

#[test]
fn an_error_about_the_token_names_the_tokens_source() {
    let folder = Folder::new();
    let file = folder.write("token", "x");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let server = Server::json(401, "{}");
    ask(&server, &["--token-file", &file, "hi"]).code(3).stderr(one_line(&[
        "--token-file",
        &file,
        "Workers AI Read",
    ]));
}

#[test]
fn long_error_bodies_are_quoted_in_part_only() {
    let page = format!("<!doctype html><title>Oh no</title>{}", "<p>very long\n".repeat(5000));
    let json = json!({"error": {"message": "word ".repeat(5000)}}).to_string();
    for (body, part) in [(page, "Oh no"), (json, "word word")] {
        let server = Server::json(400, body);
        let error = stderr(&ask(&server, &["hi"]).code(3).stderr(one_line(&[part])));
        assert!(error.len() < 500, "{error}");
    }
}

#[test]
fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308, 304, 300] {
        let target = Server::documented();
        let server = Server::sending(http(status, &[("location", &target.url())], ""));
        ask(&server, &["hi"]).code(3).stderr(one_line(&[&format!("HTTP {status}"), "--base-url"]));
        assert_eq!(server.requests().len(), 1);
        assert!(target.requests().is_empty());
    }
}

#[test]
fn a_token_echoed_by_the_server_is_redacted() {
    let x = |count| "x".repeat(count);
    for body in [
        json!({"errors": [{"code": 1, "message": format!("bad token {TOKEN}")}]}).to_string(),
        json!({"error": {"message": x(290) + TOKEN}}).to_string(),
        json!({"content": TOKEN}).to_string(),
        json!({"content": [{"type": "text", "text": [TOKEN]}]}).to_string(),
        json!({"content": [{"type": TOKEN, "text": "text"}], "stop_reason": TOKEN}).to_string(),
        json!({"usage": TOKEN}).to_string(),
        json!({"nothing": TOKEN}).to_string(),
        // These are cut within the token.
        json!({"odd": x(105) + TOKEN + TOKEN}).to_string(),
        format!("{} {TOKEN} and more", x(112)),
        format!("{} {TOKEN} and more", x(240)),
        format!("<p>{}{TOKEN}</p>{TOKEN}", x(240)),
    ] {
        for status in [200, 401, 500] {
            let log_id = TOKEN.to_owned() + &x(85) + TOKEN;
            let headers = [("cf-aig-log-id", log_id.as_str()), JSON];
            let server = Server::sending(http(status, &headers, &body));
            ask(&server, &["-v", "--retries", "0", "hi"])
                .code(vec![3, 4, 5])
                .stderr(contains(&TOKEN[..6]).not())
                .stderr(contains("[redacted]"));
        }
    }
}

#[test]
fn a_token_that_is_split_is_redacted() {
    let (start, end) = TOKEN.split_at(12);
    for body in [
        json!({"errors": [{"code": 1, "message": start}, {"code": 2, "message": end}]}).to_string(),
        json!({"error": {"message": format!("{start} {end}")}}).to_string(),
        json!({"error": {"message": format!("{start}\r\n\t{end}")}}).to_string(),
        json!({"error": {"message": format!("{start}\u{1}{end}")}}).to_string(),
        json!({"error": {"message": TOKEN.replace(".", "\u{a0}.\u{2003}")}}).to_string(),
        format!("{start}\n{end}"),
        format!("<p>{start}\n\n{end}</p>"),
        format!("{{\"odd\":\"{}\"}}", TOKEN.replace('/', "\\/")),
    ] {
        for status in [200, 401, 500] {
            let result = ask(&Server::json(status, &body), &["--retries", "0", "hi"]);
            let words: String = stderr(&result.code(vec![3, 4])).split_whitespace().collect();
            assert!(words.contains("[redacted]"), "{body}: {words}");
            assert!(!words.contains(start) && !words.contains(end), "{body}: {words}");
        }
    }
}

#[test]
fn a_token_that_is_cut_off_is_redacted() {
    for max in [300, 64 * 1024] {
        for kept in 4..TOKEN.len() {
            // White space counts until it is folded, and after that the token is the first word.
            let padding = if max == 300 { "x".repeat(max - kept) } else { " ".repeat(max - kept) };
            let server = Server::sending(http(400, &[], padding + TOKEN + " and more"));
            ask(&server, &["hi"]).code(3).stderr(contains(&TOKEN[..4]).not());
        }
    }
}

#[test]
fn a_token_echoed_in_a_stream_is_redacted() {
    for data in [
        json!({"type": "error", "error": {"message": TOKEN}}),
        json!({"type": "message_delta", "delta": TOKEN}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": [TOKEN]}}),
    ] {
        let server = Server::events(&[format!("data: {data}\n\n")]);
        check(haiku_at(&server).args(["--stream", "hi"]))
            .code(4)
            .stdout("")
            .stderr(contains(&TOKEN[..6]).not());
    }
}

#[test]
fn only_an_error_about_the_token_advises_to_check_it() {
    for (status, body, part) in [
        (
            401,
            r#"{"success":false,"error":[{"code":2009,"message":"Unauthorized"}]}"#,
            "provider key",
        ),
        (
            403,
            r#"{"success":false,"error":{"message":"Blocked by policy"}}"#,
            "Blocked by policy\n",
        ),
        (403, "error code: 1010", "blocked this client or network"),
        (200, r#"{"success":false,"errors":[{"code":2009,"message":"x"}]}"#, "provider key"),
    ] {
        let error = ask(&Server::json(status, body), &["hi"]).code(3).stderr(one_line(&[part]));
        error.stderr(contains("Workers AI Read").not()).stderr(contains("TOKEN").not());
    }
}

#[test]
fn problem_details_are_read() {
    for (body, words) in [
        (r#"{"detail":"Not here"}"#, "Not here"),
        (r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, "field required"),
        (
            r#"{"type":"about:blank","title":"Bad","status":400,"detail":"No model"}"#,
            "Bad: No model",
        ),
        (r#"{"type":"about:blank","title":"Bad"}"#, "Bad"),
    ] {
        let problem = ("content-type", "application/problem+json");
        let server = Server::sending(http(400, &[problem], body));
        ask(&server, &["hi"]).code(3).stderr(format!("haiku: HTTP 400: {words}\n"));
    }
}

#[test]
fn the_body_of_an_error_is_not_waited_for_once_its_json_has_ended() {
    for body in [r#"{"error":{"message":"why"}}"#, "{\"error\":{\"message\":\"why\"}}\r\n"] {
        let start = Instant::now();
        ask(&unfinished_error(body), &["hi"]).code(3).stderr("haiku: HTTP 400: why\n");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn the_body_of_an_error_is_waited_for_five_seconds() {
    let start = Instant::now();
    ask(&unfinished_error("plain words"), &["hi"]).code(3).stderr("haiku: HTTP 400: plain words\n");
    let elapsed = start.elapsed().as_secs_f64();
    assert!((4.9..10.0).contains(&elapsed), "{elapsed}");
}

/// Sends an error whose body never ends.
fn unfinished_error(body: &str) -> Server {
    let head = raw_http(400, &[("content-length", "500")], body);
    Server::always(vec![Step::Send(head), Step::Hold])
}

/// A response as a server sent it, byte for byte.
#[track_caller]
fn case(name: &str) -> Server {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cases");
    Server::sending(fs::read(format!("{folder}/{name}.http")).unwrap())
}

#[test]
fn errors_from_the_field_are_rejected_with_advice() {
    const HTTP_400: &str = "haiku: HTTP 400: Invalid request headers; Invalid format for Authorization header (code 6003, 6111); check the token in CLOUDFLARE_API_TOKEN\n";
    const EVENT: &str = "haiku: the server reported an error during the reply: ";
    for (name, code, line) in [
        ("400-6003", 3, HTTP_400.to_owned()),
        ("403-9109", 3, "haiku: HTTP 403: Invalid access token (code 9109); check the token in CLOUDFLARE_API_TOKEN: it needs the permission Workers AI Read\n".into()),
        ("403-challenge", 3, "haiku: HTTP 403: Just a moment...; Cloudflare blocked this client or network, whatever the token\n".into()),
        ("unnamed", 4, format!("{EVENT}AiError: upstream failed, request abc (code 3043)\n")),
        ("spend-limit", 3, format!("{EVENT}Spending limit exceeded (code 2041); raise the limit at dash.cloudflare.com under AI > AI Gateway\n")),
        ("invalid-request", 3, format!("{EVENT}messages.0: image exceeds the maximum\n")),
    ] {
        for options in [&["hi"][..], &["--stream", "hi"], &["--json", "--stream", "hi"]] {
            let server = case(name);
            ask(&server, options).code(code).stdout("").stderr(line.clone());
            assert_eq!(server.requests().len(), 1, "{name}");
        }
    }
}

#[test]
fn an_error_means_the_same_in_every_place() {
    let errors = r#"{"success":false,"errors":[{"code":"1","message":"x","error_chain":[{"code":"10000","message":"reason"}]}]}"#;
    let event = format!("event: error\ndata: {errors}\n\n");
    let unnamed = format!("data: {errors}\n\n");
    let cut = &errors[..errors.len() - 8];
    let stream = ("content-type", "text/event-stream");
    for (status, content_type, body) in [
        (400, JSON, errors),
        (500, JSON, cut),
        (400, stream, &event),
        (400, stream, &unnamed),
        (200, JSON, errors),
        (200, JSON, cut),
        (200, JSON, &format!(r#"{{"state":"Failed","error":{errors}}}"#)),
        (200, stream, &event),
        (200, stream, &unnamed),
    ] {
        let length = (body.len() + 5).to_string();
        let whole = http(status, &[content_type], body);
        let lost = raw_http(status, &[content_type, ("content-length", &length)], body);
        for response in [whole, lost] {
            let server = Server::sending(response);
            ask(&server, &["--stream", "hi"]).code(3).stdout("").stderr(one_line(&[
                "reas",
                "10000",
                "check the token in CLOUDFLARE_API_TOKEN",
            ]));
            assert_eq!(server.requests().len(), 1);
        }
    }
}

#[test]
fn a_challenge_is_known_by_its_header() {
    for status in [403, 503] {
        let response = http(status, &[("cf-mitigated", "challenge")], "<p>Checking</p>");
        ask(&Server::sending(response), &["hi"])
            .code(3)
            .stderr(one_line(&["Checking", "blocked this client or network"]));
    }
}

#[test]
fn a_token_is_redacted_in_each_entry_and_in_all_of_them() {
    let (start, end) = TOKEN.split_at(12);
    let entry = |message: &str| json!({"code": 1, "message": message});
    for body in [
        json!({"errors": [entry(&format!("bad token {start}"))]}),
        json!({"errors": [entry(&format!("bad token {start}")), entry("other words")]}),
        json!({"errors": [entry(start), entry(end)]}),
        json!({"errors": [{"code": 1, "message": start, "error_chain": [{"message": end}]}]}),
        json!({"title": start, "detail": end}),
        json!({"title": start, "detail": "other words"}),
    ] {
        let event = format!("event: error\ndata: {body}\n\n");
        let stream = [("content-type", "text/event-stream")];
        for response in [
            http(400, &[JSON], body.to_string()),
            http(400, &stream, &event),
            http(200, &stream, &event),
        ] {
            ask(&Server::sending(response), &["--stream", "hi"])
                .code(vec![3, 4])
                .stderr(contains("[redacted]"))
                .stderr(contains(&TOKEN[..6]).not())
                .stderr(contains(end).not());
        }
    }
}
