//! What holds whatever the arguments and the text are.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::server::Server;
use crate::{at, bare, run};

/// One option with a value that may or may not be allowed.
fn option() -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![
        Just("0".to_owned()),
        Just("-1".to_owned()),
        Just("NaN".to_owned()),
        Just("1e400".to_owned()),
        (0.0..2.0).prop_map(|x: f64| x.to_string()),
        (0..100_000_u32).prop_map(|n| n.to_string()),
    ];
    let valued = |names: &'static [&'static str], value: BoxedStrategy<String>| {
        (prop::sample::select(names), value).prop_map(|(name, value)| vec![name.to_owned(), value])
    };
    let json = prop_oneof![
        Just("1"),
        Just("[]"),
        Just("{\"a\":1}"),
        Just("\"x\""),
        Just("null"),
        Just("nonsense"),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("tools"),
        Just("stream"),
        Just("max_tokens"),
        Just("stop_sequences"),
        Just(""),
    ];
    prop_oneof![
        valued(
            &["-t", "--top-p", "--top-k", "--max-tokens"],
            number.boxed()
        ),
        valued(&["-s", "-m"], "[^\0]{0,20}".boxed()),
        (key, json).prop_map(|(key, json)| vec!["--param".to_owned(), format!("{key}={json}")]),
        prop::sample::select(&["--stream", "--no-stream", "--json", "-n", "-v"][..])
            .prop_map(|flag| vec![flag.to_owned()]),
    ]
}

/// A conversation that may or may not be one.
fn conversation() -> impl Strategy<Value = String> {
    let content = prop_oneof![
        Just("\"hi\""),
        Just("\"\""),
        Just("7"),
        Just("[]"),
        Just("[{\"type\":\"text\",\"text\":\"x\"}]"),
        Just("[{\"type\":\"text\",\"text\":7}]"),
        Just("[{\"type\":\"image\",\"source\":{}}]"),
        Just("[{}]"),
        Just("[{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"type\":\"ephemeral\"}}]"),
        Just(
            "[{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"2h\"}}]"
        ),
        Just("[{\"type\":\"text\",\"text\":\"x\",\"cache_control\":null}]"),
    ];
    let role = prop_oneof![Just("user"), Just("assistant"), Just("system")];
    let extra = prop_oneof![3 => Just(""), 1 => Just(",\"name\":\"x\"")];
    let message = (role, content, extra).prop_map(|(role, content, extra)| {
        format!("{{\"role\":\"{role}\",\"content\":{content}{extra}}}\n")
    });
    vec(message, 0..3).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arguments_that_parse_make_a_body_of_the_schema(
        options in vec(option(), 0..4),
        conversation in proptest::option::of(conversation()),
        words in vec("[^\0-]{1,20}", 0..3),
    ) {
        let mut command = bare();
        command.arg("--dry-run").args(options.concat());
        if let Some(conversation) = conversation {
            command.args(["--messages", "-"]).write_stdin(conversation);
        }
        let run = run(command.arg("--").args(&words));
        if run.code == 0 {
            let schema = include_str!("../data/schema/input.json");
            let schema: Value = serde_json::from_str(schema).unwrap();
            let body: Value = serde_json::from_str(&run.out).unwrap();
            let result = jsonschema::validate(&schema, &body);
            prop_assert!(result.is_ok(), "{result:?} of {body}");
            prop_assert!(!body["messages"].as_array().unwrap().is_empty());
        } else {
            prop_assert_eq!(run.code, 2);
            prop_assert_eq!(run.out, "");
            prop_assert_eq!(run.err.lines().count(), 1, "{}", run.err);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_goes_through_request_and_reply_unchanged(text in "(?s).{1,200}", stream in any::<bool>()) {
        // What the prompt's own rules take away is not the wire's doing.
        let expected = text.trim_end_matches(['\r', '\n']);
        prop_assume!(!expected.trim().is_empty());
        let server = Server::documented();
        let mut command = at(&server);
        command.arg(if stream { "--stream" } else { "--no-stream" }).write_stdin(text.clone());
        let run = run(&mut command).ends(0).quiet();
        prop_assert_eq!(run.out, format!("{expected}\n"));
        prop_assert_eq!(&server.request().json()["messages"][0]["content"], expected);
    }
}
