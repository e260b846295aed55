//! What a server answers instead of a reply: every shape of an error.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::{MAX_ERROR_BYTES, completed, lenient_properties, lenient_value};
use crate::error::words_of_page;

/// An error as a server reports it. Its words are whole: they are redacted before they are shortened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    messages: Vec<String>,
    pub codes: Vec<i64>,
    /// Each `type`, such as `overloaded_error`.
    pub kinds: Vec<String>,
    pub request_id: Option<String>,
    /// There is no message, not even a page.
    pub is_wordless: bool,
    /// Cloudflare answers in place of its API.
    pub is_challenge: bool,
}

impl ApiError {
    pub fn new(message: &str) -> ApiError {
        ApiError { messages: vec![message.into()], ..ApiError::default() }
    }

    /// The error in a body whose Content-Encoding was not asked for.
    pub fn unreadable(encoding: &str) -> ApiError {
        ApiError::new(&format!(
            "the body is in the content encoding {encoding}, which was not requested"
        ))
    }

    /// Parses the body of an error, as much of it as came: JSON of any known shape, or else a page or
    /// plain text.
    pub fn parse(body: &[u8]) -> ApiError {
        let body = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BYTES)]);
        let body = body.trim().trim_start_matches('\u{feff}');
        let mut error = ApiError::default();
        let cut = || lenient_value(&completed(body)).filter(|_| body.starts_with('{'));
        let json = lenient_value(body).or_else(cut).filter(|json| !json.is_string());
        match &json {
            Some(value) => error.add(value),
            None => error.add_message(&words_of_page(body)),
        }
        if error.messages.is_empty() {
            error.is_wordless = error.kinds.is_empty();
            let words =
                error.kinds.last().cloned().or(json.filter(says_something).map(|_| body.into()));
            error.add_message(&words.unwrap_or_default());
        }
        error
    }

    /// The error that an object reports which might as well be a reply: in `errors` or `error`, if they
    /// are more than an empty list, object or string, or as its state.
    pub fn reported(object: &RawValue) -> Option<ApiError> {
        const NAMES: [&str; 6] = ["code", "type", "request_id", "message", "errors", "error"];
        let values = lenient_properties(Some(object), NAMES);
        let [state] = lenient_properties(Some(object), ["state"]);
        let reports = values[4..].iter().flatten().any(|json| {
            let json = json.get();
            json.len() > MAX_ERROR_BYTES || lenient_value(json).as_ref().is_some_and(says_something)
        });
        if !reports {
            let has_failed = state.is_some_and(|state| state.get() == "\"Failed\"");
            return has_failed.then(|| ApiError::new("its state is Failed"));
        }
        let json = |(name, value): (&str, Option<&RawValue>)| {
            value.map(|value| format!("\"{name}\":{}", value.get()))
        };
        let all: Vec<_> = NAMES.into_iter().zip(values).filter_map(json).collect();
        Some(ApiError::parse(format!("{{{}}}", all.join(",")).as_bytes()))
    }

    /// Adds a list of errors, one error, or a message.
    fn add(&mut self, value: &Value) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| self.add(value)),
            Value::String(message) => self.add_message(message),
            Value::Object(object) => self.add_object(object),
            _ => {}
        }
    }

    fn add_object(&mut self, object: &Map<String, Value>) {
        let text =
            |key: &str| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let code = object.get("code").or(object.get("error_code"));
        let code =
            code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.trim().parse().ok()));
        self.codes.extend(code);
        self.kinds.extend(text("type").map(Into::into));
        self.request_id = text("request_id").map(Into::into).or(self.request_id.take());
        // RFC 9457 has title and detail, some frameworks detail or msg alone.
        match (text("message").or(text("msg")), text("title"), text("detail")) {
            (Some(message), ..) => self.add_message(message),
            (None, Some(title), Some(detail)) => self.add_message(&format!("{title}:\n{detail}")),
            (None, Some(words), None) | (None, None, Some(words)) => self.add_message(words),
            (None, None, None) => {
                object.get("detail").into_iter().for_each(|detail| self.add(detail))
            }
        }
        for key in ["errors", "error", "error_chain"] {
            object.get(key).into_iter().for_each(|value| self.add(value));
        }
    }

    fn add_message(&mut self, message: &str) {
        if !message.trim().is_empty() {
            self.messages.push(message.into());
        }
    }

    /// The messages with their codes. What is whole ends with its line, so that a token which was cut
    /// off there is known for one.
    pub fn words(&self) -> String {
        let codes: Vec<_> = self.codes.iter().map(i64::to_string).collect();
        let mut words = self.messages.join(";\n");
        if words.is_empty() {
            words.push_str("no message from the server");
        }
        if !codes.is_empty() {
            words.push_str(&format!("\n(code {})", codes.join(", ")));
        }
        words
    }
}

