//! JSON from a server: what must have the expected shape, and what need not.

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::text::replace_lone_surrogates;
use crate::error::Error;

/// The most of an error's body that is read: no message is that long.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// What a server says beside the reply, if it has the expected shape.
pub fn lenient<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// The same for what may hold text that the server cut, half a character at its end. What is far
/// too long would take many times its length in memory.
pub fn lenient_value(json: &str) -> Option<Value> {
    if json.len() > MAX_ERROR_BYTES {
        return None;
    }
    let value = serde_json::from_str(json);
    value.or_else(|_| serde_json::from_str(&replace_lone_surrogates(json))).ok()
}

pub fn malformed(message: &str) -> Error {
    Error::temporary(message)
}

pub fn not_utf8() -> Error {
    malformed("malformed reply: invalid UTF-8")
}

pub fn parse_json<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| unexpected_json(&error))
}

/// What is wrong, without serde's own words: they name our types, and repeat what was found, be it
/// megabytes or the token.
pub fn unexpected_json(error: &serde_json::Error) -> Error {
    let what = match error.classify() {
        Category::Eof => "incomplete JSON",
        Category::Data => "JSON of an unexpected shape",
        Category::Syntax | Category::Io => "invalid JSON",
    };
    let (line, column) = (error.line(), error.column());
    malformed(&format!("malformed reply: {what} (line {line}, column {column})"))
}
