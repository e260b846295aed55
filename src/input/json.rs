//! JSON from the user: errors in plain words, and values that keep their spelling.

use anyhow::anyhow;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Parses one JSON value; `name` says where it came from.
///
/// # Errors
/// Text that is not one JSON value.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str, name: &str) -> anyhow::Result<T> {
    serde_json::from_str(text).map_err(|error| anyhow!("{name} {}", describe(&error)))
}

/// Parses one JSON object, unchanged.
///
/// # Errors
/// Text that is not one JSON object.
pub fn object(text: &str, name: &str) -> anyhow::Result<Box<RawValue>> {
    let value: Box<RawValue> = parse(text, name)?;
    anyhow::ensure!(value.get().starts_with('{'), "{name} must be a JSON object");
    Ok(value)
}

/// What is wrong, without serde's own words.
pub fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "is incomplete JSON".into(),
        _ => format!("is not valid JSON (line {}, column {})", error.line(), error.column()),
    }
}
