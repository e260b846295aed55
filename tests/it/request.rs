//! Parameters: each one on the wire as asked, each wrong one refused before anything is sent.

use serde_json::json;

use crate::server::Server;
use crate::{ask, bare, dry, run};

#[test]
fn the_body_holds_nothing_unasked() {
    assert_eq!(
        dry(&["hi"], ""),
        json!({
            "model": "anthropic/claude-haiku-4.5",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 8192,
        })
    );
}

#[test]
fn every_parameter_reaches_the_body() {
    let args = [
        "-m",
        "other/model",
        "-s",
        "Be brief.",
        "--max-tokens",
        "12",
        "-t",
        "0.5",
        "--top-k",
        "7",
        "--stream",
        "--param",
        r#"stop_sequences=["END"]"#,
        "--param",
        r#"metadata={"user_id":"u"}"#,
        "hi",
    ];
    assert_eq!(
        dry(&args, ""),
        json!({
            "model": "other/model",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 12,
            "system": "Be brief.",
            "temperature": 0.5,
            "top_k": 7,
            "stream": true,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u"},
        })
    );
    assert_eq!(dry(&["--top-p", "0.9", "hi"], "")["top_p"], json!(0.9));
}

#[test]
fn the_last_of_repeated_options_counts() {
    let body = dry(
        &[
            "-t",
            "0",
            "-t",
            "1",
            "-m",
            "a",
            "--model",
            "b",
            "--max-tokens=1",
            "--max-tokens",
            "2",
            "-s",
            "x",
            "-sy",
            "--stream",
            "--no-stream",
            "-n",
            "-n",
            "--param",
            "k=1",
            "--param",
            "k=2",
            "hi",
        ],
        "",
    );
    assert_eq!(body["temperature"], json!(1));
    assert_eq!(body["model"], json!("b"));
    assert_eq!(body["max_tokens"], json!(2));
    assert_eq!(body["system"], json!("y"));
    assert_eq!(body.get("stream"), None);
    assert_eq!(body["k"], json!(2));
    assert_eq!(
        dry(&["--no-stream", "--stream", "hi"], "")["stream"],
        json!(true)
    );
    assert_eq!(
        dry(&["--stream", "--stream", "hi"], "")["stream"],
        json!(true)
    );
}

#[test]
fn what_breaks_a_rule_is_refused() {
    for args in [
        &["-t", "1.1"][..],
        &["-t", "-0.1"],
        &["-t", "NaN"],
        &["-t", "inf"],
        &["-t", "-inf"],
        &["-t", "warm"],
        &["-t", ""],
        &["--top-p", "2"],
        &["--top-p", "nan"],
        &["-t", "0.5", "--top-p", "0.5"],
        &["--top-p", "0.5", "-t", "0.5"],
        &["--top-k", "0"],
        &["--top-k", "1.5"],
        &["--top-k", "-3"],
        &["--max-tokens", "0"],
        &["--max-tokens", "-1"],
        &["--max-tokens", "1e3"],
        &["--max-tokens", "99999999999999999999"],
        &["-s", ""],
        &["-s", "  "],
        &["-m", ""],
        &["--param", "x"],
        &["--param", "=1"],
        &["--param", "x=NaN"],
        &["--param", "x="],
        &["--param", "x={"],
        &["--param", "x='a'"],
        &["--param", "x=1 2"],
        &["--param", "model=\"x\""],
        &["--param", "max_tokens=1"],
        &["--param", "system=\"x\""],
        &["--param", "temperature=1"],
        &["--param", "top_p=1"],
        &["--param", "top_k=1"],
        &["--param", "stream=true"],
        &["--param", "messages=[]"],
        &["--param", "output_config={}"],
        &["--param", "metadata=[]"],
        &["-g", ""],
        &["-g", "a b"],
        &["-g", "a/b"],
        &["-g", "ä"],
        &["--cache-ttl", "0"],
        &["--cache-ttl", "59"],
        &["--cache-ttl", "9999999999"],
        &["--cache-ttl", "1.5"],
        &["--timeout", "0"],
        &["--timeout", "-1"],
        &["--timeout", "NaN"],
        &["--timeout", "inf"],
        &["--timeout", "86401"],
        &["--timeout", "1h"],
        &["--retries", "11"],
        &["--retries", "-1"],
        &["--retries", "1.0"],
        &["--account-id", ""],
        &["--account-id", "../x"],
        &["--stream=yes"],
        &["--no-such-option"],
        &["-x"],
        &["--model"],
    ] {
        let server = Server::documented();
        let run = ask(&server, &[args, &["hi"]].concat());
        // An option that lacks its value takes the word that follows it.
        if args != ["--model"] {
            run.ends(2).prints("").says(&["haiku: "]);
        }
        if args != ["--model"] {
            assert!(server.requests().is_empty(), "{args:?}");
        }
    }
    run(bare().args(["hi", "--model"]))
        .ends(2)
        .says(&["--model <ID>"]);
}

#[test]
fn messages_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat");
    let path = file.to_str().unwrap();
    for text in [
        "",
        "[]",
        "hello",
        "[{\"role\":\"user\"",
        r#"[{"role":"system","content":"x"}]"#,
        r#"[{"role":"user","content":""}]"#,
        r#"{"role":"user","content":"x"} trailing"#,
        r#"{"role":"assistant","content":"prefill "}"#,
    ] {
        std::fs::write(&file, text).unwrap();
        let server = Server::documented();
        ask(&server, &["--messages", path])
            .ends(2)
            .prints("")
            .says(&["--messages"]);
        assert!(server.requests().is_empty(), "{text}");
    }
    std::fs::write(&file, "").unwrap();
    assert_eq!(
        dry(&["--messages", path, "first"], "")["messages"],
        json!([{"role": "user", "content": "first"}])
    );
}

#[test]
fn json_reaches_the_body_as_it_was_spelled() {
    let message = r#"{"content":[{"z":1.50,"type":"x","a":1e2}],"role":"user"}"#;
    let mut command = bare();
    command.args([
        "--dry-run",
        "--messages",
        "-",
        "--param",
        "thinking={\"b\":2.0,\"a\": 1}",
    ]);
    let run = run(command.write_stdin(format!("{message}\n"))).ends(0);
    assert!(run.out.contains(&format!("[{message}]")), "{run:?}");
    assert!(
        run.out.contains(r#""thinking":{"b":2.0,"a": 1}"#),
        "{run:?}"
    );
}

#[test]
fn a_dry_run_needs_no_account_and_sends_nothing() {
    let server = Server::documented();
    let wire = {
        ask(&server, &["hi", "-t", "0.25"]).ends(0);
        String::from_utf8(server.request().body).unwrap()
    };
    run(bare().args(["--dry-run", "hi", "-t", "0.25"]))
        .ends(0)
        .quiet()
        .prints(&format!("{wire}\n"));
    ask(&server, &["--dry-run", "hi"]).ends(0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_dry_run_checks_every_option() {
    for args in [
        &["-H", "Host: x"][..],
        &["-H", "no colon"],
        &["--base-url", "http://example.com"],
        &["--base-url", "nonsense"],
        &["-g", "a b"],
        &["--param", "x"],
    ] {
        run(bare().arg("--dry-run").args(args).arg("hi"))
            .ends(2)
            .prints("");
    }
}
