//! The documented examples, as flags: the body on the wire and the text that comes back.

use serde_json::{Value, json};

use crate::server::{Server, examples};
use crate::{ask, at, run};

/// The flags that stand for an example's input.
fn flags(input: &Value) -> (Vec<String>, String) {
    let messages = input["messages"].as_array().unwrap();
    let (last, earlier) = messages.split_last().unwrap();
    let mut flags = vec![last["content"].as_str().unwrap().to_owned()];
    let mut conversation = String::new();
    for message in earlier {
        conversation += &format!("{message}\n");
    }
    if !earlier.is_empty() {
        flags.extend(["--messages".into(), "-".into()]);
    }
    for (key, flag) in [
        ("max_tokens", "--max-tokens"),
        ("system", "--system"),
        ("temperature", "--temperature"),
    ] {
        match &input[key] {
            Value::Null => {}
            Value::String(text) => flags.extend([flag.into(), text.clone()]),
            number => flags.extend([flag.into(), number.to_string()]),
        }
    }
    if input["stream"] == json!(true) {
        flags.push("--stream".into());
    }
    (flags, conversation)
}

#[test]
fn each_goes_in_as_documented_and_comes_out_as_documented() {
    let examples = examples();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let server = Server::documented();
        let (flags, stdin) = flags(&example["input"]);
        let text = example["text"].as_str().unwrap();
        run(at(&server).args(&flags).write_stdin(stdin))
            .ends(0)
            .quiet()
            .prints(&format!("{text}\n"));
        let mut body = example["input"].clone();
        body["model"] = example["model"].clone();
        let request = server.request();
        assert_eq!(request.json(), body);
        assert_eq!(
            request.line,
            "POST /client/v4/accounts/0123456789abcdef/ai/v1/messages HTTP/1.1"
        );
    }
}

#[test]
fn each_comes_out_the_same_streamed_and_whole() {
    for example in examples() {
        let prompt = example["input"]["messages"]
            .as_array()
            .unwrap()
            .last()
            .unwrap();
        let prompt = prompt["content"].as_str().unwrap();
        let expected = format!("{}\n", example["text"].as_str().unwrap());
        let server = Server::documented();
        ask(&server, &[prompt, "--stream"])
            .ends(0)
            .quiet()
            .prints(&expected);
        ask(&server, &[prompt, "--no-stream"])
            .ends(0)
            .quiet()
            .prints(&expected);
    }
}

#[test]
fn another_prompt_gets_its_own_text_back() {
    let server = Server::documented();
    ask(&server, &["tell", "me"])
        .ends(0)
        .quiet()
        .prints("tell me\n");
}
