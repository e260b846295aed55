//! Exit statuses, and the one line that goes with each.

use serde_json::json;

use crate::server::{Server, event_stream, events, http, json_response, message};
use crate::{ask, at, bare, run};

#[test]
fn every_stop_reason() {
    for (reason, code, says) in [
        ("end_turn", 0, ""),
        ("stop_sequence", 0, ""),
        ("max_tokens", 5, "--max-tokens"),
        (
            "model_context_window_exceeded",
            5,
            "model_context_window_exceeded",
        ),
        ("refusal", 5, "refusal"),
        ("pause_turn", 5, "pause_turn"),
        ("tool_use", 5, "tool_use"),
        ("someday", 5, "someday"),
    ] {
        let body = Server::sending(json_response(200, message("text", reason).to_string()));
        let stream = Server::sending(event_stream(&events(&["te", "xt"], reason)));
        for run in [ask(&body, &["hi"]), ask(&stream, &["--stream", "hi"])] {
            let run = run.ends(code).prints("text\n");
            if code == 0 {
                run.quiet()
            } else {
                run.says(&[says])
            };
        }
        // With --json a call for a tool is what was asked for.
        let code = if reason == "tool_use" { 0 } else { code };
        let run = ask(&body, &["--json", "hi"]).ends(code);
        assert_eq!(run.out, format!("{}\n", message("text", reason)));
        let run = ask(&stream, &["--json", "--stream", "hi"]).ends(code);
        assert_eq!(run.out.lines().count(), events(&["te", "xt"], reason).len());
    }
}

#[test]
fn no_stop_reason_is_no_finished_answer() {
    let mut body = message("text", "");
    body["stop_reason"] = json!(null);
    ask(
        &Server::sending(json_response(200, body.to_string())),
        &["hi"],
    )
    .ends(5)
    .prints("text\n")
    .says(&["stop_reason"]);
    body.as_object_mut().unwrap().remove("stop_reason");
    ask(
        &Server::sending(json_response(200, body.to_string())),
        &["hi"],
    )
    .ends(5)
    .prints("text\n")
    .says(&["stop_reason"]);
}

#[test]
fn a_blank_reply_is_no_finished_answer_unless_json_was_asked_for() {
    for (text, out) in [("", ""), (" \n\t", " \n\t\n")] {
        let server = Server::sending(json_response(200, message(text, "end_turn").to_string()));
        ask(&server, &["hi"]).ends(5).prints(out).says(&["no text"]);
        ask(&server, &["--json", "hi"]).ends(0).quiet();
    }
    let mut none = message("", "end_turn");
    none["content"] = json!([]);
    let server = Server::sending(json_response(200, none.to_string()));
    ask(&server, &["hi"]).ends(5).prints("").says(&["no text"]);
}

