//! A reply in one JSON body: the message, whatever it is wrapped in, and its text.

use std::io::{ErrorKind, Read};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::api_error::ApiError;
use super::json::{
    MAX_ERROR_BYTES, completed, lenient, lenient_properties, lenient_text, malformed, not_utf8,
    parse_json, unexpected_json,
};
use super::reply::{Reading, Reply};
use super::text::JsonText;
use crate::error::{Error, Retry};
use crate::output::{MAX_REPLY_BYTES, Output, OutputFormat, too_large};

/// Two wrappings are known of. Each is parsed anew, so that without a bound a small body could keep
/// us busy for hours.
const MAX_WRAPPINGS: usize = 4;

/// Many times what the longest reply can have. Millions of them would take many times their length
/// in memory.
const MAX_BLOCKS: usize = 100_000;

/// Adds a content block to `reply`, and its text to `text`.
///
/// # Errors
/// A text block whose text is not a string.
pub fn read_block(
    block: Option<&RawValue>,
    reply: &mut Reply,
    text: &mut Vec<u8>,
) -> Result<(), Error> {
    let [kind, piece] = lenient_properties(block, ["type", "text"]);
    if lenient_text(kind).as_deref() == Some("text") {
        return read_text(piece, reply, text);
    }
    reply.take_other_block();
    Ok(())
}

/// Adds the text of a content block, or of a piece of it, if it has one.
///
/// # Errors
/// A text that is not a string.
pub fn read_text(
    json: Option<&RawValue>,
    reply: &mut Reply,
    text: &mut Vec<u8>,
) -> Result<(), Error> {
    let piece = json.map(|json| parse_json::<JsonText>(json.get())).transpose()?;
    reply.take_text(&piece.unwrap_or_default().0, text)
}

/// Reads the body, prints what was asked for, and notes in `reply` what it says.
///
/// # Errors
/// Exit status 3 or 4 for what is not a complete message; those of [`Output::write`].
pub fn read(
    body: impl Read,
    reading: Reading,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let lost = body.take(MAX_REPLY_BYTES as u64 + 1).read_to_end(&mut bytes).err();
    if bytes.len() > MAX_REPLY_BYTES {
        return Err(too_large());
    }
    let mut text = Vec::new();
    let parsed = parse(&bytes, reply, &mut text);
    // A message that is complete in itself is complete, however its connection ended, unless it is
    // not what the server sent.
    if let Some(lost) = lost
        && (parsed.is_err() || lost.kind() == ErrorKind::InvalidData)
        && !reply.has_failed
    {
        return Err(Error::temporary(lost.to_string()));
    }
    parsed?;
    match reading.format {
        OutputFormat::Text => {
            drop(bytes);
            output.write_whole(text)
        }
        OutputFormat::Json => output.write_whole(bytes),
        OutputFormat::JsonLines => output.write_whole(one_line(bytes)),
    }
}

/// Finds the message in `body`; its text goes to `text`, everything else to `reply`.
fn parse(body: &[u8], reply: &mut Reply, text: &mut Vec<u8>) -> Result<(), Error> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii();
    if body.is_empty() {
        let status = reply.head.status;
        return Err(malformed(&format!("malformed reply: HTTP {status} with an empty body")));
    }
    let body = std::str::from_utf8(body).map_err(|_| not_utf8())?;
    let message = Some(unwrap(body, reply)?);
    let [content, usage] = lenient_properties(message, ["content", "usage"]);
    let count = lenient::<Vec<IgnoredAny>>(content).map_or(0, |blocks| blocks.len());
    if count > MAX_BLOCKS {
        return Err(malformed(&format!("malformed reply: {count} content blocks")));
    }
    let blocks: Option<Vec<&RawValue>> = lenient(content);
    let Some(blocks) = blocks else {
        return Err(not_a_message(body, reply));
    };
    for block in blocks {
        read_block(Some(block), reply, text)?;
    }
    reply.finish_text(text)?;
    reply.set_usage(usage);
    reply.set_stop(message);
    Ok(())
}

/// The innermost object of the wrappings around a message, or the error that one of them reports.
fn unwrap<'a>(body: &'a str, reply: &mut Reply) -> Result<&'a RawValue, Error> {
    let mut message: &RawValue = match serde_json::from_str(body) {
        Ok(json) if body.starts_with('{') => json,
        Err(error) if error.is_eof() && body.starts_with('{') => {
            let part = completed(body.get(..MAX_ERROR_BYTES).unwrap_or(body));
            serde_json::from_str(&part).map_or(Ok(()), |part| report(part, reply))?;
            return Err(malformed("truncated reply: incomplete JSON"));
        }
        Err(error) if body.starts_with('{') => return Err(unexpected_json(&error)),
        _ => return Err(not_a_message(body, reply)),
    };
    for _ in 0..MAX_WRAPPINGS {
        report(message, reply)?;
        reply.set_key_source(Some(message));
        let [result] = lenient_properties(Some(message), ["result"]);
        match result.filter(|result| result.get().starts_with('{')) {
            Some(result) => message = result,
            None => break,
        }
    }
    Ok(message)
}