/// Whether an `errors` or `error` reports anything at all.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(says_something),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_its_message() {
        for (body, message, codes) in [
            (
                r#"{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}"#,
                "Authentication error",
                vec![10000],
            ),
            (
                r#"{"success":false,"error":[{"code":2009,"message":"Unauthorized"}],"name":"AiGatewayError","httpCode":401}"#,
                "Unauthorized",
                vec![2009],
            ),
            (
                r#"{"success":false,"error":{"message":"Spending limit exceeded"}}"#,
                "Spending limit exceeded",
                vec![],
            ),
            (
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}"#,
                "slow down",
                vec![],
            ),
            (
                r#"{"errors":[{"code":1,"message":"a"},{"code":"2","message":"b"}]}"#,
                "a; b",
                vec![1, 2],
            ),
            (r#"{"error":"just words"}"#, "just words", vec![]),
            (r#"{"message":"top"}"#, "top", vec![]),
            (r#"{"error":{"type":"api_error"}}"#, "api_error", vec![]),
            (r#"{"detail":"Not here"}"#, "Not here", vec![]),
            (r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, "field required", vec![]),
            (
                r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"No access"}"#,
                "Forbidden: No access",
                vec![],
            ),
            (r#"{"error":{"code":7,"message":"a\ud83e"}}"#, "a\u{fffd}", vec![7]),
            (
                r#"{"errors":[{"code":6003,"message":"a","error_chain":[{"code":"6111","message":"b","error_chain":[{"message":"c"}]}]}]}"#,
                "a; b; c",
                vec![6003, 6111],
            ),
            (r#"{"error":"x","code":10000}"#, "x", vec![10000]),
            (r#"[{"code":1,"message":"a"}]"#, "a", vec![1]),
            (r#"{"odd":1}"#, r#"{"odd":1}"#, vec![]),
            // Cut off: within a string, an escape, a name, a number, between values.
            (r#"{"errors":[{"code":2041,"message":"Spend"#, "Spend", vec![2041]),
            (r#"{"errors":[{"code":2041,"message":"a\u00"#, "a", vec![2041]),
            (r#"{"errors":[{"message":"a","code":2041,"doc"#, "a", vec![2041]),
            (r#"{"errors":[{"message":"a","code":20"#, "a", vec![]),
            (r#"{"errors":[{"message":"a","code":2041}"#, "a", vec![2041]),
            (r#"{"errors":[{"message":"a","code":2041}],"#, "a", vec![2041]),
            ("{", "", vec![]),
            ("{}", "", vec![]),
            ("error code: 1010", "error code: 1010", vec![]),
            ("", "", vec![]),
            ("<html><TITLE>502 Bad\nGateway</TITLE><body>x", "502 Bad\nGateway", vec![]),
            ("<p>Oh <b>no</b>", " Oh   no  ", vec![]),
            ("a < b", "a < b", vec![]),
            ("<é<<>", "", vec![]),
        ] {
            let error = ApiError::parse(body.as_bytes());
            let words = error.messages.join("; ");
            let words = words.split_whitespace().collect::<Vec<_>>();
            let expected = message.split_whitespace().collect::<Vec<_>>();
            assert_eq!((words, error.codes), (expected, codes), "{body}");
        }
    }
}
