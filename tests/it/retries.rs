//! What is tried again, how often, and after which wait: counted by what the server saw.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::server::{Server, Step, event, event_stream, events, http, json_response, message};
use crate::{Run, ask};

fn refusal(status: u16, headers: &[(&str, &str)]) -> Vec<Step> {
    vec![Step::Send(http(
        status,
        headers,
        r#"{"error":{"message":"not now"}}"#,
    ))]
}

fn success() -> Vec<Step> {
    vec![Step::Send(json_response(
        200,
        message("at last", "end_turn").to_string(),
    ))]
}

/// How a call ends whose first answer is `first`, every later one a success; and the requests.
fn after(first: Vec<Step>, args: &[&str]) -> (Run, usize) {
    let server = Server::sequence(vec![first, success()]);
    let run = ask(&server, &[args, &["hi"]].concat());
    (run, server.requests().len())
}

/// A short wait, so that the tests are quick.
const SOON: [(&str, &str); 1] = [("retry-after-ms", "10")];

#[test]
fn what_may_pass_is_tried_again() {
    for status in [408, 409, 429, 500, 502, 503, 504, 520, 529] {
        let (run, requests) = after(refusal(status, &SOON), &[]);
        run.ends(0).quiet().prints("at last\n");
        assert_eq!(requests, 2, "{status}");
    }
    let passing = json!({"error": [{"code": 2021, "message": "Rate limit exceeded"}]}).to_string();
    let (run, requests) = after(vec![Step::Send(http(402, &SOON, passing))], &[]);
    run.ends(0).quiet().prints("at last\n");
    assert_eq!(requests, 2);
}

#[test]
fn what_cannot_succeed_is_not() {
    for status in [300, 302, 400, 401, 402, 403, 404, 410, 413, 422, 424] {
        let (run, requests) = after(refusal(status, &SOON), &[]);
        run.ends(3).prints("");
        assert_eq!(requests, 1, "{status}");
    }
    for body in [
        json!({"error": [{"code": 2041, "message": "x"}]}),
        json!({"error": [{"code": 2045, "message": "x"}]}),
        json!({"success": false, "error": {"message": "Spending limit exceeded"}}),
    ] {
        let (run, requests) = after(vec![Step::Send(http(429, &SOON, body.to_string()))], &[]);
        run.ends(3).prints("");
        assert_eq!(requests, 1);
    }
}

#[test]
fn an_answer_that_has_begun_is_paid_for() {
    for first in [
        json_response(200, ""),
        json_response(200, "{\"content\":["),
        json_response(200, r#"{"errors":[{"code":2003,"message":"x"}]}"#),
        event_stream(&events(&["half"], "end_turn")[..4]),
        event_stream(&events(&["half"], "end_turn")[..1]),
    ] {
        let (run, requests) = after(vec![Step::Send(first)], &["--stream"]);
        run.ends(4);
        assert_eq!(requests, 1);
    }
}

#[test]
fn an_overload_before_the_first_text_is_tried_again() {
    let overload = event(
        &json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    );
    let other =
        event(&json!({"type": "error", "error": {"type": "api_error", "message": "Broke"}}));
    for (before, error, expected) in [
        (3, &overload, 2),
        (0, &overload, 2),
        (4, &overload, 1),
        (3, &other, 1),
    ] {
        let mut all = events(&["half"], "end_turn");
        all.truncate(before);
        all.push(error.clone());
        for flags in [&["--stream"][..], &["--stream", "--json"]] {
            let (run, requests) = after(vec![Step::Send(event_stream(&all))], flags);
            assert_eq!(requests, expected, "{run:?}");
            assert_eq!(run.code, if expected == 2 { 0 } else { 4 }, "{run:?}");
            assert!(
                !(expected == 2 && run.out.contains("message_start")),
                "{run:?}"
            );
        }
    }
}

#[test]
fn a_connection_lost_before_a_response_is_tried_again() {
    let (run, requests) = after(vec![], &[]);
    run.ends(0).quiet().prints("at last\n");
    assert_eq!(requests, 2);
    let (run, requests) = after(vec![Step::Send(b"HTTP/1.1 200 O".to_vec())], &[]);
    run.ends(0).quiet().prints("at last\n");
    assert_eq!(requests, 2);
}

#[test]
fn retries_are_counted() {
    for (flags, requests) in [
        (&[][..], 3),
        (&["--retries", "0"], 1),
        (&["--retries", "1"], 2),
        (&["--retries", "5"], 6),
    ] {
        let server = Server::always(refusal(503, &SOON));
        ask(&server, &[flags, &["hi"]].concat())
            .ends(4)
            .prints("")
            .says(&["HTTP 503: not now"]);
        assert_eq!(server.requests().len(), requests, "{flags:?}");
    }
}

#[test]
fn x_should_retry_decides() {
    let (run, requests) = after(refusal(400, &[SOON[0], ("x-should-retry", "true")]), &[]);
    run.ends(0);
    assert_eq!(requests, 2);
    let (run, requests) = after(refusal(529, &[SOON[0], ("x-should-retry", "false")]), &[]);
    run.ends(4);
    assert_eq!(requests, 1);
    // But for a redirect: that leads away from here, however often it is asked.
    let (run, requests) = after(refusal(307, &[SOON[0], ("x-should-retry", "true")]), &[]);
    run.ends(3);
    assert_eq!(requests, 1);
}

#[test]
fn the_servers_wait_is_kept() {
    let waits = |headers: &[(&str, &str)], least: u64| {
        let start = Instant::now();
        let (run, requests) = after(refusal(429, headers), &["-v"]);
        assert!(
            start.elapsed() >= Duration::from_millis(least),
            "{headers:?}"
        );
        let run = run.ends(0);
        assert_eq!(requests, 2);
        let line = run.err.lines().next().unwrap();
        assert!(
            line.starts_with("haiku: HTTP 429: not now; trying again in "),
            "{line}"
        );
        assert!(line.ends_with(" s"), "{line}");
    };
    waits(&[("retry-after-ms", "400")], 400);
    waits(&[("retry-after", "1")], 1000);
    waits(&[("retry-after", "9"), ("retry-after-ms", "300")], 300);
    waits(&[], 375);
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    waits(&[("retry-after", &date)], 800);
}

#[test]
fn a_wait_that_would_pass_the_time_limit_is_named_at_once() {
    let start = Instant::now();
    let (run, requests) = after(refusal(429, &[("retry-after", "700")]), &[]);
    run.ends(4)
        .says(&["HTTP 429: not now", "wait 700 s", "--timeout"]);
    assert_eq!(requests, 1);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn nobody_there_is_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = crate::bare();
    command
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", "x");
    command.args([
        "-v",
        "--retries",
        "1",
        "--base-url",
        &format!("http://{free}"),
        "hi",
    ]);
    let run = crate::run(&mut command).ends(4);
    assert_eq!(run.err.matches("Connection refused").count(), 2, "{run:?}");
    assert_eq!(run.err.matches("trying again").count(), 1, "{run:?}");
}
