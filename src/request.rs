//! Options, conversation and prompt to the JSON body, one to one: what nobody asked for is not in it.

use std::ffi::OsString;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

use crate::args::{Args, DEFAULT_MAX_TOKENS, DEFAULT_MODEL};
use crate::attach::Attachment;
use crate::error::Failure;
use crate::input::{self, utf8_argument};
use crate::messages::Conversation;

/// Properties of the body that an option sets, and the option.
const COVERED: [(&str, &str); 9] = [
    ("model", "--model"),
    ("messages", "--messages"),
    ("max_tokens", "--max-tokens"),
    ("system", "--system"),
    ("temperature", "--temperature"),
    ("top_p", "--top-p"),
    ("top_k", "--top-k"),
    ("stream", "--stream"),
    ("output_config", "--schema"),
];

/// Everything of the body but the messages, checked.
#[derive(Debug)]
pub struct Parameters<'a> {
    model: &'a str,
    max_tokens: u64,
    system: Option<&'a str>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
    stream: bool,
    schema: Option<Box<RawValue>>,
    others: Vec<(&'a str, Box<RawValue>)>,
}

/// What the model is asked.
#[derive(Debug, Default)]
pub struct Input {
    /// The turns so far.
    pub conversation: Conversation,
    /// Files that belong to the last turn of the user's.
    pub attachments: Vec<Attachment>,
    /// Its text.
    pub prompt: Option<String>,
}

/// The whole body; what it serializes to goes on the wire.
struct Body<'a> {
    parameters: &'a Parameters<'a>,
    input: &'a Input,
}

/// The conversation, and the user's turn that ends it.
struct Messages<'a>(&'a Input);

#[derive(serde::Serialize)]
struct UserTurn<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// A string, or blocks where there are attachments: those first, the text last.
struct Content<'a>(&'a Input);

#[derive(serde::Serialize)]
struct TextBlock<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

/// `output_config` as the API takes it.
#[derive(serde::Serialize)]
struct OutputConfig<'a> {
    format: Format<'a>,
}

#[derive(serde::Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a RawValue,
}

impl<'a> Parameters<'a> {
    /// Checks what the options say of the body.
    ///
    /// # Errors
    /// Exit status 2 for a blank system message, for text that is not UTF-8, for a `--param` that
    /// is no `KEY=JSON` or whose key an option covers, and for a schema that is no JSON object.
    pub fn new(args: &'a Args, stream: bool) -> Result<Parameters<'a>, Failure> {
        let system = args.system.as_deref();
        let system = system
            .map(|text| utf8_argument(text, "--system"))
            .transpose()?;
        if system.is_some_and(|text| text.trim().is_empty()) {
            return Err(Failure::usage("--system must not be empty"));
        }
        Ok(Parameters {
            model: args.model.as_deref().unwrap_or(DEFAULT_MODEL),
            max_tokens: args.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            system,
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: args.top_k,
            stream,
            schema: args.schema.as_deref().map(read_schema).transpose()?,
            others: others(&args.param)?,
        })
    }

    /// The body as UTF-8 JSON.
    ///
    /// # Errors
    /// Exit status 2 for a body over the API's limit.
    pub fn body(&self, input: &Input) -> Result<Vec<u8>, Failure> {
        let body = Body {
            parameters: self,
            input,
        };
        let text = input.prompt.as_ref().map_or(0, String::len);
        let files: usize = input.attachments.iter().map(Attachment::encoded_len).sum();
        let mut json = Vec::with_capacity(text + files + 1024);
        serde_json::to_writer(&mut json, &body)
            .map_err(|error| Failure::usage(format!("cannot build the request: {error}")))?;
        if json.len() > input::LIMIT {
            return Err(Failure::usage(format!(
                "the request is {:.1} MB; the API takes at most 32 MB",
                json.len() as f64 / 1e6
            )));
        }
        Ok(json)
    }
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parameters = self.parameters;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", parameters.model)?;
        map.serialize_entry("messages", &Messages(self.input))?;
        map.serialize_entry("max_tokens", &parameters.max_tokens)?;
        if let Some(system) = parameters.system {
            map.serialize_entry("system", system)?;
        }
        if let Some(temperature) = parameters.temperature {
            map.serialize_entry("temperature", &number(temperature))?;
        }
        if let Some(top_p) = parameters.top_p {
            map.serialize_entry("top_p", &number(top_p))?;
        }
        if let Some(top_k) = parameters.top_k {
            map.serialize_entry("top_k", &top_k)?;
        }
        if parameters.stream {
            map.serialize_entry("stream", &true)?;
        }
        if let Some(schema) = &parameters.schema {
            let format = Format {
                kind: "json_schema",
                schema,
            };
            map.serialize_entry("output_config", &OutputConfig { format })?;
        }
        for (key, value) in &parameters.others {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Messages(input) = self;
        let mut list = serializer.serialize_seq(None)?;
        for message in &input.conversation.messages {
            list.serialize_element(message)?;
        }
        if input.has_turn() {
            list.serialize_element(&UserTurn {
                role: "user",
                content: Content(input),
            })?;
        }
        list.end()
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Content(input) = self;
        let text = input.prompt.as_deref();
        if input.attachments.is_empty() {
            return serializer.serialize_str(text.unwrap_or_default());
        }
        let mut blocks = serializer.serialize_seq(None)?;
        for attachment in &input.attachments {
            blocks.serialize_element(attachment)?;
        }
        if let Some(text) = text {
            blocks.serialize_element(&TextBlock { kind: "text", text })?;
        }
        blocks.end()
    }
}

impl Input {
    /// Whether a turn of the user's follows the conversation.
    pub fn has_turn(&self) -> bool {
        self.prompt.is_some() || !self.attachments.is_empty()
    }
}

/// The schema in the file at `path`: one JSON object, kept as it is spelled.
fn read_schema(path: &Path) -> Result<Box<RawValue>, Failure> {
    let name = format!("--schema {}", path.display());
    let text = input::read_file(path, "--schema")?;
    let schema: Box<RawValue> = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{name} is not one JSON value: {error}")))?;
    if !schema.get().starts_with('{') {
        return Err(Failure::usage(format!("{name} is not a JSON object")));
    }
    Ok(schema)
}

/// A number as JavaScript writes it: 1, not 1.0.
fn number(x: f64) -> Option<Number> {
    if x == 0.0 || x == 1.0 {
        Some(Number::from(u8::from(x == 1.0)))
    } else {
        Number::from_f64(x)
    }
}

/// The properties that `--param` sets, in order; of a repeated key the last value counts.
fn others(params: &[OsString]) -> Result<Vec<(&str, Box<RawValue>)>, Failure> {
    let mut others: Vec<(&str, Box<RawValue>)> = Vec::new();
    for param in params {
        let (key, value) = parse_param(utf8_argument(param, "--param")?)?;
        match others.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => others.push((key, value)),
        }
    }
    Ok(others)
}

