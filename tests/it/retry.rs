//! What is retried, how often, and after how long: counted by the requests that the server received.

use std::time::{Duration, Instant, SystemTime};

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use serde_json::json;

use crate::support::mock_server::{
    Server, event, event_stream, events, http, json_response, message,
};
use crate::support::{ask, one_line};

/// Asks for a short delay, so that the tests are quick.
const SOON: [(&str, &str); 1] = [("retry-after-ms", "10")];

fn error(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    http(status, headers, r#"{"error":{"message":"not now"}}"#)
}

/// Calls a server that responds with `first`, then with a reply; also counts the requests.
#[track_caller]
fn after(first: impl Into<Vec<u8>>, options: &[&str]) -> (Assert, usize) {
    let reply = json_response(200, message("at last", "end_turn").to_string());
    let server = Server::sequence(vec![first.into(), reply]);
    let result = ask(&server, &[options, &["hi"]].concat());
    (result, server.requests().len())
}

#[track_caller]
fn is_retried(first: impl Into<Vec<u8>>, options: &[&str]) {
    let (result, requests) = after(first, options);
    result.success().stdout("at last\n").stderr("");
    assert_eq!(requests, 2);
}

#[track_caller]
fn is_not_retried(first: impl Into<Vec<u8>>, options: &[&str], code: i32) {
    let (result, requests) = after(first, options);
    result.code(code);
    assert_eq!(requests, 1);
}

#[test]
fn temporary_errors_are_retried() {
    for status in [408, 409, 429, 500, 502, 503, 504, 520, 529] {
        is_retried(error(status, &SOON), &[]);
    }
    let rate_limit = r#"{"error":[{"code":2021,"message":"Rate limit exceeded"}]}"#;
    is_retried(http(402, &SOON, rate_limit), &[]);
    is_retried(http(400, &SOON, r#"{"errors":[{"code":2003,"message":"x"}]}"#), &[]);
}

#[test]
fn permanent_errors_are_not_retried() {
    for status in [300, 302, 400, 401, 402, 403, 404, 410, 413, 422, 424] {
        is_not_retried(error(status, &SOON), &[], 3);
    }
    for spending_limit in [
        r#"{"error":[{"code":2041,"message":"x"}]}"#,
        r#"{"error":[{"code":2045,"message":"x"}]}"#,
        r#"{"success":false,"error":{"message":"Spending limit exceeded"}}"#,
    ] {
        is_not_retried(http(429, &SOON, spending_limit), &[], 3);
    }
}

#[test]
fn a_reply_that_has_begun_is_not_requested_again() {
    for first in [
        json_response(200, ""),
        json_response(200, "{\"content\":["),
        json_response(200, r#"{"errors":[{"code":2003,"message":"x"}]}"#),
        event_stream(&events(&["half"], "end_turn")[..4]),
        event_stream(&events(&["half"], "end_turn")[..1]),
    ] {
        is_not_retried(first, &["--stream"], 4);
    }
}

#[test]
fn only_an_overload_or_a_rate_limit_before_the_first_text_is_retried() {
    let error =
        |kind: &str| event(&json!({"type": "error", "error": {"type": kind, "message": "x"}}));
    let stream = |before: usize, kind: &str| {
        let mut all = events(&["half"], "end_turn");
        all.truncate(before);
        all.push(error(kind));
        event_stream(&all)
    };
    for before in [3, 0] {
        is_retried(stream(before, "overloaded_error"), &["--stream"]);
        is_retried(stream(before, "rate_limit_error"), &["--stream"]);
        let (result, requests) = after(stream(before, "overloaded_error"), &["--stream", "--json"]);
        result.success().stdout(contains("message_start").not());
        assert_eq!(requests, 2);
    }
    for (before, kind) in [(4, "overloaded_error"), (4, "rate_limit_error"), (3, "api_error")] {
        for options in [&["--stream"][..], &["--stream", "--json"]] {
            is_not_retried(stream(before, kind), options, 4);
        }
    }
}

#[test]
fn a_connection_lost_before_the_response_is_retried() {
    is_retried("", &[]);
    is_retried("HTTP/1.1 200 O", &[]);
}

#[test]
fn the_number_of_retries_is_limited() {
    for (options, requests) in [(&[][..], 3), (&["--retries", "0"], 1), (&["--retries", "5"], 6)] {
        let server = Server::sending(error(503, &SOON));
        ask(&server, &[options, &["hi"]].concat())
            .code(4)
            .stdout("")
            .stderr(one_line(&["HTTP 503", "not now"]));
        assert_eq!(server.requests().len(), requests, "{options:?}");
    }
}

#[test]
fn x_should_retry_decides_except_for_redirects() {
    let response = |status, decision| error(status, &[SOON[0], ("x-should-retry", decision)]);
    is_retried(response(400, "true"), &[]);
    is_not_retried(response(529, "false"), &[], 4);
    is_not_retried(response(307, "true"), &[], 3);
    let spending_limit = r#"{"error":[{"code":2041,"message":"x"}]}"#;
    is_not_retried(http(429, &[SOON[0], ("x-should-retry", "true")], spending_limit), &[], 3);
}

#[test]
fn the_delay_is_the_one_the_server_asks_for() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for (headers, milliseconds, part) in [
        (&[("retry-after", date.as_str())][..], 800, " s"),
        (&[("retry-after-ms", "400")], 400, "in 0.40 s"),
        // A date is judged by the server's clock, which may differ from ours.
        (
            &[
                ("date", "Sat, 01 Jan 2000 00:00:00 GMT"),
                ("retry-after", "Sat, 01 Jan 2000 00:00:01 GMT"),
            ],
            1000,
            "in 1 s",
        ),
        // After a rate limit, 2 seconds less jitter.
        (&[], 1500, "in "),
    ] {
        let start = Instant::now();
        let (result, requests) = after(error(429, headers), &["-v"]);
        assert!(start.elapsed() >= Duration::from_millis(milliseconds), "{headers:?}");
        result.success().stderr(starts_with("haiku: HTTP 429: not now; ")).stderr(contains(part));
        assert_eq!(requests, 2);
    }
}

#[test]
fn a_delay_beyond_the_timeout_fails_at_once_and_is_named() {
    let start = Instant::now();
    let (result, requests) = after(error(429, &[("retry-after", "700")]), &[]);
    result.code(4).stderr(one_line(&["HTTP 429: not now", "700 s", "--timeout"]));
    assert_eq!(requests, 1);
    assert!(start.elapsed() < Duration::from_secs(10));
}