/// # Errors
/// The error that `object` reports, if it does.
fn report(object: &RawValue, reply: &mut Reply) -> Result<(), Error> {
    let Some(error) = ApiError::reported(object) else {
        return Ok(());
    };
    let what = format!("the request failed (HTTP {})", reply.head.status);
    // A success has begun, and is not requested again.
    Err(reply.failure(error, what).retry(Retry::Never))
}

fn not_a_message(body: &str, reply: &Reply) -> Error {
    malformed(&format!("malformed reply: HTTP {} without a message", reply.head.status))
        .server_message(ApiError::parse(body.as_bytes()).words())
}

/// JSON on one line. A line break in JSON is white space between its parts, and nothing else.
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

    /// The text of a message and its stop reason, or the error.
    fn message(bytes: &[u8]) -> Result<(String, Option<String>), Error> {
        let (mut reply, mut text) = (Reply::default(), Vec::new());
        reply.head.status = 200;
        parse(bytes, &mut reply, &mut text)?;
        Ok((String::from_utf8(text).unwrap(), reply.stop_reason))
    }

    #[test]
    fn json_becomes_one_line() {
        for (json, line) in [("{\n \"a\":\r\n1 }\n", "{  \"a\":  1 }"), ("{}", "{}"), ("", "")] {
            assert_eq!(one_line(json.into()), line.as_bytes());
        }
    }

    #[test]
    fn odd_values_beside_the_reply_do_not_spoil_it() {
        let base = json!({"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"});
        for (key, value) in [
            ("usage", json!(7)),
            ("usage", json!({"input_tokens": "many", "output_tokens": -1.5, "x": null})),
            ("state", json!(7)),
            ("errors", json!([null])),
            ("errors", json!([])),
            ("errors", json!([[], {}, "", false])),
            ("error", json!(null)),
            ("result", json!(null)),
            ("stop_details", json!([1])),
            (
                "content",
                json!([{"type": "x", "text": null}, {"type": "y", "text": 7}, {"type": "text", "text": "a"}]),
            ),
        ] {
            let mut body = base.clone();
            body[key] = value;
            let (text, reason) = message(body.to_string().as_bytes()).unwrap();
            assert_eq!((text.as_str(), reason.as_deref()), ("a", Some("end_turn")), "{body}");
        }
        let twice = r#"{"usage":1,"usage":2,"content":[{"type":"text","text":"a"}]}"#;
        assert_eq!(message(twice.as_bytes()).unwrap().0, "a");
    }

    #[test]
    fn what_is_not_a_message_is_an_error() {
        for (body, expected) in [
            (" \n", "malformed reply: HTTP 200 with an empty body"),
            ("<title>Oh no</title>", "malformed reply: HTTP 200 without a message: Oh no"),
            ("[1]", "malformed reply: HTTP 200 without a message: [1]"),
            ("{\"content\":", "truncated reply: incomplete JSON"),
            ("{\"content\":x}", "malformed reply: invalid JSON (line 1, column 12)"),
            (
                r#"{"content":[{"type":"text","text":["t0ken"]}]}"#,
                "malformed reply: JSON of an unexpected shape (line 1, column 1)",
            ),
            ("{\"a\":1}", "malformed reply: HTTP 200 without a message: {\"a\":1}"),
            ("{\"result\":7}", "malformed reply: HTTP 200 without a message: {\"result\":7}"),
            (r#"{"errors":[1]}"#, "the request failed (HTTP 200)"),
            (r#"{"state":"Failed"}"#, "the request failed (HTTP 200): its state is Failed"),
        ] {
            let error = message(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_of_a_body_unchanged(texts in vec(any::<String>(), 0..4)) {
            let content: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
            let bare = json!({"content": content, "stop_reason": "end_turn"});
            for wrapped in [bare.clone(), json!({"result": bare}), json!({"result": {"result": bare}})] {
                let (text, reason) = message(wrapped.to_string().as_bytes()).unwrap();
                prop_assert_eq!(&text, &texts.concat());
                prop_assert_eq!(reason.as_deref(), Some("end_turn"));
            }
        }

        #[test]
        fn any_change_to_a_message_is_a_reply_or_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = json!({
                "result": {"content": [{"type": "text", "text": "a"}], "stop_reason": null, "usage": {"input_tokens": 1}},
                "errors": [], "state": "Completed",
            }).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = message(&bytes);
            bytes.truncate(at);
            prop_assert!(message(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_a_reply_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            let _ = message(&bytes);
        }
    }
}
