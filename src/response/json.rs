//! JSON from a server: what must have the expected shape, and what need not.

use std::fmt;

use serde::de::value::{Error as KeyError, StrDeserializer};
use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::text::{JsonText, replace_lone_surrogates};
use crate::error::Error;

/// The most of an error's body that is read: no message is that long.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The properties that are read, of whatever object.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    CacheCreationInputTokens,
    CacheReadInputTokens,
    Code,
    Content,
    ContentBlock,
    Delta,
    Error,
    Errors,
    #[serde(rename = "gatewayMetadata")]
    GatewayMetadata,
    InputTokens,
    #[serde(rename = "keySource")]
    Payer,
    MaxTokens,
    Message,
    OutputTokens,
    RequestId,
    Result,
    State,
    StopDetails,
    StopReason,
    Text,
    Type,
    Usage,
    /// One for all the others, so that they take no memory.
    #[default]
    #[serde(other)]
    Other,
}

/// What is read of an object; the last of a repeated property counts, and null as none. The names of the others may be
/// anything, half a surrogate pair too.
#[derive(Debug, Default)]
pub struct Object<'a>([Option<&'a RawValue>; Key::Other as usize + 1]);

impl<'a> Object<'a> {
    /// Without properties if `value` is no object.
    pub fn new(value: Option<&'a RawValue>) -> Object<'a> {
        lenient(value).unwrap_or_default()
    }

    pub fn get(&self, key: Key) -> Option<&'a RawValue> {
        self.0[key as usize]
    }

    /// A property without which nothing can be made of the rest.
    ///
    /// # Errors
    /// Its absence, and another shape.
    pub fn required<T: Deserialize<'a>>(&self, key: Key) -> Result<T, Error> {
        parse_json(self.get(key).map_or("null", RawValue::get))
    }

    pub fn object(&self, key: Key) -> Object<'a> {
        Object::new(self.get(key))
    }

    /// A string, half a character in it replaced.
    pub fn text(&self, key: Key) -> Option<String> {
        let JsonText(bytes) = lenient(self.get(key))?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Properties;
        impl<'de> Visitor<'de> for Properties {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some((JsonText(name), value)) = map.next_entry::<_, &RawValue>()? {
                    let name: StrDeserializer<KeyError> =
                        std::str::from_utf8(&name).unwrap_or_default().into_deserializer();
                    object.0[Key::deserialize(name).unwrap_or_default() as usize] =
                        Some(value).filter(|value| value.get() != "null");
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Properties)
    }
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
