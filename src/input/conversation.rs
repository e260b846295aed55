//! The conversation of `--messages`: a JSON array or JSON Lines, each message checked, none rewritten.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{self, Object};
use super::read;
use crate::error::shorten;
use crate::utf8::is_blank;

/// Messages as they were given: key order and number spelling reach the body unchanged.
#[derive(Debug, Default)]
pub struct Conversation {
    /// One JSON object each.
    pub messages: Vec<Box<RawValue>>,
    /// The last message is the assistant's, and its text ends in white space.
    has_open_prefill: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

impl Conversation {
    /// Reads the file of `--messages`.
    ///
    /// # Errors
    /// A file that cannot be read, or what [`Conversation::parse`] rejects.
    pub fn read(path: &Path) -> anyhow::Result<Conversation> {
        let name = read::name(path, "--messages");
        Conversation::parse(&read::text(path, "--messages")?, &name)
    }

    /// Parses and checks the messages; `name` says where they came from.
    ///
    /// # Errors
    /// Text that is not JSON, and the first message that breaks the input schema or is known to be
    /// refused by the model.
    pub fn parse(text: &str, name: &str) -> anyhow::Result<Conversation> {
        let messages: Result<Vec<Box<RawValue>>, _> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::Deserializer::from_str(text).into_iter().collect()
        };
        let messages = messages.map_err(|error| anyhow!("{name} {}", json::describe(&error)))?;
        if let [only] = &messages[..] {
            ensure!(
                !is_request_body(only),
                "{name}: this is a whole request body: send it with --body"
            );
        }
        let mut has_open_prefill = false;
        for (i, message) in messages.iter().enumerate() {
            let (role, last_text) =
                check(message).with_context(|| format!("{name}: message {}", i + 1))?;
            has_open_prefill = role == Role::Assistant && last_text.ends_with(char::is_whitespace);
        }
        Ok(Conversation { messages, has_open_prefill })
    }

    /// Checks that this can be sent without a new turn.
    ///
    /// # Errors
    /// No message at all, and a last assistant message, which the reply would continue, that ends in
    /// white space: the model refuses both.
    pub fn check_complete(&self) -> anyhow::Result<()> {
        ensure!(
            !self.messages.is_empty(),
            "--messages contains no message, and there is no prompt"
        );
        ensure!(
            !self.has_open_prefill,
            "the last message of --messages is the assistant's and ends in white space, which the model refuses; trim it"
        );
        Ok(())
    }
}

fn is_request_body(message: &RawValue) -> bool {
    let object: Result<Object, _> = serde_json::from_str(message.get());
    object.is_ok_and(|object| object.contains_key("messages") && !object.contains_key("role"))
}

/// The role, and the text that the message ends with.
fn check(message: &RawValue) -> anyhow::Result<(Role, String)> {
    json::check_characters(message.get())?;
    let object = parse::<Object>(message).context("must be an object with role and content")?;
    let unknown = object.keys().find(|key| !["role", "content"].contains(&key.as_str()));
    if let Some(key) = unknown {
        bail!("unknown property '{}'; only role and content are allowed", shorten(key, 60));
    }
    let role = match object.get("role").map(|role| role.get()) {
        Some("\"user\"") => Role::User,
        Some("\"assistant\"") => Role::Assistant,
        _ => bail!("role must be \"user\" or \"assistant\" (use --system for a system prompt)"),
    };
    let content = object.get("content").context("content is missing")?;
    if let Some(text) = parse::<String>(content) {
        ensure!(!is_blank(&text), "content is blank");
        return Ok((role, text));
    }
    let blocks = parse::<Vec<&RawValue>>(content);
    let blocks = blocks.context("content must be a string or an array of content blocks")?;
    let mut last_text = None;
    for (i, block) in blocks.into_iter().enumerate() {
        last_text = Some(check_block(block).with_context(|| format!("content block {}", i + 1))?);
    }
    Ok((role, last_text.context("content is an empty array")?))
}

/// The text of a content block, by the rules of the input schema. It may hold anything else besides.
fn check_block(block: &RawValue) -> anyhow::Result<String> {
    let block = parse::<Object>(block).context("must be an object with a type")?;
    let kind = block.get("type").and_then(|kind| parse::<String>(kind));
    let kind = kind.context("type must be a string")?;
    let text = match block.get("text") {
        Some(text) => parse(text).context("text must be a string")?,
        None => String::new(),
    };
    ensure!(kind != "text" || !is_blank(&text), "text is blank");
    if let Some(cache_control) = block.get("cache_control") {
        ensure!(
            is_cache_control(cache_control),
            "cache_control must be {{\"type\": \"ephemeral\"}}, with \"ttl\": \"5m\" or \"1h\" if any"
        );
    }
    Ok(text)
}

