//! The conversation that `--messages` brings: a JSON array or JSON Lines, each message checked, none rewritten.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::{Failure, shorten};

/// The most of serde's words that is shown, in characters: they repeat what they complain of.
const LONGEST: usize = 200;

/// Messages as they were given: key order and number spelling reach the body unchanged.
#[derive(Debug, Default)]
pub struct Conversation {
    /// One JSON object each.
    pub messages: Vec<Box<RawValue>>,
    ends_with_prefill: bool,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    role: Role,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// What the input schema says of a content block; it may hold anything else besides.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "not_null")]
    text: Option<String>,
    #[serde(default, deserialize_with = "not_null", rename = "cache_control")]
    _cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheControl {
    #[serde(rename = "type")]
    _kind: Ephemeral,
    #[serde(default, deserialize_with = "not_null", rename = "ttl")]
    _ttl: Option<Ttl>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ephemeral {
    Ephemeral,
}

#[derive(Deserialize)]
enum Ttl {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    OneHour,
}

/// A property that may be missing, but is not null where it is there.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Conversation {
    /// Takes `text` apart; `name` says where it came from.
    ///
    /// # Errors
    /// Exit status 2 for what is no JSON, or no `{role, content}` of the input schema, naming the
    /// message; also for what the model is known to refuse: blank content.
    pub fn parse(text: &str, name: &str) -> Result<Conversation, Failure> {
        let messages: Result<Vec<Box<RawValue>>, _> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::Deserializer::from_str(text)
                .into_iter()
                .collect()
        };
        let messages = messages.map_err(|error| {
            Failure::usage(format!(
                "{name} is neither a JSON array nor JSON Lines: {error}"
            ))
        })?;
        let mut ends_with_prefill = false;
        for (i, message) in messages.iter().enumerate() {
            let (role, last_text) = check(message)
                .map_err(|why| Failure::usage(format!("{name}: message {}: {why}", i + 1)))?;
            ends_with_prefill = role == Role::Assistant && last_text.ends_with(char::is_whitespace);
        }
        Ok(Conversation {
            messages,
            ends_with_prefill,
        })
    }

    /// Checks that this can be sent with no prompt after it.
    ///
    /// # Errors
    /// Exit status 2 for no message at all, and for a last assistant turn, which the reply would
    /// continue, that ends in white space: the model refuses both.
    pub fn check_alone(&self) -> Result<(), Failure> {
        if self.messages.is_empty() {
            return Err(Failure::usage(
                "--messages holds no message, and there is no prompt",
            ));
        }
        if self.ends_with_prefill {
            return Err(Failure::usage(
                "the last message of --messages is the assistant's and ends in white space, \
                 which the model refuses to continue",
            )
            .advice("trim its end"));
        }
        Ok(())
    }
}

/// The role, and the text that the message ends with.
fn check(message: &RawValue) -> Result<(Role, String), String> {
    let Message { role, content } = serde_json::from_str(message.get()).map_err(reason)?;
    let text = if content.get().starts_with('"') {
        let text: String = serde_json::from_str(content.get()).map_err(reason)?;
        if text.trim().is_empty() {
            return Err("content is blank".into());
        }
        text
    } else if content.get().starts_with('[') {
        last_text(serde_json::from_str(content.get()).map_err(reason)?)?
    } else {
        return Err("content is neither a string nor an array of content blocks".into());
    };
    Ok((role, text))
}

fn last_text(mut blocks: Vec<Block>) -> Result<String, String> {
    for block in &blocks {
        if block.kind == "text"
            && block
                .text
                .as_ref()
                .is_none_or(|text| text.trim().is_empty())
        {
            return Err("a text block is blank".into());
        }
    }
    let last = blocks.pop().ok_or("content is an empty array")?;
    Ok(last.text.unwrap_or_default())
}

/// What is wrong, without the line and column that serde adds: they would be the message's own,
/// not the file's.
fn reason(error: serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    shorten(&text[..end], LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        Conversation::parse(text, "m")
            .map(|c| c.messages.iter().map(|m| m.get().to_owned()).collect())
            .map_err(|failure| failure.to_string())
    }

    const USER: &str = r#"{"role":"user","content":"a"}"#;
    const ASSISTANT: &str = r#"{ "content": "b", "role": "assistant" }"#;

    #[test]
    fn arrays_and_lines_are_taken_as_they_are() {
        let both = vec![USER.to_owned(), ASSISTANT.to_owned()];
        assert_eq!(parse(&format!(" [{USER} ,\n{ASSISTANT}]\n")).unwrap(), both);
        assert_eq!(parse(&format!("{USER}\n\n{ASSISTANT}\r\n")).unwrap(), both);
        assert_eq!(parse("").unwrap(), Vec::<String>::new());
        assert_eq!(parse("[]").unwrap(), Vec::<String>::new());
        let blocks = r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"image","n":1.50}]}"#;
        assert_eq!(parse(blocks).unwrap(), vec![blocks.to_owned()]);
    }

    #[test]
    fn a_wrong_message_is_named() {
        for (message, why) in [
            (
                r#"{"role":"system","content":"a"}"#,
                "unknown variant `system`, expected `user` or `assistant`",
            ),
            (r#"{"role":"user"}"#, "missing field `content`"),
            (
                r#"{"role":"user","content":"a","name":"x"}"#,
                "unknown field `name`, expected `role` or `content`",
            ),
            (
                r#"{"role":"user","content":7}"#,
                "content is neither a string nor an array of content blocks",
            ),
            (r#"{"role":"user","content":" \n"}"#, "content is blank"),
            (
                r#"{"role":"user","content":[]}"#,
                "content is an empty array",
            ),
            (
                r#"{"role":"user","content":[{"text":"x"}]}"#,
                "missing field `type`",
            ),
            (
                r#"{"role":"user","content":[{"type":"text","text":""}]}"#,
                "a text block is blank",
            ),
            (
                r#"{"role":"user","content":[{"type":"x","text":null}]}"#,
                "invalid type: null, expected a string",
            ),
            (
                r#"{"role":"user","content":[{"type":"x","cache_control":{"type":"long"}}]}"#,
                "unknown variant `long`, expected `ephemeral`",
            ),
            ("7", "invalid type: integer `7`, expected struct Message"),
        ] {
            let expected = format!("m: message 2: {why}");
            assert_eq!(parse(&format!("[{USER},{message}]")).unwrap_err(), expected);
            assert_eq!(
                parse(&format!("{USER}\n{message}\n")).unwrap_err(),
                expected
            );
        }
    }

    #[test]
    fn what_is_no_json_is_named() {
        for text in ["hello", "[1", "{\"role\"", "[] x"] {
            let why = parse(text).unwrap_err();
            assert!(
                why.starts_with("m is neither a JSON array nor JSON Lines: "),
                "{why}"
            );
        }
    }

    #[test]
    fn what_cannot_be_sent_alone() {
        let alone = |text: &str| {
            Conversation::parse(text, "m")
                .unwrap()
                .check_alone()
                .is_ok()
        };
        assert!(alone(USER));
        assert!(alone(ASSISTANT));
        assert!(!alone(""));
        assert!(!alone(r#"{"role":"assistant","content":"b "}"#));
        assert!(!alone(
            r#"{"role":"assistant","content":[{"type":"text","text":"b\n"}]}"#
        ));
        assert!(alone(r#"{"role":"user","content":"b "}"#));
    }
}
