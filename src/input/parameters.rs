//! Request properties that files and JSON arguments give: system prompt, metadata, schema, anything else.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::value::RawValue;

use super::json;
use super::read;
use crate::cli::args::Args;
use crate::utf8::{self, is_blank};

/// Properties of the body that an option sets, and the option.
const COVERED: [(&str, &str); 10] = [
    ("model", "--model"),
    ("messages", "--messages"),
    ("max_tokens", "--max-tokens"),
    ("system", "--system"),
    ("temperature", "--temperature"),
    ("top_p", "--top-p"),
    ("top_k", "--top-k"),
    ("stream", "--stream"),
    ("metadata", "--metadata"),
    ("cache_control", "--cache-prompt"),
];

/// What the options say of the body, as far as it has to be read or parsed.
#[derive(Debug, Default)]
pub struct Parameters {
    pub system: Option<String>,
    pub metadata: Option<Box<RawValue>>,
    pub output_config: Option<Box<RawValue>>,
    /// Any other property, in the order given.
    pub others: Vec<(String, Box<RawValue>)>,
}

impl Parameters {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// A file that cannot be read, a blank system prompt, and JSON that is none or of the wrong kind.
    pub fn read(args: &Args) -> anyhow::Result<Parameters> {
        let mut others = others(&args.param)?;
        let at = others.iter().position(|(key, _)| key == "output_config");
        let output_config = at.map(|at| others.remove(at).1);
        let metadata = args.metadata.as_deref();
        let metadata =
            metadata.map(|json| json::object(utf8::argument(json, "--metadata")?, "--metadata"));
        Ok(Parameters {
            system: system(args)?,
            metadata: metadata.transpose()?.map(ToOwned::to_owned),
            output_config: match &args.schema {
                Some(path) => Some(with_schema(&read_schema(path)?, output_config)?),
                None => output_config,
            },
            others,
        })
    }
}

fn system(args: &Args) -> anyhow::Result<Option<String>> {
    if let Some(path) = &args.system_file {
        return read::trimmed_text(path, "--system-file").map(Some);
    }
    let Some(text) = &args.system else {
        return Ok(None);
    };
    let text = utf8::argument(text, "--system")?;
    ensure!(!is_blank(text), "--system must not be blank");
    Ok(Some(text.into()))
}

fn read_schema(path: &Path) -> anyhow::Result<Box<RawValue>> {
    let text = read::text(path, "--schema")?;
    Ok(json::object(&text, &read::name(path, "--schema"))?.to_owned())
}

/// `output_config` with the schema as its first property, the others as they are spelled.
fn with_schema(schema: &RawValue, given: Option<Box<RawValue>>) -> anyhow::Result<Box<RawValue>> {
    const NAME: &str = "--param output_config";
    let given = given.as_deref().map_or("{}", RawValue::get);
    ensure!(
        !json::properties(given, NAME)?.contains_key("format"),
        "--schema and a format in {NAME} cannot be used together"
    );
    let others = given.trim_start_matches('{').trim_start();
    let comma = if others.starts_with('}') { "" } else { "," };
    let schema = schema.get();
    let merged = format!(r#"{{"format":{{"type":"json_schema","schema":{schema}}}{comma}{others}"#);
    Ok(RawValue::from_string(merged)?)
}

/// The properties that `--param` sets, in order; the last of a repeated key wins.
fn others(params: &[OsString]) -> anyhow::Result<Vec<(String, Box<RawValue>)>> {
    let mut others: Vec<(String, Box<RawValue>)> = Vec::new();
    for param in params {
        let (key, value) = parse_param(utf8::argument(param, "--param")?)?;
        match others.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => others.push((key.into(), value)),
        }
    }
    Ok(others)
}