fn is_cache_control(value: &RawValue) -> bool {
    let property = |(key, value): (&String, &&RawValue)| match key.as_str() {
        "type" => value.get() == "\"ephemeral\"",
        "ttl" => ["\"5m\"", "\"1h\""].contains(&value.get()),
        _ => false,
    };
    parse::<Object>(value)
        .is_some_and(|object| object.contains_key("type") && object.iter().all(property))
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Result<Vec<String>, String> {
        let conversation = Conversation::parse(text, "m").map_err(|error| format!("{error:#}"))?;
        Ok(conversation.messages.iter().map(|message| message.get().to_owned()).collect())
    }

    const USER: &str = r#"{"role":"user","content":"a"}"#;
    const ASSISTANT: &str = r#"{ "content": "b", "role": "assistant" }"#;

    #[test]
    fn arrays_and_lines_are_taken_as_they_are() {
        let both = vec![USER.to_owned(), ASSISTANT.to_owned()];
        assert_eq!(messages(&format!(" [{USER} ,\n{ASSISTANT}]\n")).unwrap(), both);
        assert_eq!(messages(&format!("{USER}\n\n{ASSISTANT}\r\n")).unwrap(), both);
        assert_eq!(messages("").unwrap(), Vec::<String>::new());
        assert_eq!(messages("[]").unwrap(), Vec::<String>::new());
        let blocks = r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"image","n":1.50}]}"#;
        assert_eq!(messages(blocks).unwrap(), vec![blocks.to_owned()]);
    }

    #[test]
    fn the_first_wrong_message_is_named_in_plain_words() {
        for (message, why) in [
            (
                r#"{"role":"system","content":"a"}"#,
                "role must be \"user\" or \"assistant\" (use --system for a system prompt)",
            ),
            (
                r#"{"content":"a"}"#,
                "role must be \"user\" or \"assistant\" (use --system for a system prompt)",
            ),
            (r#"{"role":"user"}"#, "content is missing"),
            (
                r#"{"role":"user","content":"a","name":"x"}"#,
                "unknown property 'name'; only role and content are allowed",
            ),
            (
                r#"{"role":"user","content":7}"#,
                "content must be a string or an array of content blocks",
            ),
            (r#"{"role":"user","content":" \n"}"#, "content is blank"),
            (r#"{"role":"user","content":[]}"#, "content is an empty array"),
            (
                r#"{"role":"user","content":[{"text":"x"}]}"#,
                "content block 1: type must be a string",
            ),
            (r#"{"role":"user","content":[7]}"#, "content block 1: must be an object with a type"),
            (
                r#"{"role":"user","content":[{"type":"x"},{"type":"text","text":""}]}"#,
                "content block 2: text is blank",
            ),
            (
                r#"{"role":"user","content":[{"type":"x","text":null}]}"#,
                "content block 1: text must be a string",
            ),
            (
                r#"{"role":"user","content":[{"type":"x","cache_control":{"type":"long"}}]}"#,
                "content block 1: cache_control must be {\"type\": \"ephemeral\"}, with \"ttl\": \"5m\" or \"1h\" if any",
            ),
            (
                r#"{"role":"user","content":[{"type":"x","k\ud83e":1}]}"#,
                "half a character (\\ud83e) that no server accepts; whatever cut the text cut it there",
            ),
            ("7", "must be an object with role and content"),
        ] {
            let found = messages(&format!("{USER}\n{message}")).unwrap_err();
            assert_eq!(found, format!("m: message 2: {why}"));
        }
        for (text, why) in [
            ("{\"role\"\n x", "m is not valid JSON (line 2, column 2)"),
            ("[{}", "m is incomplete JSON"),
            (
                r#"{"model":"x","messages":[],"max_tokens":1}"#,
                "m: this is a whole request body: send it with --body",
            ),
        ] {
            assert_eq!(messages(text).unwrap_err(), why);
        }
    }

    #[test]
    fn a_prefill_may_not_end_in_white_space() {
        let complete =
            |text: &str| Conversation::parse(text, "m").unwrap().check_complete().is_ok();
        assert!(complete(&format!("{USER}{ASSISTANT}")));
        assert!(!complete(""));
        assert!(!complete(r#"{"role":"assistant","content":"b "}"#));
        assert!(!complete(r#"{"role":"assistant","content":[{"type":"text","text":"b\n"}]}"#));
        assert!(complete(r#"{"role":"user","content":"b "}"#));
    }
}
