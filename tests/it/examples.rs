//! The documented examples, given as options: the body that is sent and the text that is printed.

use serde_json::{Value, json};

use crate::support::mock_server::{Server, examples};
use crate::support::{ask, check, haiku_at};

/// The arguments and the standard input that make an example's request.
fn arguments(input: &Value) -> (Vec<String>, String) {
    let messages = input["messages"].as_array().unwrap();
    let (last, earlier) = messages.split_last().unwrap();
    let mut args = Vec::new();
    if !earlier.is_empty() {
        args.extend(["--messages".into(), "-".into()]);
    }
    for (key, option) in
        [("max_tokens", "--max-tokens"), ("system", "--system"), ("temperature", "--temperature")]
    {
        match &input[key] {
            Value::Null => {}
            Value::String(text) => args.extend([option.into(), text.clone()]),
            number => args.extend([option.into(), number.to_string()]),
        }
    }
    if input["stream"] == json!(true) {
        args.push("--stream".into());
    }
    args.push(last["content"].as_str().unwrap().into());
    let stdin = earlier.iter().map(|message| format!("{message}\n")).collect();
    (args, stdin)
}

#[test]
fn each_example_is_sent_and_printed_as_documented_streamed_or_not() {
    let examples = examples();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let server = Server::documented();
        let (args, stdin) = arguments(&example["input"]);
        let text = example["text"].as_str().unwrap();
        check(haiku_at(&server).args(&args).write_stdin(stdin))
            .success()
            .stdout(format!("{text}\n"))
            .stderr("");
        let mut body = example["input"].clone();
        body["model"] = example["model"].clone();
        let request = server.request();
        assert_eq!(request.json(), body);
        let line = "POST /client/v4/accounts/0123456789abcdef/ai/v1/messages HTTP/1.1";
        assert_eq!(request.line, line);
        let prompt = args.last().unwrap();
        for option in ["--stream", "--no-stream"] {
            let reply = ask(&server, &[option, prompt]);
            reply.success().stdout(format!("{text}\n"));
        }
    }
}