#[test]
fn every_status_carries_the_servers_words_and_advice() {
    let v4 = |code: i64, message: &str| {
        json!({"result": null, "success": false, "errors": [{"code": code, "message": message}], "messages": []}).to_string()
    };
    let gateway = |code: i64, message: &str| {
        json!({"success": false, "error": [{"code": code, "message": message}], "name": "AiGatewayError", "httpCode": 401}).to_string()
    };
    let policy =
        |message: &str| json!({"success": false, "error": {"message": message}}).to_string();
    let anthropic = |kind: &str, message: &str| {
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
            .to_string()
    };
    for (status, body, code, says) in [
        (400, anthropic("invalid_request_error", "max_tokens: too large"), 3, &["max_tokens: too large"][..]),
        (400, gateway(2001, "Please configure AI Gateway"), 3, &["Please configure AI Gateway", "--gateway"]),
        (401, v4(10000, "Authentication error"), 3, &["Authentication error", "CLOUDFLARE_API_TOKEN", "Workers AI Read"]),
        (401, gateway(2009, "Unauthorized"), 3, &["Unauthorized", "CLOUDFLARE_API_TOKEN", "Workers AI Read"]),
        (402, gateway(2021, "Insufficient credits"), 3, &["Insufficient credits", "load credits", "dash.cloudflare.com"]),
        (402, gateway(2021, "Rate limit reached, slow down"), 4, &["Rate limit reached"]),
        (403, v4(10000, "Forbidden"), 3, &["Forbidden", "CLOUDFLARE_API_TOKEN", "Workers AI Read"]),
        (403, policy("Blocked by policy"), 3, &["Blocked by policy"]),
        (404, v4(7003, "No route for that URI"), 3, &["No route for that URI", "anthropic/claude-haiku-4.5"]),
        (408, String::new(), 4, &["HTTP 408"]),
        (409, anthropic("conflict", "Again"), 4, &["Again"]),
        (410, v4(7010, "Use claude-next"), 3, &["Use claude-next", "--model"]),
        (413, anthropic("request_too_large", "Too large"), 3, &["Too large"]),
        (424, gateway(2016, "Prompt blocked by guardrails"), 3, &["Prompt blocked by guardrails"]),
        (418, "short and stout".into(), 3, &["HTTP 418", "short and stout"]),
        (429, anthropic("rate_limit_error", "Slow down"), 4, &["Slow down"]),
        (429, gateway(2041, "Limit reached"), 3, &["Limit reached"]),
        (429, policy("Spending limit exceeded"), 3, &["Spending limit exceeded"]),
        (500, anthropic("api_error", "Oops"), 4, &["Oops"]),
        (502, "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>".into(), 4, &["HTTP 502: 502 Bad Gateway"]),
        (503, String::new(), 4, &["HTTP 503"]),
        (529, anthropic("overloaded_error", "Overloaded"), 4, &["Overloaded"]),
    ] {
        for flags in [&["hi"][..], &["--stream", "hi"], &["--json", "hi"]] {
            let server = Server::sending(json_response(status, &body));
            let named = format!("haiku: HTTP {status}");
            let parts = [says, &[&named]].concat();
            let args = [&["--retries", "0"], flags].concat();
            ask(&server, &args).ends(code).prints("").says(&parts);
            assert_eq!(server.requests().len(), 1);
        }
    }
}

#[test]
fn the_source_of_the_token_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "x").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::sending(json_response(401, "{}"));
    run(at(&server).arg("--token-file").arg(&file).arg("hi"))
        .ends(3)
        .says(&["--token-file", file.to_str().unwrap(), "Workers AI Read"]);
}

#[test]
fn a_page_is_never_printed_whole() {
    let page = format!(
        "<!doctype html><title>Oh no</title>{}",
        "<p>very long\n".repeat(5000)
    );
    let server = Server::sending(http(503, &[("content-type", "text/html")], page));
    let run = ask(&server, &["--retries", "0", "hi"])
        .ends(4)
        .says(&["Oh no very long"]);
    assert!(run.err.len() < 300, "{run:?}");
    let long = json!({"error": {"message": "word ".repeat(5000)}}).to_string();
    let server = Server::sending(json_response(400, long));
    let run = ask(&server, &["hi"]).ends(3);
    assert!(run.err.len() < 500, "{run:?}");
}

#[test]
fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308, 304, 300] {
        let stranger = Server::documented();
        let server = Server::sending(http(status, &[("location", &stranger.url())], ""));
        ask(&server, &["hi"])
            .ends(3)
            .prints("")
            .says(&[&format!("HTTP {status}"), "--base-url"]);
        assert_eq!(server.requests().len(), 1);
        assert!(stranger.requests().is_empty());
    }
}

#[test]
fn what_is_no_http_is_a_passing_failure() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "\0\0\0\0",
    ] {
        ask(&Server::sending(bytes), &["--retries", "0", "hi"])
            .ends(4)
            .prints("")
            .says(&["127.0.0.1"]);
    }
}

