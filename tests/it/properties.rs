//! Properties of random arguments, conversations and texts.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::mock_server::Server;
use crate::support::{check, haiku, haiku_at, one_line};

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(values).prop_map(String::from)
}

/// An option with a valid or invalid value.
fn option() -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![
        one_of(&["0", "-1", "NaN", "1e400"]),
        (0.0..2.0).prop_map(|x: f64| x.to_string()),
        (0..100_000_u32).prop_map(|n| n.to_string()),
    ];
    let json = one_of(&["1", "[]", "{\"a\":1}", "\"x\"", "null", "nonsense"]);
    let key = one_of(&["metadata", "tools", "stream", "max_tokens", "stop_sequences", ""]);
    let param = (key, json).prop_map(|(key, json)| format!("{key}={json}"));
    let pair = |(name, value)| vec![name, value];
    prop_oneof![
        (one_of(&["-t", "--top-p", "--top-k", "--max-tokens"]), number).prop_map(pair),
        (one_of(&["-s", "-m"]), "[^\0]{0,20}").prop_map(pair),
        param.prop_map(|param| vec!["--param".to_owned(), param]),
        one_of(&["--stream", "--no-stream", "--json", "-n", "-v"]).prop_map(|flag| vec![flag]),
    ]
}

/// A valid or invalid conversation.
fn conversation() -> impl Strategy<Value = String> {
    let block = one_of(&[
        r#"{"type":"text","text":"x"}"#,
        r#"{"type":"text","text":7}"#,
        r#"{"type":"image","source":{}}"#,
        r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#,
        r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"2h"}}"#,
        r#"{"type":"text","text":"x","cache_control":null}"#,
        "{}",
    ]);
    let content = prop_oneof![
        one_of(&["\"hi\"", "\"\"", "7", "[]"]),
        block.prop_map(|block| format!("[{block}]")),
    ];
    let role = one_of(&["user", "assistant", "system"]);
    let extra = prop_oneof![3 => Just(""), 1 => Just(",\"name\":\"x\"")];
    let message = (role, content, extra).prop_map(|(role, content, extra)| {
        format!("{{\"role\":\"{role}\",\"content\":{content}{extra}}}\n")
    });
    vec(message, 0..3).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_arguments_make_a_body_that_matches_the_schema(
        options in vec(option(), 0..4),
        conversation in proptest::option::of(conversation()),
        words in vec("[^\0-]{1,20}", 0..3),
    ) {
        let mut command = haiku();
        command.arg("--dry-run").args(options.concat());
        if let Some(conversation) = conversation {
            command.args(["--messages", "-"]).write_stdin(conversation);
        }
        let result = check(command.arg("--").args(&words));
        if result.get_output().status.code() == Some(0) {
            let schema = include_str!("../data/schema/input.json");
            let schema: Value = serde_json::from_str(schema).unwrap();
            let body: Value = serde_json::from_slice(&result.get_output().stdout).unwrap();
            let valid = jsonschema::validate(&schema, &body);
            prop_assert!(valid.is_ok(), "{valid:?} of {body}");
            prop_assert!(!body["messages"].as_array().unwrap().is_empty());
        } else {
            result.code(2).stderr(one_line(&[]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_sent_and_printed_unchanged(text in "(?s).{1,200}", stream in any::<bool>()) {
        // Trailing line breaks, a byte order mark and blank input have rules of their own.
        let expected = text.trim_end_matches(['\r', '\n']);
        let expected = expected.strip_prefix('\u{feff}').unwrap_or(expected);
        prop_assume!(!expected.trim().is_empty());
        let server = Server::documented();
        let mut command = haiku_at(&server);
        command.arg(if stream { "--stream" } else { "--no-stream" }).write_stdin(text.clone());
        check(&mut command).success().stdout(format!("{expected}\n")).stderr("");
        prop_assert_eq!(&server.request().json()["messages"][0]["content"], expected);
    }
}