fn parse_param(param: &str) -> anyhow::Result<(&str, Box<RawValue>)> {
    let pair = param.split_once('=').filter(|(key, _)| !is_blank(key) && !key.starts_with('-'));
    let (key, json) =
        pair.context("--param expects KEY=JSON, such as stop_sequences='[\"END\"]'")?;
    if let Some((_, option)) = COVERED.iter().find(|(covered, _)| *covered == key) {
        bail!("--param {key} has an option of its own: use {option}");
    }
    let name = format!("--param {key}");
    let value = match json.strip_prefix('@') {
        Some(path) => {
            let (path, option) = (Path::new(path), format!("{name}=@"));
            json::parse(&read::text(path, &option)?, &read::name(path, &option))?
        }
        None => json::parse(json, &name).map_err(|error| match json.contains('"') {
            true => error,
            false => anyhow!("{error}; a string needs quotes: --param '{key}=\"…\"'"),
        })?,
    };
    Ok((key, value))
}

/// Reads the file of `--body`, less a byte order mark and trailing line breaks, and whether it asks for
/// a stream.
///
/// # Errors
/// A file that cannot be read, or is not one JSON object with the required properties.
pub fn read_body(path: &Path) -> anyhow::Result<(Vec<u8>, bool)> {
    let name = read::name(path, "--body");
    let text = utf8::without_trailing_line_breaks(read::text(path, "--body")?);
    let properties = json::properties(&text, &name).or_else(|error| {
        // Half a character in a message is told by the message's number.
        let body: json::Object = serde_json::from_str(&text).unwrap_or_default();
        let messages = body.get("messages").map(|messages| serde_json::from_str(messages.get()));
        let messages: Vec<&RawValue> = messages.and_then(Result::ok).unwrap_or_default();
        for (i, message) in messages.iter().enumerate() {
            let place = || format!("{name}: message {}", i + 1);
            json::check_characters(message.get()).with_context(place)?;
        }
        Err(error)
    })?;
    let property = |key: &str| properties.get(key).map_or("null", |value| value.get());
    for key in ["model", "messages", "max_tokens"] {
        ensure!(property(key) != "null", "{name} has no {key}, which every request needs");
    }
    let stream = property("stream") == "true";
    Ok((text.into_bytes(), stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(list: &[&str]) -> Result<String, String> {
        let list: Vec<OsString> = list.iter().map(OsString::from).collect();
        let others = others(&list).map_err(|error| format!("{error:#}"))?;
        let texts = others.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(texts.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn params_keep_their_spelling_and_the_last_of_a_key_wins() {
        let json = r#"{"z":1.50,"a":[1e2,-0.0,123456789012345678901234567890]}"#;
        assert_eq!(
            params(&[&format!("b={json}"), "a=1", "b= 2.0 ", &format!("c={json}")]).unwrap(),
            format!("b=2.0 a=1 c={json}")
        );
    }

    #[test]
    fn wrong_params_are_named() {
        const SYNTAX: &str = "--param expects KEY=JSON, such as stop_sequences='[\"END\"]'";
        for (param, expected) in [
            ("x", SYNTAX),
            ("=1", SYNTAX),
            ("-x=1", SYNTAX),
            (
                r#"x=["\ud83e"]"#,
                "--param x: half a character (\\ud83e) that no server accepts; whatever cut the text cut it there",
            ),
            ("stream=true", "--param stream has an option of its own: use --stream"),
            ("metadata={}", "--param metadata has an option of its own: use --metadata"),
            (
                "x=NaN",
                "--param x is not valid JSON (line 1, column 1); a string needs quotes: --param 'x=\"…\"'",
            ),
            ("x=@/nowhere", "cannot read --param x=@/nowhere: No such file or directory"),
        ] {
            assert_eq!(params(&[param]).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_schema_is_merged_into_output_config() {
        let merged = |given: Option<&str>| {
            let schema = RawValue::from_string(r#"{"b":1.0}"#.into()).unwrap();
            let given = given.map(|json| RawValue::from_string(json.into()).unwrap());
            with_schema(&schema, given).map(|merged| merged.get().to_owned())
        };
        let format = r#"{"format":{"type":"json_schema","schema":{"b":1.0}}"#;
        assert_eq!(merged(None).unwrap(), format!("{format}}}"));
        assert_eq!(merged(Some("{ }")).unwrap(), format!("{format}}}"));
        assert_eq!(
            merged(Some(r#"{ "effort":"low", "n":1e1}"#)).unwrap(),
            format!(r#"{format},"effort":"low", "n":1e1}}"#)
        );
        for wrong in [r#"{"format":{}}"#, "7", "[]"] {
            assert!(merged(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