#[test]
fn nobody_there_is_a_passing_failure_that_names_the_host() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let account = |url: &str| {
        let mut command = bare();
        command
            .env("CLOUDFLARE_ACCOUNT_ID", "x")
            .env("CLOUDFLARE_API_TOKEN", "x");
        run(command.args(["--retries", "0", "--base-url", url, "hi"]))
    };
    account(&format!("http://{free}"))
        .ends(4)
        .prints("")
        .says(&["127.0.0.1", "Connection refused"]);
    account("https://no-such-host.invalid")
        .ends(4)
        .prints("")
        .says(&["no-such-host.invalid"]);
}

#[test]
fn no_backtrace_whatever_the_environment_says() {
    let server = Server::sending(json_response(500, "{}"));
    let mut command = at(&server);
    command
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LIB_BACKTRACE", "1");
    run(command.args(["--retries", "0", "hi"]))
        .ends(4)
        .says(&["HTTP 500"]);
    run(command.arg("--no-such-option"))
        .ends(2)
        .says(&["--no-such-option"]);
}

#[test]
fn a_token_that_comes_back_is_blotted_out() {
    use crate::TOKEN;

    let mut reply = message("text", TOKEN);
    reply["content"][0]["type"] = json!(TOKEN);
    for body in [
        json!({"errors": [{"code": 1, "message": format!("bad token {TOKEN}")}]}).to_string(),
        format!("no access for {TOKEN}"),
        json!({"error": {"message": format!("{}{TOKEN}", "x".repeat(290))}}).to_string(),
        json!({"content": TOKEN}).to_string(),
        json!({"content": [{"type": "text", "text": [TOKEN]}]}).to_string(),
        json!({"usage": TOKEN}).to_string(),
        reply.to_string(),
        json!({"nothing": TOKEN}).to_string(),
        // Where the message is cut, no part of the token is left over.
        format!("{} {TOKEN} and more", "x".repeat(112)),
        format!("{} {TOKEN} and more", "x".repeat(240)),
        format!("<p>{}{TOKEN}</p>{TOKEN}", "x".repeat(240)),
        json!({"odd": format!("{}{TOKEN}{TOKEN}", "x".repeat(105))}).to_string(),
    ] {
        for status in [200, 401, 500] {
            let log = format!("{TOKEN}{}{TOKEN}", "x".repeat(85));
            let headers = [
                ("cf-aig-log-id", log.as_str()),
                ("content-type", "application/json"),
            ];
            let server = Server::sending(http(status, &headers, &body));
            let run = ask(&server, &["-v", "--retries", "0", "hi"]);
            assert!((3..=5).contains(&run.code), "{run:?}");
            assert!(!run.err.contains(&TOKEN[..6]), "{run:?}");
            assert!(run.err.contains("[token]"), "{run:?}");
        }
    }
    for data in [
        json!({"type": "error", "error": {"message": TOKEN}}),
        json!({"type": "message_delta", "delta": TOKEN}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": [TOKEN]}}),
    ] {
        let server = Server::sending(event_stream(&[format!("data: {data}\n\n")]));
        let run = ask(&server, &["--stream", "hi"]).ends(4).prints("");
        assert!(!run.err.contains(&TOKEN[..6]), "{run:?}");
    }
}

#[test]
fn what_is_complained_of_is_not_repeated_whole() {
    let long = "x".repeat(1_000_000);
    let server = Server::sending(json_response(200, json!({"content": long}).to_string()));
    let run = ask(&server, &["hi"]).ends(4).says(&["garbled"]);
    assert!(run.err.len() < 500);
    let mut command = bare();
    command.args(["--dry-run", "--messages", "-"]);
    let messages = json!([{"role": long, "content": "x"}]).to_string();
    let run = crate::run(command.write_stdin(messages))
        .ends(2)
        .says(&["message 1"]);
    assert!(run.err.len() < 500);
    let mut command = bare();
    let run = crate::run(command.args(["--dry-run", "-t", &long[..100_000], "x"])).ends(2);
    assert!(run.err.len() < 500);
}
