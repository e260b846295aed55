//! Options and the JSON body that they make: a call and its exact body, `--body` and `--dry-run`.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::support::mock_server::{Server, message};
use crate::support::{Folder, ask, check, haiku, haiku_at, one_line, stderr, stdout};

/// A call: its arguments, its standard input, and the body that it makes.
type Call = (&'static [&'static str], &'static str, String);

/// The body with the default model and `max_tokens`: what it holds of the messages and after them.
fn body(messages: &str, others: &str) -> String {
    format!(
        r#"{{"model":"anthropic/claude-haiku-4.5","messages":[{messages}],"max_tokens":8192{others}}}"#
    )
}

fn user(content: &str) -> String {
    format!(r#"{{"role":"user","content":{content}}}"#)
}

/// The body of a call with the prompt `hi`, and what it holds after that.
fn hi(others: &str) -> String {
    body(&user(r#""hi""#), others)
}

/// The body whose new turn has these content blocks.
fn blocks(list: &[&str]) -> String {
    body(&user(&format!("[{}]", list.join(","))), "")
}

/// The files that the calls below name.
fn files() -> Folder {
    let folder = Folder::new();
    for (name, text) in [
        ("system.txt", "\u{feff}Be \"brief\".\n\r\n"),
        ("value.json", "\u{feff}{\"z\":1.50, \"a\":[1e2]}\n"),
        ("schema.json", "{\"type\":\"object\", \"n\":1.0}\n"),
        ("chat.jsonl", "\u{feff}{\"content\":\"a\", \"role\":\"user\"}\n"),
        ("old.md", "\u{feff}old\n\n"),
        ("new.md", "new"),
    ] {
        folder.write(name, text);
    }
    folder
}

/// The documented examples, each as a call.
fn examples() -> Vec<Call> {
    let example = |messages: &str, others: &str| {
        format!(
            r#"{{"model":"anthropic/claude-haiku-4.5","messages":[{messages}],"max_tokens":{others}}}"#
        )
    };
    let detective = r#""Write a short story opening about a detective finding an unusual clue.""#;
    let trip = concat!(
        r#"{"role":"user","content":"I need help planning a road trip from San Francisco to Los Angeles."}"#,
        "\n",
        r#"{"role":"assistant","content":"I'd be happy to help! The drive is about 380 miles and takes roughly 5-6 hours. Would you like suggestions for scenic routes or interesting stops along the way?"}"#,
    );
    let stops = r#","#.to_owned() + &user(r#""Yes, what are some good places to stop?""#);
    let python = "You are a helpful coding assistant specializing in Python.";
    vec![
        (
            &["--max-tokens", "512", "-t", "0.8", "-"],
            "Write a short story opening about a detective finding an unusual clue.\n",
            example(&user(detective), r#"512,"temperature":0.8"#),
        ),
        (
            &["--messages", "-", "--max-tokens", "1024", "Yes, what are some good places to stop?"],
            trip,
            example(&(trip.replace('\n', ",") + &stops), "1024"),
        ),
        (
            &["--max-tokens", "1024", "What are the three laws of thermodynamics?"],
            "",
            example(&user(r#""What are the three laws of thermodynamics?""#), "1024"),
        ),
        (
            &[
                "--max-tokens=1024",
                "--stream",
                "Explain the concept of recursion with a simple example.",
            ],
            "",
            example(
                &user(r#""Explain the concept of recursion with a simple example.""#),
                r#"1024,"stream":true"#,
            ),
        ),
        (
            &[
                "--max-tokens",
                "1024",
                "-s",
                "You are a helpful coding assistant specializing in Python.",
                "-t",
                "0.3",
                "How do I read a JSON file in Python?",
            ],
            "",
            example(
                &user(r#""How do I read a JSON file in Python?""#),
                &format!(r#"1024,"system":"{python}","temperature":0.3"#),
            ),
        ),
    ]
}

fn parameters() -> Vec<Call> {
    let format =
        r#""format":{"type":"json_schema","schema":{"type":"object", "n":1.0}}"#.to_owned();
    vec![
        (&["hi"], "", hi("")),
        (
            &["-m", "other/model", "hi"],
            "",
            hi("").replace("anthropic/claude-haiku-4.5", "other/model"),
        ),
        (&["--max-tokens", "12", "hi"], "", hi("").replace("8192", "12")),
        (&["-s", " Brief. ", "hi"], "", hi(r#","system":" Brief. ""#)),
        (&["--system-file", "system.txt", "hi"], "", hi(r#","system":"Be \"brief\".""#)),
        (&["--system-file", "-", "hi"], "From a pipe.\n", hi(r#","system":"From a pipe.""#)),
        (&["-t", "0.5", "hi"], "", hi(r#","temperature":0.5"#)),
        (&["--top-p", "1", "hi"], "", hi(r#","top_p":1"#)),
        (&["--top-k", "7", "hi"], "", hi(r#","top_k":7"#)),
        (&["--stream", "hi"], "", hi(r#","stream":true"#)),
        (&["--no-stream", "hi"], "", hi("")),
        (
            &["--metadata", r#"{"user_id": "u", "n":1.50}"#, "hi"],
            "",
            hi(r#","metadata":{"user_id": "u", "n":1.50}"#),
        ),
        (
            &["--param", r#"stop_sequences=["END"]"#, "--param", r#"tools=[{"name":"t"}]"#, "hi"],
            "",
            hi(r#","stop_sequences":["END"],"tools":[{"name":"t"}]"#),
        ),
        (
            &["--param", "thinking=@value.json", "hi"],
            "",
            hi(r#","thinking":{"z":1.50, "a":[1e2]}"#),
        ),
        (&["--param", "x=@-", "hi"], "[1.0]\n", hi(r#","x":[1.0]"#)),
        (&["--param", r#"x= "@a""#, "hi"], "", hi(r#","x":"@a""#)),
        (&["--schema", "schema.json", "hi"], "", hi(&format!(r#","output_config":{{{format}}}"#))),
        (
            &["--schema", "-", "hi"],
            r#"{"a":{}}"#,
            hi(r#","output_config":{"format":{"type":"json_schema","schema":{"a":{}}}}"#),
        ),
        (
            &["--param", r#"output_config={"effort":"low"}"#, "hi"],
            "",
            hi(r#","output_config":{"effort":"low"}"#),
        ),
        (
            &[
                "--schema",
                "schema.json",
                "--param",
                r#"output_config={ "effort":"low", "n":1.0}"#,
                "hi",
            ],
            "",
            hi(&format!(r#","output_config":{{{format},"effort":"low", "n":1.0}}"#)),
        ),
        (
            &["-q", "--messages", "chat.jsonl"],
            "unread",
            body(r#"{"content":"a", "role":"user"}"#, ""),
        ),
        (
            &["--messages", "-", "hi"],
            r#"[{"role":"user","content":[{"type":"x","n":1.50}]}]"#,
            body(
                r#"{"role":"user","content":[{"type":"x","n":1.50}]},{"role":"user","content":"hi"}"#,
                "",
            ),
        ),
        (
            &[
                "-t",
                "0",
                "--top-k",
                "3",
                "--stream",
                "-s",
                "S",
                "--metadata",
                "{}",
                "--param",
                "x=1",
                "--schema",
                "schema.json",
                "hi",
            ],
            "",
            hi(&format!(
                r#","system":"S","temperature":0,"top_k":3,"stream":true,"metadata":{{}},"output_config":{{{format}}},"x":1"#
            )),
        ),
    ]
}

fn attachments_and_cache_marks() -> Vec<Call> {
    const OLD: &str = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"old\n\n"},"title":"old.md"}"#;
    const NEW: &str = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"new"},"title":"new.md"}"#;
    const PIPED: &str = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"in\n"},"title":"standard input"}"#;
    const GIF: &str =
        r#"{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGODlh"}}"#;
    const IN: &str = r#"{"type":"text","text":"in"}"#;
    const HI: &str = r#"{"type":"text","text":"hi"}"#;
    let marked = |block: &str, ttl: &str| {
        let open = block.strip_suffix('}').unwrap();
        format!(r#"{open},"cache_control":{{"type":"ephemeral","ttl":"{ttl}"}}}}"#)
    };
    let marked = |block: &str| marked(block, "1h");
    let chat = r#"{"content":"a", "role":"user"},"#.to_owned();
    let after_chat = |blocks: &str| body(&(chat.clone() + &user(&format!("[{blocks}]"))), "");
    vec![
        (&["-a", "old.md", "-a", "new.md", "hi"], "", blocks(&[OLD, NEW, HI])),
        (&["-a", "./old.md"], "", blocks(&[OLD])),
        (&["-a", "old.md", "hi"], "in\n", blocks(&[OLD, r#"{"type":"text","text":"in\n\nhi"}"#])),
        (&["-a", "-", "hi"], "in\n", blocks(&[PIPED, HI])),
        (&["-a", "-", "-a", "new.md"], "in\n", blocks(&[PIPED, NEW])),
        (&["-a", "-"], "GIF89a", blocks(&[GIF])),
        (&["--cache-prompt", "5m", "hi"], "", blocks(&[&marked(HI).replace("1h", "5m")])),
        (&["--cache-prompt", "1h", "hi"], "in\n", blocks(&[&marked(IN), HI])),
        (&["--cache-prompt", "1h"], "in\n", blocks(&[&marked(IN)])),
        (&["--cache-prompt", "1h", "-", "hi"], "in\n", blocks(&[&marked(IN), HI])),
        (&["--cache-prompt", "1h", "hi", "-", "hi"], "in\n", blocks(&[HI, &marked(IN), HI])),
        (&["--cache-prompt", "1h", " "], "in\n", blocks(&[&marked(IN)])),
        (&["--cache-prompt", "1h", "hi"], " \n", blocks(&[&marked(HI)])),
        (&["--cache-prompt", "1h", "-a", "old.md"], "", blocks(&[&marked(OLD)])),
        (
            &["--cache-prompt", "1h", "-a", "old.md", "-a", "new.md", "hi"],
            "",
            blocks(&[OLD, &marked(NEW), HI]),
        ),
        (&["--cache-prompt", "1h", "-a", "old.md", "hi"], "in\n", blocks(&[OLD, &marked(IN), HI])),
        (&["--cache-prompt", "1h", "-a", "-", "hi"], "in\n", blocks(&[&marked(PIPED), HI])),
        (&["--cache-prompt", "1h", "--messages", "chat.jsonl", "hi"], "", after_chat(&marked(HI))),
        (
            &["--cache-prompt", "1h", "--messages", "chat.jsonl", "hi"],
            "in\n",
            after_chat(&format!("{},{HI}", marked(IN))),
        ),
        (
            &["--cache-prompt", "1h", "--messages", "chat.jsonl", "-a", "old.md"],
            "",
            after_chat(&marked(OLD)),
        ),
    ]
}

#[track_caller]
fn make_exactly_these_bodies(calls: Vec<Call>) {
    let folder = files();
    for (args, stdin, expected) in calls {
        let mut command = haiku();
        command.arg("--dry-run").args(args).write_stdin(stdin).current_dir(folder.path(""));
        let printed = stdout(&check(&mut command).success().stderr(""));
        assert_eq!(printed, expected + "\n", "{args:?}");
    }
}

#[test]
fn each_documented_example_is_a_call() {
    let calls = examples();
    assert_eq!(calls.len(), 5);
    make_exactly_these_bodies(calls);
}

#[test]
fn each_parameter_is_one_property() {
    make_exactly_these_bodies(parameters());
}

#[test]
fn attachments_and_cache_marks_are_content_blocks() {
    make_exactly_these_bodies(attachments_and_cache_marks());
}

/// The names of all properties in a JSON Schema, nested ones too.
fn property_names(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(object) => {
            let own = object.get("properties").and_then(Value::as_object);
            let own = own.into_iter().flat_map(|properties| properties.keys().cloned());
            own.chain(object.values().flat_map(property_names)).collect()
        }
        Value::Array(list) => list.iter().flat_map(property_names).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_calls_above_cover_every_property_of_the_published_schema() {
    let schema: Value = serde_json::from_str(include_str!("../data/schema/input.json")).unwrap();
    let calls = [examples(), parameters(), attachments_and_cache_marks()].concat();
    for (args, _, body) in &calls {
        let body = serde_json::from_str(body).unwrap();
        let valid = jsonschema::validate(&schema, &body);
        assert!(valid.is_ok(), "{valid:?} for {args:?}");
    }
    let names = property_names(&schema);
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        assert!(calls.iter().any(|(.., body)| body.contains(&format!("\"{name}\":"))), "{name}");
    }
}

#[test]
fn a_reply_with_every_property_of_the_published_schema_is_printed() {
    let schema: Value = serde_json::from_str(include_str!("../data/schema/output.json")).unwrap();
    let reply = message("text", "end_turn");
    jsonschema::validate(&schema, &reply).unwrap();
    for name in property_names(&schema) {
        assert!(reply.to_string().contains(&format!("\"{name}\":")), "{name}");
    }
    let server = Server::json(200, &reply);
    ask(&server, &["-v", "hi"])
        .success()
        .stdout("text\n")
        .stderr(contains("17 input tokens, 191 output tokens"));
    ask(&server, &["--json", "hi"]).success().stdout(format!("{reply}\n"));
}

#[test]
fn the_last_of_repeated_options_wins() {
    let options = "-t 0 -t 1 -m a --model b --max-tokens=1 --max-tokens 2 -s x -sy --metadata {} \
                   --metadata {\"a\":1} --no-stream --stream --stream --no-stream -n -n \
                   --cache-prompt 5m --cache-prompt 1h --param k=1 --param k=2 hi";
    let hi = r#"[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#;
    let expected = format!(
        "{{\"model\":\"b\",\"messages\":[{}],\"max_tokens\":2,\"system\":\"y\",\"temperature\":1,\
         \"metadata\":{{\"a\":1}},\"k\":2}}\n",
        user(hi)
    );
    check(haiku().arg("--dry-run").args(options.split_whitespace())).success().stdout(expected);
}

#[test]
fn invalid_values_are_rejected() {
    let server = Server::documented();
    let folder = files();
    folder.write("blank", " \n");
    for (option, values) in [
        ("-t", &["1.1", "-0.1", "NaN", "inf", "-inf", "warm", ""][..]),
        ("--top-p", &["2", "nan"]),
        ("--top-k", &["0", "1.5", "-3"]),
        ("--max-tokens", &["0", "-1", "1e3", "99999999999999999999"]),
        ("-s", &["", "  "]),
        ("--system-file", &["blank", "missing", ".", ""]),
        ("-m", &[""]),
        ("--metadata", &["", "{", "[]", "7", "null", "{} {}"]),
        ("--cache-prompt", &["", "5", "2h", "5M"]),
        ("--schema", &["blank", "missing", "."]),
        ("--messages", &["missing", "."]),
        ("-a", &["missing", ".", "blank"]),
        ("--param", &["model=\"x\"", "max_tokens=1", "system=\"x\"", "messages=[]", "metadata={}"]),
        ("--param", &["temperature=1", "top_p=1", "top_k=1", "stream=true", "cache_control={}"]),
        ("--param", &["x", "=1", "x=NaN", "x=", "x={", "x='a'", "x=1 2", "x=@", "x=@missing"]),
        ("--param", &["x=@blank", "x=@system.txt"]),
        ("--generate", &["", "man,man", "MAN"]),
        ("-g", &["", "a b", "a/b", "ä"]),
        ("--cache-ttl", &["0", "59", "59s", "9999999999", "60.5", "1.5", "32d", "1w", ""]),
        (
            "--timeout",
            &["0", "0s", "-1", "NaN", "inf", "86401", "1.01d", "1e3", "soon", "m", "1 m"],
        ),
        ("--retries", &["11", "-1", "1.0", "1m", ""]),
        ("--account-id", &["", "../x"]),
    ] {
        for value in values {
            let mut command = haiku_at(&server);
            command.args([option, value, "hi"]).current_dir(folder.path(""));
            check(&mut command).code(2).stderr(one_line(&[]));
        }
    }
    assert!(server.requests().is_empty());
}

#[test]
fn options_that_exclude_each_other_are_named() {
    let folder = files();
    let format = r#"output_config={"f\u006frmat":null}"#;
    for (args, parts) in [
        (&["-t", "0.5", "--top-p", "0.5", "hi"][..], ["--temperature", "--top-p"]),
        (&["--top-p", "0.5", "-t", "0.5", "hi"], ["--temperature", "--top-p"]),
        (&["-s", "x", "--system-file", "system.txt", "hi"], ["--system", "--system-file"]),
        (&["--schema", "schema.json", "--param", format, "hi"], ["--schema", "format"]),
        (
            &["--schema", "schema.json", "--param", "output_config=[1]", "hi"],
            ["output_config", "object"],
        ),
        (&["--cache-prompt", "1h", "--messages", "chat.jsonl"], ["--cache-prompt", "messages"]),
    ] {
        let mut command = haiku();
        command.arg("--dry-run").args(args).current_dir(folder.path(""));
        check(&mut command).code(2).stderr(one_line(&parts));
    }
}

/// A body with a spelling of its own.
const OWN: &str = "{ \"max_tokens\": 7,\"model\":\"m\",\r\n \"messages\":[1], \"n\":1.50, \"n\":\"\\ud83e\\udd80\" }";

#[test]
fn a_body_is_sent_byte_for_byte() {
    let folder = Folder::new();
    let file = folder.write("body.json", format!("\u{feff} {OWN}\r\n\n"));
    let server = Server::message("text", "end_turn");
    for (args, stdin) in [
        (&["-q", "--body", &file][..], "unread"),
        (&["--body", "-"], &format!("\u{feff} {OWN}\n")),
        (&["-q", "--body", &file, "--json", "--"], "unread"),
        (&["-n", "--body", &file], ""),
    ] {
        check(haiku_at(&server).args(args).write_stdin(stdin)).success().stderr("");
        let sent = server.requests().pop().unwrap().body;
        assert_eq!(String::from_utf8(sent).unwrap(), format!(" {OWN}"), "{args:?}");
    }
}

#[test]
fn the_stream_of_a_body_decides() {
    for (stream, json_lines) in [
        ("\"stream\":true", true),
        ("\"stream\":false,\"stream\" : true", true),
        ("\"stream\":true,\"stream\":false", false),
        ("\"stream\":\"true\"", false),
        ("\"Stream\":true", false),
    ] {
        let body = format!(r#"{{"model":"m","messages":[],"max_tokens":1,{stream}}}"#);
        let server =
            Server::json(200, serde_json::to_string_pretty(&message("", "end_turn")).unwrap());
        let reply = check(haiku_at(&server).args(["--json", "--body", "-"]).write_stdin(body));
        assert_eq!(stdout(&reply.success()).lines().count() == 1, json_lines, "{stream}");
        let encoding = if json_lines { "identity" } else { "gzip" };
        assert_eq!(server.request().header("accept-encoding"), Some(encoding));
    }
}

#[test]
fn a_body_excludes_prompt_and_parameters() {
    let folder = files();
    let file = folder.write("body.json", OWN);
    for args in [
        &["--model", "x"][..],
        &["--system", "x"],
        &["--system-file", "system.txt"],
        &["--max-tokens", "1"],
        &["--temperature", "1"],
        &["--top-p", "1"],
        &["--top-k", "1"],
        &["--stream"],
        &["--no-stream"],
        &["--metadata", "{}"],
        &["--messages", "chat.jsonl"],
        &["--attach", "old.md"],
        &["--cache-prompt", "1h"],
        &["--schema", "schema.json"],
        &["--param", "x=1"],
        &["PROMPT"],
        &[" "],
        &["-"],
    ] {
        let option = if args[0].starts_with("--") { args[0] } else { "PROMPT" };
        let mut command = haiku();
        command.args(["--dry-run", "--body", &file]).args(args).current_dir(folder.path(""));
        check(&mut command).code(2).stderr(one_line(&["--body", "together", option]));
    }
}

#[test]
fn a_body_that_is_no_request_is_rejected() {
    let server = Server::documented();
    for (body, part) in [
        ("", "incomplete JSON"),
        ("{\"model\":", "incomplete JSON"),
        ("[]", "must be a JSON object"),
        ("7", "must be a JSON object"),
        ("{} {}", "not valid JSON (line 1, column 4)"),
        ("{}", "has no model"),
        (r#"{"model":"m","max_tokens":1}"#, "has no messages"),
        (r#"{"model":"m","messages":[],"max_tokens":null}"#, "has no max_tokens"),
    ] {
        check(haiku_at(&server).args(["--body", "-"]).write_stdin(body))
            .code(2)
            .stderr(one_line(&["standard input", part]));
    }
    ask(&server, &["--body", "/missing"]).code(2).stderr(one_line(&["--body /missing: No such"]));
    assert!(server.requests().is_empty());
}

#[test]
fn what_a_dry_run_prints_a_body_sends() {
    let folder = files();
    for (args, stdin, _) in [parameters(), attachments_and_cache_marks()].concat() {
        let mut command = haiku();
        command.args(["--dry-run", "-o", "body.json"]).args(args);
        check(command.write_stdin(stdin).current_dir(folder.path("")))
            .success()
            .stdout("")
            .stderr("");
        let server = Server::message("text", "end_turn");
        let mut command = haiku_at(&server);
        check(command.args(["--body", "body.json"]).current_dir(folder.path(""))).success();
        let sent = String::from_utf8(server.request().body).unwrap();
        assert_eq!(sent + "\n", folder.read("body.json"), "{args:?}");
    }
}

#[test]
fn a_dry_run_needs_no_account_and_sends_nothing() {
    let server = Server::documented();
    for option in ["-n", "--json", "-v"] {
        let args = ["--dry-run", option, "-t", "0.25", "hi"];
        ask(&server, &args).success().stdout(hi(r#","temperature":0.25"#) + "\n");
        check(haiku().args(args)).success().stdout(hi(r#","temperature":0.25"#) + "\n");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_verbose_dry_run_shows_the_head_of_the_request() {
    let server = Server::documented();
    let args =
        ["-v", "-g", "mine", "--cache-ttl", "1.5m", "--skip-cache", "-H", "X-One:  a b ", "hi"];
    let start = format!("haiku: POST {}/accounts/0123456789abcdef/ai/v1/messages\n", server.url());
    let shown = check(haiku_at(&server).arg("--dry-run").args(args)).success();
    let shown = stderr(&shown.stderr(predicate::str::starts_with(start)));
    ask(&server, &args).success();
    let request = server.request();
    let is_connection = |name: &str| ["host", "accept", "content-length"].contains(&name);
    let sent = request.headers.iter().filter(|(name, _)| !is_connection(name));
    let sent = sent.map(|(name, value)| match name.as_str() {
        "authorization" => "haiku: authorization: Bearer [redacted]".into(),
        _ => format!("haiku: {name}: {value}"),
    });
    let mut sent: Vec<String> = sent.collect();
    let mut shown: Vec<String> = shown.lines().skip(1).map(String::from).collect();
    sent.sort();
    shown.sort();
    assert_eq!(shown, sent);
}

#[test]
fn a_verbose_dry_run_shows_what_is_not_set() {
    let base = "haiku: POST https://api.cloudflare.com/client/v4/accounts";
    for (args, url, token) in [
        (&[][..], format!("{base}/{{account}}/"), "Bearer {token}"),
        (&["--account-id", "me"], format!("{base}/me/"), "Bearer {token}"),
        (&["--token-file", "/missing"], format!("{base}/{{account}}/"), "Bearer [redacted]"),
    ] {
        let mut command = haiku();
        command
            .env("CLOUDFLARE_API_TOKEN", "")
            .args(["--dry-run", "-q", "-v"])
            .args(args)
            .arg("hi");
        let head = check(&mut command).success().stdout(hi("") + "\n");
        head.stderr(predicate::str::starts_with(url).and(contains(token)));
    }
    check(haiku().args(["--dry-run", "-v", "-q", "hi"])).success().stderr("");
}

#[test]
fn a_dry_run_into_a_file_replaces_it() {
    let folder = Folder::new();
    let file = folder.write("body.json", "old");
    check(haiku().args(["--dry-run", "-o", &file, "-t", "2", "hi"])).code(2);
    assert_eq!(folder.read("body.json"), "old");
    check(haiku().args(["--dry-run", "-o", &file, "hi"])).success().stdout("").stderr("");
    assert_eq!(folder.read("body.json"), hi("") + "\n");
    check(haiku().args(["--dry-run", "-o", "-", "hi"])).success().stdout(hi("") + "\n");
    check(haiku().args(["--dry-run", "-o", "/missing/x", "hi"]))
        .code(1)
        .stderr(one_line(&["/missing/x"]));
}

#[test]
fn a_dry_run_checks_every_option() {
    for [option, value] in
        [["-H", "Host: x"], ["--base-url", "http://example.com"], ["-g", "a b"], ["--param", "x"]]
    {
        check(haiku().args(["--dry-run", option, value, "hi"])).code(2);
    }
}

#[test]
fn times_are_sent_in_whole_seconds() {
    for (time, seconds) in
        [("60", 60), ("60.0s", 60), ("1.5m", 90), ("2h", 7200), ("31d", 2_678_400)]
    {
        let shown = check(haiku().args(["--dry-run", "-v", "--cache-ttl", time, "hi"])).success();
        shown.stderr(contains(format!("cf-aig-cache-ttl: {seconds}\n")));
    }
}
