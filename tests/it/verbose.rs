//! `--verbose` and `--quiet`: what is reported on standard error besides errors.

use predicates::prelude::*;
use predicates::str::starts_with;

use crate::support::mock_server::{GATEWAY_HEADERS, JSON, Server, events, http, message};
use crate::support::{ask, one_line, stderr};

#[test]
fn verbose_reports_tokens_timings_cache_status_and_log_id() {
    let reply = message("text", "end_turn").to_string();
    let headers = [&[JSON], &GATEWAY_HEADERS[..]].concat();
    let whole = Server::sending(http(200, &headers, reply));
    let stream = Server::stream(&["text"], "end_turn");
    for (server, option) in [(whole, "--no-stream"), (stream, "--stream")] {
        let result = ask(&server, &["-v", option, "hi"]).success().stdout("text\n");
        let summary =
            stderr(&result.stderr(starts_with("haiku: 17 input tokens, 191 output tokens; ")));
        let without_digits = summary.replace(|c: char| c.is_ascii_digit(), "0");
        let expected = "haiku: 00 input tokens, 000 output tokens; first text 0.00 s, total 0.00 s; \
                        cache MISS; key Unified; log 00JADMCQQQBWH0NXZ0GCRN00DP\n";
        assert_eq!(without_digits, expected);
    }
}

#[test]
fn verbose_reports_only_the_token_counts_that_are_known() {
    let mut cached = message("text", "end_turn");
    cached["usage"]["cache_read_input_tokens"] = 1200.into();
    cached["usage"]["cache_creation_input_tokens"] = 0.into();
    let mut both = cached.clone();
    both["usage"]["cache_creation_input_tokens"] = 5000.into();
    let mut without_usage = message("text", "end_turn");
    without_usage.as_object_mut().unwrap().remove("usage");
    for (reply, start) in [
        (cached, "haiku: 17 input tokens (1200 read from cache), 191 output tokens; "),
        (both, "haiku: 17 input tokens (1200 read from cache, 5000 written to cache), 191 "),
        (without_usage, "haiku: first text "),
    ] {
        ask(&Server::json(200, reply), &["-v", "hi"]).success().stderr(one_line(&[start]));
    }
}

#[test]
fn verbose_reports_timing_and_log_id_of_a_failure() {
    let server = Server::sending(http(401, &[("cf-aig-log-id", "01J")], "{}"));
    let result = ask(&server, &["-v", "hi"]).code(3);
    let error = stderr(&result);
    let mut lines: Vec<_> = error.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].starts_with("haiku: HTTP 401"), "{error}");
    assert!(lines[1].ends_with("; log 01J"), "{error}");
}

#[test]
fn a_successful_call_reports_nothing_by_default() {
    for option in ["-n", "-q"] {
        ask(&Server::documented(), &[option, "hi"]).success().stderr(predicate::str::is_empty());
    }
}

#[test]
fn quiet_does_not_suppress_errors() {
    ask(&Server::documented(), &["-q", "-t", "7", "hi"])
        .code(2)
        .stderr(one_line(&["--temperature"]));
}

#[test]
fn verbose_names_what_support_asks_for_after_a_failure() {
    let body =
        r#"{"type":"error","error":{"type":"api_error","message":"x"},"request_id":"req_1"}"#;
    let stream = format!("event: error\ndata: {body}\n\n");
    let ids = [("cf-aig-log-id", "01J"), ("cf-ray", "8f-FRA")];
    let by_header = [&ids[..], &[("request-id", "req_1")]].concat();
    let events = [&ids[..], &[("content-type", "text/event-stream")]].concat();
    for response in [
        http(400, &ids, body),
        http(400, &by_header, "{}"),
        http(400, &events, &stream),
        http(200, &ids, body),
        http(200, &events, &stream),
    ] {
        let error = stderr(&ask(&Server::sending(response), &["-v", "hi"]).code(vec![3, 4]));
        let (first, last) = error.trim_end().split_once('\n').unwrap();
        assert!(first.contains("HTTP") || first.contains("during the reply"), "{error}");
        assert!(last.ends_with("; log 01J; cf-ray 8f-FRA; request req_1"), "{error}");
    }
}

#[test]
fn verbose_says_who_pays() {
    for source in ["Unified", "BYOK"] {
        let mut reply = message("text", "end_turn");
        reply["gatewayMetadata"]["keySource"] = source.into();
        let stream: String = events(&["text"], "end_turn").concat().replace("Unified", source);
        let metadata = reply.as_object_mut().unwrap().remove("gatewayMetadata").unwrap();
        let wrapped = serde_json::json!({"result": reply, "gatewayMetadata": metadata});
        reply["gatewayMetadata"] = metadata;
        for server in
            [Server::json(200, &reply), Server::json(200, wrapped), Server::events(&[stream])]
        {
            let line = format!("; key {source}");
            ask(&server, &["-v", "hi"]).success().stderr(one_line(&[&line]));
        }
    }
}
