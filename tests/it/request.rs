//! Options and the JSON body that they make; `--dry-run`.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;

use crate::support::mock_server::Server;
use crate::support::{ask, check, dry_run, haiku, one_line};

#[test]
fn the_default_body_has_model_messages_and_max_tokens_only() {
    let expected = json!({
        "model": "anthropic/claude-haiku-4.5",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 8192,
    });
    assert_eq!(dry_run(&["hi"], ""), expected);
}

#[test]
fn every_parameter_reaches_the_body() {
    let options = "-m other/model -s Brief. --max-tokens 12 -t 0.5 --top-k 7 --stream \
                   --param stop_sequences=[\"END\"] --param tools=[{\"name\":\"t\"}] hi";
    let args: Vec<_> = options.split_whitespace().collect();
    let expected = json!({
        "model": "other/model",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 12,
        "system": "Brief.",
        "temperature": 0.5,
        "top_k": 7,
        "stream": true,
        "stop_sequences": ["END"],
        "tools": [{"name": "t"}],
    });
    assert_eq!(dry_run(&args, ""), expected);
    let body = dry_run(&["--top-p", "0.9", "hi"], "");
    assert_eq!(body["top_p"], json!(0.9));
}

#[test]
fn the_last_of_repeated_options_wins() {
    let options = "-t 0 -t 1 -m a --model b --max-tokens=1 --max-tokens 2 -s x -sy \
                   --stream --no-stream -n -n --param k=1 --param k=2 hi";
    let args: Vec<_> = options.split_whitespace().collect();
    let expected = json!({
        "model": "b",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 2,
        "system": "y",
        "temperature": 1,
        "k": 2,
    });
    assert_eq!(dry_run(&args, ""), expected);
    for first in ["--stream", "--no-stream"] {
        let body = dry_run(&[first, "--stream", "hi"], "");
        assert_eq!(body["stream"], json!(true));
    }
}

#[test]
fn invalid_values_are_rejected() {
    let server = Server::documented();
    let own_option = ["model=\"x\"", "max_tokens=1", "system=\"x\"", "messages=[]"];
    let own_number = ["temperature=1", "top_p=1", "top_k=1", "stream=true"];
    let bad_json = ["x", "=1", "x=NaN", "x=", "x={", "x='a'", "x=1 2", "metadata=[]"];
    for (option, values) in [
        ("-t", &["1.1", "-0.1", "NaN", "inf", "-inf", "warm", ""][..]),
        ("--top-p", &["2", "nan"]),
        ("--top-k", &["0", "1.5", "-3"]),
        ("--max-tokens", &["0", "-1", "1e3", "99999999999999999999"]),
        ("-s", &["", "  "]),
        ("-m", &[""]),
        ("--param", &own_option),
        ("--param", &own_number),
        ("--param", &bad_json),
        ("-g", &["", "a b", "a/b", "ä"]),
        ("--cache-ttl", &["0", "59", "9999999999", "1.5"]),
        ("--timeout", &["0", "-1", "NaN", "inf", "86401", "soon"]),
        ("--retries", &["11", "-1", "1.0"]),
        ("--account-id", &["", "../x"]),
    ] {
        for value in values {
            ask(&server, &[option, value, "hi"]).code(2).stderr(one_line(&[]));
        }
    }
    assert!(server.requests().is_empty());
}

#[test]
fn temperature_and_top_p_exclude_each_other() {
    for args in [["-t", "0.5", "--top-p", "0.5"], ["--top-p", "0.5", "-t", "0.5"]] {
        check(haiku().args(args).arg("hi")).code(2).stderr(one_line(&["--temperature", "--top-p"]));
    }
}

#[test]
fn json_keeps_its_spelling() {
    let message = r#"{"content":[{"z":1.50,"type":"x","a":1e2}],"role":"user"}"#;
    let thinking = r#"thinking={"b":2.0,"a": 1}"#;
    let mut command = haiku();
    command
        .args(["--dry-run", "--messages", "-", "--param", thinking])
        .write_stdin(format!("{message}\n"));
    let messages = contains(format!("[{message}]"));
    let thinking = contains(r#""thinking":{"b":2.0,"a": 1}"#);
    check(&mut command).success().stdout(messages.and(thinking));
}

#[test]
fn a_dry_run_prints_what_would_be_sent_and_needs_no_account() {
    let server = Server::documented();
    ask(&server, &["-t", "0.25", "hi"]).success();
    let sent = String::from_utf8(server.request().body).unwrap();
    check(haiku().args(["--dry-run", "-t", "0.25", "hi"]))
        .success()
        .stdout(format!("{sent}\n"))
        .stderr("");
    ask(&server, &["--dry-run", "hi"]).success();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_dry_run_checks_every_option() {
    for [option, value] in
        [["-H", "Host: x"], ["--base-url", "http://example.com"], ["-g", "a b"], ["--param", "x"]]
    {
        check(haiku().args(["--dry-run", option, value, "hi"])).code(2);
    }
}
