//! What the server answers: a reply in one JSON body or in a stream of events, or an error.

mod api_error;
mod json;
mod message;
mod reply;
mod sse;
mod stream;
mod text;

use std::io::{self, Read};

use serde::de::IgnoredAny;

use crate::client::Response;
use crate::error::Error;
use crate::output::Output;
use api_error::ApiError;
use json::{MAX_ERROR_BYTES, malformed};
pub use reply::{Reading, Reply};

/// Reads a response, prints what was asked for, and notes in `reply` what becomes known.
///
/// # Errors
/// Exit status 3 or 4 for a status other than 2xx and for what is not a complete reply; those of
/// [`Output::write`].
pub fn read(
    response: Response<impl Read>,
    reading: Reading,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Error> {
    reply.restart();
    reply.set_headers(&response, reading.token);
    let Response { status, body, .. } = response;
    if !(200..300).contains(&status) {
        let error = match &response.unknown_encoding {
            Some(encoding) => ApiError::unreadable(encoding),
            None => ApiError::parse(&error_body(body)),
        };
        return Err(error.into_error(status, response.retry_headers, reading.token));
    }
    if let Some(encoding) = &response.unknown_encoding {
        return Err(malformed("malformed reply in a content encoding that was not requested")
            .server_message(reading.token.redact(encoding)));
    }
    let media_type = response.content_type.split(';').next().unwrap_or_default();
    if media_type.trim().eq_ignore_ascii_case("text/event-stream") {
        stream::read(body, reading, output, reply)
    } else {
        message::read(status, body, reading, output, reply)
    }
}

/// The body of an error, as far as it comes: to its end, or to the end of its JSON if the server
/// keeps the connection open.
fn error_body(body: impl Read) -> Vec<u8> {
    let mut body = body.take(MAX_ERROR_BYTES as u64);
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match body.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(length @ 1..) => bytes.extend_from_slice(&piece[..length]),
            // A page that was cut still begins with its first words.
            Ok(0) | Err(_) => return bytes,
        }
        let is_end = matches!(bytes.trim_ascii_end().last(), Some(b'}' | b']'));
        if is_end && serde_json::from_slice::<IgnoredAny>(&bytes).is_ok() {
            return bytes;
        }
    }
}
