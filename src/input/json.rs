//! JSON from the user: errors in plain words, and values that keep their spelling.

use std::collections::HashMap;

use anyhow::{Context, anyhow, bail, ensure};
use memchr::memmem;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The properties of a JSON object, as they are spelled.
pub type Object<'a> = HashMap<String, &'a RawValue>;

/// Parses one JSON value; `name` says where it came from.
///
/// # Errors
/// Text that is not one JSON value, and half a character in it.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str, name: &str) -> anyhow::Result<T> {
    let value = serde_json::from_str(text);
    let value = value.map_err(|error| anyhow!("{name} {}", describe(&error)))?;
    check_characters(text).with_context(|| name.to_owned())?;
    Ok(value)
}

/// Checks that valid JSON holds no half of a surrogate pair without the other.
///
/// # Errors
/// The first one.
pub fn check_characters(json: &str) -> anyhow::Result<()> {
    let escape = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut pair_end = 0;
    for at in memmem::find_iter(json.as_bytes(), "\\u") {
        let backslashes = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        match escape(at) {
            // The backslash is escaped itself, or the half has its other.
            _ if backslashes % 2 == 1 || at < pair_end => {}
            Some(0xd800..=0xdbff) if matches!(escape(at + 6), Some(0xdc00..=0xdfff)) => {
                pair_end = at + 12;
            }
            Some(0xd800..=0xdfff) => bail!(
                "half a character ({}) that no server accepts; whatever cut the text cut it there",
                &json[at..at + 6]
            ),
            _ => {}
        }
    }
    Ok(())
}

/// Parses one JSON object, unchanged.
///
/// # Errors
/// Text that is not one JSON object.
pub fn object<'a>(text: &'a str, name: &str) -> anyhow::Result<&'a RawValue> {
    let value: &RawValue = parse(text, name)?;
    ensure!(value.get().starts_with('{'), "{name} must be a JSON object");
    Ok(value)
}

/// The properties of one JSON object, as they are spelled; the last of a repeated one counts.
///
/// # Errors
/// Text that is not one JSON object.
pub fn properties<'a>(text: &'a str, name: &str) -> anyhow::Result<Object<'a>> {
    parse(object(text, name)?.get(), name)
}

/// What is wrong, without serde's own words.
pub fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "is incomplete JSON".into(),
        _ => format!("is not valid JSON (line {}, column {})", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_is_found_in_any_string_and_spelling() {
        for (json, half) in [
            (r#""\ud83e""#, Some(r"\ud83e")),
            (r#""\uD83E""#, Some(r"\uD83E")),
            (r#""\udd80""#, Some(r"\udd80")),
            (r#""\ud83e\ud83e\udd80""#, Some(r"\ud83e")),
            (r#""\ud83ex\udd80""#, Some(r"\ud83e")),
            (r#""\ud83e\n""#, Some(r"\ud83e")),
            (r#""\ud83e\\udd80""#, Some(r"\ud83e")),
            (r#""\ud83e","\udd80""#, Some(r"\ud83e")),
            (r#""\udd80\ud83e""#, Some(r"\udd80")),
            (r#"{"a":[{"b\udfff":1}]}"#, Some(r"\udfff")),
            (r#""é\\\uD83E""#, Some(r"\uD83E")),
            (r#""\ud83e\udd80 \uD83E\uDD80""#, None),
            (r#""\\ud83e \"\\uDD80""#, None),
            (r#""\ud7ff\ue000\u0000""#, None),
            (r#""é 🦀 \\""#, None),
            ("[1.50]", None),
        ] {
            let json = format!("[{json}]");
            let found = parse::<&RawValue>(&json, "x").map(RawValue::get);
            let expected = |half| {
                format!(
                    "x: half a character ({half}) that no server accepts; whatever cut the text cut it there"
                )
            };
            let found = found.map_err(|error| format!("{error:#}"));
            assert_eq!(found, half.map_or(Ok(json.as_str()), |half| Err(expected(half))));
        }
        assert_eq!(
            format!("{:#}", parse::<&RawValue>(r#""\ud83e"#, "x").unwrap_err()),
            "x is incomplete JSON"
        );
    }
}
