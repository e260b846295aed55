//! JSON from a server: what must have the expected shape, and what need not.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::text::{JsonText, replace_lone_surrogates};
use crate::error::Error;

/// The most of an error's body that is read: no message is that long.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The properties of these names in the JSON of an object; the last of a repeated one counts, and null
/// as none. All others may hold anything, and have any name: half a surrogate pair is none to a parser.
///
/// # Errors
/// What is no object. Its syntax is not checked in full.
pub fn properties<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    struct Names<'n, const N: usize>([&'n str; N]);
    impl<'de, const N: usize> Visitor<'de> for Names<'_, N> {
        type Value = [Option<&'de RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = [None; N];
            while let Some((JsonText(found), value)) = map.next_entry::<_, &RawValue>()? {
                if let Some(at) = self.0.iter().position(|name| name.as_bytes() == &*found) {
                    values[at] = Some(value).filter(|value| value.get() != "null");
                }
            }
            Ok(values)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Names(names))
}

/// The same of what may be no object, or not be there at all.
pub fn lenient_properties<'a, const N: usize>(
    value: Option<&'a RawValue>,
    names: [&str; N],
) -> [Option<&'a RawValue>; N] {
    value.and_then(|value| properties(value.get(), names).ok()).unwrap_or([None; N])
}

/// A string, half a character in it replaced.
pub fn lenient_text(value: Option<&RawValue>) -> Option<String> {
    let JsonText(bytes) = lenient(value)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a server says beside the reply, if it has the expected shape.
pub fn lenient<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// The same for what may hold text that the server cut, half a character at its end. What is far
/// too long would take many times its length in memory.
pub fn lenient_value(json: &str) -> Option<Value> {
    if json.len() > 2 * MAX_ERROR_BYTES {
        return None;
    }
    let value = serde_json::from_str(json);
    value.or_else(|_| serde_json::from_str(&replace_lone_surrogates(json))).ok()
}

/// JSON that was cut off, ended within its last string, or else after its last whole value.
pub fn completed(json: &str) -> String {
    let (whole, in_string, closing) = unclosed(json);
    // It may have been cut within an escape.
    let before_escape = &json[..json.rfind('\\').unwrap_or(0)];
    let mut ends = [json, before_escape].into_iter().filter(|_| in_string);
    let last_string = ends.find_map(|json| {
        Some(format!("{json}\"{closing}")).filter(|json| lenient_value(json).is_some())
    });
    last_string.unwrap_or_else(|| {
        let whole = &json[..whole];
        format!("{whole}{}", unclosed(whole).2)
    })
}

/// The end of the last value that is whole, whether the end is within a string, and what closes it.
fn unclosed(json: &str) -> (usize, bool, String) {
    let (mut whole, mut in_string, mut escaped, mut open) = (0, false, false, Vec::new());
    for (at, c) in json.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            ',' => whole = at,
            '{' | '[' | '}' | ']' => {
                whole = at + 1;
                match c {
                    '{' => open.push('}'),
                    '[' => open.push(']'),
                    _ => drop(open.pop()),
                }
            }
            _ => {}
        }
    }
    (whole, in_string, open.iter().rev().collect())
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
