//! One JSON body to the text of its message, whatever it is wrapped in.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Failure;
use crate::output::Output;
use crate::refusal::{self, Context, Said};
use crate::response::{Asked, Form, Reply, Usage, garbled, lost};

/// The longest body that is taken, in bytes. The longest reply that the model gives is far below
/// 1 MB; this bounds what a hostile server can make us keep.
const LIMIT: usize = 32_000_000;

/// The most of a body that is no message which is looked at for words to show, in bytes.
const PAGE: usize = 64 * 1024;

/// The most objects that a message is taken out of. Two are known of; each is read anew, so that
/// without a bound a small body could keep us busy for hours.
const MOST_WRAPPINGS: usize = 4;

/// The message, wrapped or bare, and whatever says that it is none.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    content: Option<Text>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// The text of a content array: its blocks of type `text`, joined.
struct Text(String);

/// A content block, of which only text is read.
#[derive(Deserialize)]
pub struct Block<'a> {
    /// What the block holds.
    #[serde(rename = "type")]
    pub kind: BlockKind,
    /// Its text, where it is one of text.
    #[serde(borrow, default)]
    pub text: Cow<'a, str>,
}

/// What a content block holds.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Text of the reply.
    Text,
    /// Thinking, a call for a tool, or whatever else.
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;
        impl<'de> Visitor<'de> for Blocks {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of content blocks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Text, A::Error> {
                let mut text = String::new();
                while let Some(block) = blocks.next_element::<Block<'de>>()? {
                    if block.kind != BlockKind::Text {
                        continue;
                    }
                    // The usual single block is moved, not copied: it can be megabytes.
                    if text.is_empty() {
                        text = block.text.into_owned();
                    } else {
                        text.push_str(&block.text);
                    }
                }
                Ok(Text(text))
            }
        }
        deserializer.deserialize_seq(Blocks)
    }
}

/// Reads the body, writes what was asked for of it, and notes in `reply` what it says.
///
/// # Errors
/// Exit status 3 or 4 for what is not a whole message; the errors of [`Output::write`].
pub fn read(
    status: u16,
    body: impl Read,
    asked: Asked<'_>,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let read = body.take(LIMIT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| lost(&error))?;
    if bytes.len() > LIMIT {
        return Err(garbled("the reply is over 32 MB, more than any reply has"));
    }
    let text = parse(status, &bytes, asked.context, reply)?;
    match asked.form {
        Form::Text => output.write_whole(text.into_bytes()),
        Form::Json => output.write_whole(bytes),
        Form::JsonLines => output.write_whole(one_line(bytes)),
    }
}

/// The text of the message in `body`; stop reason and usage go to `reply`.
fn parse(
    status: u16,
    body: &[u8],
    context: Context<'_>,
    reply: &mut Reply,
) -> Result<String, Failure> {
    if body.trim_ascii().is_empty() {
        return Err(garbled(&format!("HTTP {status} with an empty body")));
    }
    let envelope = unwrap(status, body, context)?;
    let Some(Text(text)) = envelope.content else {
        let page = String::from_utf8_lossy(&body[..body.len().min(PAGE)]).into_owned();
        return Err(garbled(&format!("HTTP {status} with JSON that is no message")).said(page));
    };
    reply.stop_reason = envelope.stop_reason;
    reply.usage = envelope.usage.unwrap_or_default();
    reply.take_text(&text);
    Ok(text)
}

/// The innermost of the wrappings around a message, or the failure that one of them tells of.
fn unwrap<'a>(status: u16, body: &'a [u8], context: Context<'_>) -> Result<Envelope<'a>, Failure> {
    let no_message = |error: serde_json::Error| not_a_message(status, body, &error);
    let mut envelope: Envelope = serde_json::from_slice(body).map_err(no_message)?;
    for _ in 0..MOST_WRAPPINGS {
        let errors = envelope.errors.filter(|errors| says_something(errors));
        let error = envelope.error.filter(|error| says_something(error));
        if let Some(error) = errors.or(error) {
            let said = Said::parse(format!(r#"{{"error":{}}}"#, error.get()).as_bytes());
            return Err(refusal::failed_inside(status, &said, context));
        }
        if envelope.state.as_deref() == Some("Failed") {
            let said = Said {
                message: "its state is Failed".into(),
                ..Said::default()
            };
            return Err(refusal::failed_inside(status, &said, context));
        }
        let Some(result) = envelope.result else {
            break;
        };
        envelope = serde_json::from_str(result.get()).map_err(no_message)?;
    }
    Ok(envelope)
}

/// Whether an `errors` or `error` is more than an empty list, object or string, or `false`.
fn says_something(error: &RawValue) -> bool {
    let inside = |c: char| c.is_whitespace() || "[]{}\"".contains(c);
    !matches!(error.get().trim_matches(inside), "" | "false")
}

fn not_a_message(status: u16, body: &[u8], error: &serde_json::Error) -> Failure {
    if !body.trim_ascii_start().starts_with(b"{") {
        return garbled(&format!("HTTP {status} with a page instead of a message"))
            .page(Said::parse(body).message);
    }
    if error.is_eof() {
        return garbled("the reply was cut off on its way: its JSON has no end");
    }
    // serde repeats what it found, be it megabytes or the token: those are the server's words.
    garbled("the reply is garbled").said(error.to_string())
}

/// JSON on one line. A line end in JSON is white space between its parts, and nothing else.
fn one_line(mut json: Vec<u8>) -> Vec<u8> {
    json.truncate(json.trim_ascii_end().len());
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    const CONTEXT: Context<'_> = Context {
        model: "m",
        token_source: "t",
    };

    /// The text of a message, and its stop reason, or the failure's line.
    fn body(bytes: &[u8]) -> Result<(String, Option<String>), String> {
        let mut reply = Reply::default();
        let text = parse(200, bytes, CONTEXT, &mut reply);
        text.map(|text| (text, reply.stop_reason))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn json_on_one_line() {
        for (json, line) in [
            ("{\n \"a\":\r\n1 }\n", "{  \"a\":  1 }"),
            ("{}", "{}"),
            ("", ""),
        ] {
            assert_eq!(one_line(json.into()), line.as_bytes());
        }
    }

    #[test]
    fn errors_that_say_nothing() {
        for (json, says) in [
            ("[]", false),
            ("[ ]", false),
            ("{}", false),
            ("\"\"", false),
            ("false", false),
            ("[{}]", false),
            ("[1]", true),
            ("{\"a\":1}", true),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(says_something(raw), says, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_of_a_body_unchanged(texts in vec(any::<String>(), 0..4)) {
            let content: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
            let message = json!({"content": content, "stop_reason": "end_turn"});
            for wrapped in [message.clone(), json!({"result": message}), json!({"result": {"result": message}})] {
                let (text, reason) = body(wrapped.to_string().as_bytes()).unwrap();
                prop_assert_eq!(&text, &texts.concat());
                prop_assert_eq!(reason.as_deref(), Some("end_turn"));
            }
        }

        #[test]
        fn any_change_to_a_message_is_a_reply_or_a_failure(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = json!({
                "result": {"content": [{"type": "text", "text": "a"}], "stop_reason": null, "usage": {"input_tokens": 1}},
                "errors": [], "state": "Completed",
            }).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = body(&bytes);
            bytes.truncate(at);
            prop_assert!(body(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_a_reply_or_a_failure(bytes in vec(any::<u8>(), 0..200)) {
            let _ = body(&bytes);
        }
    }
}