fn parse_param(param: &str) -> Result<(&str, Box<RawValue>), Failure> {
    let (key, json) = param
        .split_once('=')
        .filter(|(key, _)| !key.trim().is_empty())
        .ok_or_else(|| Failure::usage("--param takes KEY=JSON, like stop_sequences='[\"END\"]'"))?;
    if let Some((_, option)) = COVERED.iter().find(|(covered, _)| *covered == key) {
        return Err(
            Failure::usage(format!("--param {key} has an option of its own"))
                .advice(format!("use {option}")),
        );
    }
    let value: Box<RawValue> = serde_json::from_str(json).map_err(|error| {
        Failure::usage(format!("--param {key} is not JSON: {error}"))
            .advice(format!("a string needs its quotes: --param '{key}=\"…\"'"))
    })?;
    if key == "metadata" && !value.get().starts_with('{') {
        return Err(Failure::usage("--param metadata must be a JSON object"));
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn body(list: &[&str], prompt: Option<&str>) -> Result<String, String> {
        let args = Args::try_parse_from([&["haiku"], list].concat()).unwrap();
        let input = Input {
            prompt: prompt.map(Into::into),
            ..Input::default()
        };
        Parameters::new(&args, args.stream)
            .and_then(|parameters| parameters.body(&input))
            .map(|json| String::from_utf8(json).unwrap())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_body_holds_what_was_asked_and_no_more() {
        assert_eq!(
            body(&[], Some("a\"\n\u{1}é")).unwrap(),
            r#"{"model":"anthropic/claude-haiku-4.5","messages":[{"role":"user","content":"a\"\n\u0001é"}],"max_tokens":8192}"#
        );
        assert_eq!(
            body(
                &[
                    "-m",
                    "x",
                    "-s",
                    "-y",
                    "--max-tokens",
                    "7",
                    "-t",
                    "1.0",
                    "--top-k",
                    "3",
                    "--stream",
                    "--param",
                    "b={ \"z\":1.50,\"a\":[1e2] }",
                    "--param",
                    "a=1",
                    "--param",
                    "b= 2.0 "
                ],
                Some("p")
            )
            .unwrap(),
            r#"{"model":"x","messages":[{"role":"user","content":"p"}],"max_tokens":7,"system":"-y","temperature":1,"top_k":3,"stream":true,"b":2.0,"a":1}"#
        );
        assert!(
            body(&["--top-p", "0.25"], None)
                .unwrap()
                .ends_with(r#""messages":[],"max_tokens":8192,"top_p":0.25}"#)
        );
        assert!(
            body(&["-t", "-0"], None)
                .unwrap()
                .ends_with(r#""temperature":0}"#)
        );
    }

    #[test]
    fn json_keeps_its_spelling() {
        let json = r#"{"z":1.50,"a":[1e2,-0.0,123456789012345678901234567890]}"#;
        let body = body(&["--param", &format!("x={json}")], None).unwrap();
        assert!(body.ends_with(&format!(r#""x":{json}}}"#)), "{body}");
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (list, expected) in [
            (&["-s", " "][..], "--system must not be empty"),
            (
                &["--param", "x"],
                "--param takes KEY=JSON, like stop_sequences='[\"END\"]'",
            ),
            (
                &["--param", "=1"],
                "--param takes KEY=JSON, like stop_sequences='[\"END\"]'",
            ),
            (
                &["--param", "stream=true"],
                "--param stream has an option of its own; use --stream",
            ),
            (
                &["--param", "x=NaN"],
                "--param x is not JSON: expected value at line 1 column 1; a string needs its quotes: --param 'x=\"…\"'",
            ),
            (
                &["--param", "metadata=1"],
                "--param metadata must be a JSON object",
            ),
        ] {
            assert_eq!(body(list, None).unwrap_err(), expected);
        }
    }
}
