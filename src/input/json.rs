//! JSON from the user: errors in plain words, and values that keep their spelling.

use std::collections::HashMap;

use anyhow::{anyhow, ensure};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The properties of a JSON object, as they are spelled.
pub type Object<'a> = HashMap<String, &'a RawValue>;

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
    ensure!(value.get().starts_with('{'), "{name} must be a JSON object");
    Ok(value)
}

/// The properties of one JSON object, as they are spelled; the last of a repeated one counts.
///
/// # Errors
/// Text that is not one JSON object.
pub fn properties<'a>(text: &'a str, name: &str) -> anyhow::Result<Object<'a>> {
    let value: &RawValue = parse(text, name)?;
    ensure!(value.get().starts_with('{'), "{name} must be a JSON object");
    parse(value.get(), name)
}

/// What is wrong, without serde's own words.
pub fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "is incomplete JSON".into(),
        _ => format!("is not valid JSON (line {}, column {})", error.line(), error.column()),
    }
}
