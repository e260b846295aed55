//! What the server answers: a reply in one JSON body or in a stream of events, or an error.

mod api_error;
mod json;
mod meaning;
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
    let Response { head, body } = response;
    let status = head.status;
    let unknown_encoding = head.unknown_encoding.clone();
    let media_type = head.content_type.split(';').next().unwrap_or_default();
    let is_stream = media_type.trim().eq_ignore_ascii_case("text/event-stream");
    reply.restart(head);
    if (300..400).contains(&status) {
        // Its page says nothing but where it leads.
        return Err(Error::rejected(format!(
            "HTTP {status}: unexpected redirect (not followed); check --base-url"
        )));
    }
    if !(200..300).contains(&status) {
        let error = match &unknown_encoding {
            Some(encoding) => ApiError::unreadable(encoding),
            None if is_stream => stream::error_in(&error_body(body)),
            None => ApiError::parse(&error_body(body)),
        };
        return Err(reply.failure(error, format!("HTTP {status}")));
    }
    if let Some(encoding) = unknown_encoding {
        return Err(malformed("malformed reply in a content encoding that was not requested")
            .server_message(encoding));
    }
    if is_stream {
        stream::read(body, reading, output, reply)
    } else {
        message::read(body, reading, output, reply)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::client::{Head, RetryHeaders};
    use crate::error::Retry;
    use crate::output::OutputFormat;
    use crate::output::progress::Progress;

    const EVENTS: &str = "text/event-stream";

    /// The error that a response is, if the server says `retry_headers`.
    fn error_of(status: u16, content_type: &str, body: &str, retry_headers: RetryHeaders) -> Error {
        let head =
            Head { status, content_type: content_type.into(), retry_headers, ..Head::default() };
        let response = Response { head, body: body.as_bytes() };
        let reading = Reading { format: OutputFormat::Text, stream: true };
        let mut output = Output::open(Some(Path::new("/dev/null")), Progress::default()).unwrap();
        read(response, reading, &mut output, &mut Reply::default()).unwrap_err()
    }

    fn error(status: u16, content_type: &str, body: &str) -> Error {
        error_of(status, content_type, body, RetryHeaders::default())
    }

    /// Whether the advice is `expected`; none at all if that is empty.
    fn advises(error: &Error, expected: &str) -> bool {
        let token =
            error.token_advice.map_or_else(String::new, |words| format!("the token{words}"));
        let line = format!("{error}; {token}");
        let advice = ["check", "choose", "load", "raise", "send less", "Cloudflare", "the token"];
        match expected {
            "" => advice.iter().all(|words| !line.contains(words)),
            TOKEN => token == expected,
            _ => line.contains(expected),
        }
    }

    const TOKEN: &str = "the token";
    const MAY_USE_AI: &str = "the token: it needs the permission Workers AI Read";
    const LIMIT: &str = "raise the limit";
    const CREDITS: &str = "load credits at";
    const CREDENTIAL: &str = "load credits, or store a provider key in the gateway";
    const ACCOUNT: &str = "check the account ID";

    /// Code, message, usual HTTP status, exit status, how a stream is retried, advice.
    const CODES: [(i64, &str, u16, u8, Retry, &str); 33] = [
        (6003, "x", 400, 3, Retry::Never, TOKEN),
        (6100, "x", 400, 3, Retry::Never, TOKEN),
        (6103, "x", 400, 3, Retry::Never, TOKEN),
        (6111, "x", 400, 3, Retry::Never, TOKEN),
        (9106, "x", 400, 3, Retry::Never, MAY_USE_AI),
        (9109, "x", 403, 3, Retry::Never, MAY_USE_AI),
        (10000, "x", 401, 3, Retry::Never, MAY_USE_AI),
        (10000, "x", 403, 3, Retry::Never, MAY_USE_AI),
        (10000, "x", 404, 3, Retry::Never, MAY_USE_AI),
        (10000, "x", 500, 3, Retry::Never, MAY_USE_AI),
        (2001, "x", 400, 3, Retry::Never, "check --gateway"),
        (2009, "x", 401, 3, Retry::Never, "check the provider key stored in the gateway"),
        (2021, "x", 402, 3, Retry::Never, CREDITS),
        (2021, "Rate limit reached", 402, 4, Retry::RateLimitBackoff, ""),
        (7000, "x", 400, 3, Retry::Never, ACCOUNT),
        (7003, "x", 404, 3, Retry::Never, ACCOUNT),
        (7010, "x", 410, 3, Retry::Never, "choose another --model"),
        (2016, "x", 422, 3, Retry::Never, ""),
        (2017, "x", 424, 3, Retry::Never, ""),
        (2041, "x", 429, 3, Retry::Never, LIMIT),
        (2045, "x", 403, 3, Retry::Never, LIMIT),
        (1, "Spending limit exceeded", 429, 3, Retry::Never, LIMIT),
        (2003, "Spending limit exceeded", 429, 3, Retry::Never, LIMIT),
        (2003, "x", 429, 4, Retry::RateLimitBackoff, ""),
        (2003, "x", 400, 4, Retry::RateLimitBackoff, ""),
        (2018, "x", 429, 4, Retry::RateLimitBackoff, ""),
        (7013, "x", 503, 4, Retry::Never, ""),
        (7013, "x", 403, 4, Retry::Never, ""),
        (1010, "x", 403, 3, Retry::Never, "Cloudflare blocked this client or network"),
        // Not in the table: temporary, as is what has no code.
        (6004, "x", 500, 4, Retry::Never, ""),
        (6112, "x", 500, 4, Retry::Never, ""),
        (3043, "x", 500, 4, Retry::Never, ""),
        (1, "Rate limit reached", 500, 4, Retry::Never, ""),
    ];

    /// The same with Anthropic's type.
    const TYPES: [(&str, &str, u16, u8, Retry, &str); 15] = [
        ("authentication_error", "x", 401, 3, Retry::Never, CREDENTIAL),
        ("authentication_error", "x", 500, 3, Retry::Never, CREDENTIAL),
        ("permission_error", "x", 403, 3, Retry::Never, ""),
        ("billing_error", "x", 402, 3, Retry::Never, CREDITS),
        ("billing_error", "Rate limit", 402, 4, Retry::RateLimitBackoff, ""),
        ("not_found_error", "x", 404, 3, Retry::Never, "check --model"),
        ("invalid_request_error", "x", 400, 3, Retry::Never, ""),
        ("invalid_request_error", "No Credentials", 400, 3, Retry::Never, CREDENTIAL),
        ("request_too_large", "x", 413, 3, Retry::Never, "send less: the API's limit is 32 MB"),
        ("rate_limit_error", "x", 429, 4, Retry::RateLimitBackoff, ""),
        ("rate_limit_error", "Spending limit", 429, 3, Retry::Never, LIMIT),
        ("overloaded_error", "x", 529, 4, Retry::Backoff, ""),
        ("api_error", "x", 500, 4, Retry::Never, ""),
        ("timeout_error", "x", 504, 4, Retry::Never, ""),
        ("new_error", "x", 500, 4, Retry::Never, ""),
    ];

    /// What the rows say, wherever an error stands that holds `inner` as its properties.
    #[track_caller]
    fn check(inner: &str, status: u16, exit: u8, in_stream: Retry, expected: &str) {
        let list = format!(r#"{{"success":false,"errors":[{{{inner}}}],"result":null}}"#);
        let gateway = format!(r#"{{"success":false,"error":[{{{inner}}}]}}"#);
        let one = format!(r#"{{"type":"error","error":{{{inner}}}}}"#);
        let chain =
            format!(r#"{{"errors":[{{"code":1,"message":"y","error_chain":[{{{inner}}}]}}]}}"#);
        let failed = format!(r#"{{"state":"Failed","error":{{{inner}}}}}"#);
        let cut = format!(r#"{{"errors":[{{{inner},"documentation_url":"https:"#);
        for body in [&list, &gateway, &one, &chain, &failed, &cut] {
            for (status, content_type, body) in [
                (status, "application/json", body.clone()),
                (status, EVENTS, format!("event: error\ndata: {body}\n\n")),
                (status, EVENTS, format!("data: {body}\n")),
                (200, "application/json", body.clone()),
                (200, "application/json", format!(r#"{{"result":{body}}}"#)),
                (200, EVENTS, format!("event: error\ndata: {body}\n\n")),
                (200, EVENTS, format!("event: error\ndata: {body}")),
                (200, EVENTS, format!("data: {body}\n\n")),
                (200, EVENTS, format!("event: message\ndata: {body}\n\n")),
            ] {
                // JSON that is cut off is malformed in an event without a name, and in a wrapping.
                if body.contains("https:") && (body.contains("result") || body.starts_with("data"))
                    || body.contains("https:") && body.starts_with("event: message")
                {
                    continue;
                }
                let error = error(status, content_type, &body);
                assert_eq!(error.status as u8, exit, "{body}: {error}");
                let place = format!("{status} {body}: {error}");
                assert!(advises(&error, expected), "no {expected:?} in {place}");
                let retry = match (status, content_type) {
                    (200, EVENTS) => in_stream,
                    (200, _) => Retry::Never,
                    _ if exit == 3 => Retry::Never,
                    _ if status == 429 => Retry::RateLimitBackoff,
                    _ if in_stream == Retry::RateLimitBackoff => in_stream,
                    _ => Retry::Backoff,
                };
                assert_eq!(error.retry, retry, "{place}");
            }
        }
    }

    #[test]
    fn a_code_means_the_same_wherever_it_stands() {
        for (code, message, status, exit, in_stream, expected) in CODES {
            for code in [format!("{code}"), format!("\"{code}\"")] {
                let inner = format!(r#""code":{code},"message":"{message}""#);
                check(&inner, status, exit, in_stream, expected);
            }
        }
    }

    #[test]
    fn a_type_means_the_same_wherever_it_stands() {
        for (kind, message, status, exit, in_stream, expected) in TYPES {
            let inner = format!(r#""type":"{kind}","message":"{message}""#);
            check(&inner, status, exit, in_stream, expected);
        }
    }

    #[test]
    fn without_a_code_and_a_type_the_status_decides() {
        for (status, body, exit, expected) in [
            (101, "x", 4, ""),
            (302, "x", 3, "check --base-url"),
            (400, "x", 3, ""),
            (400, r#"{"error":{"code":1,"message":"No credentials"}}"#, 3, CREDENTIAL),
            (401, "x", 3, MAY_USE_AI),
            (401, r#"{"error":{"code":1,"type":"new_error","message":"x"}}"#, 3, MAY_USE_AI),
            (402, "x", 3, CREDITS),
            (402, "Rate limit", 4, ""),
            (403, "", 3, MAY_USE_AI),
            (403, "{}", 3, MAY_USE_AI),
            (403, r#"{"success":false,"errors":[]}"#, 3, MAY_USE_AI),
            (403, r#"{"error":{"message":"Blocked by policy"}}"#, 3, ""),
            (403, "error code: 1010", 3, "Cloudflare blocked this client or network"),
            (403, "<title>Just a moment...</title>", 3, "Cloudflare blocked this client"),
            (404, "x", 3, "check --model and the account ID"),
            (404, "Model not found", 3, "check --model"),
            (408, "x", 4, ""),
            (409, "x", 4, ""),
            (410, "x", 3, "choose another --model"),
            (413, "x", 3, "send less: the API's limit is 32 MB"),
            (418, "x", 3, ""),
            (422, "x", 3, ""),
            (424, "x", 3, ""),
            (429, "x", 4, ""),
            (429, "Spending limit exceeded", 3, LIMIT),
            (500, "x", 4, ""),
            (503, r#"{"error":[{"code":2009,"message":"x"}]}"#, 4, ""),
            (529, "x", 4, ""),
            (599, "x", 4, ""),
        ] {
            let error = error(status, "application/json", body);
            assert_eq!(error.status as u8, exit, "{status} {body}: {error}");
            assert!(advises(&error, expected), "no {expected:?} in {status} {body}: {error}");
            assert_eq!(error.retry != Retry::Never, exit == 4 && status >= 400, "{status}");
        }
    }
}
