//! What a server answers instead of a reply: every error shape, what its status or code means, what to do.

use serde_json::{Map, Value};

use super::json::{MAX_ERROR_BYTES, lenient_value};
use crate::client::RetryHeaders;
use crate::client::token::Token;
use crate::error::{Error, ExitStatus, Redacted, words_of_page};

/// An error as a server reports it. Its words are whole: they are redacted before they are shortened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    message: String,
    codes: Vec<i64>,
    /// The `type`, such as `overloaded_error`.
    pub kind: String,
}

impl ApiError {
    pub fn new(message: &str) -> ApiError {
        ApiError { message: message.into(), ..ApiError::default() }
    }

    /// The error in a body whose Content-Encoding was not asked for.
    pub fn unreadable(encoding: &str) -> ApiError {
        ApiError::new(&format!(
            "the body is in the content encoding {encoding}, which was not requested"
        ))
    }

    /// Parses the body of an error: JSON of any known shape, or else a page or plain text.
    pub fn parse(body: &[u8]) -> ApiError {
        let body = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BYTES)]);
        let Some(Value::Object(object)) = lenient_value(&body) else {
            return ApiError::new(&words_of_page(&body));
        };
        let mut error = ApiError::default();
        for key in ["errors", "error"] {
            object.get(key).into_iter().for_each(|value| error.add(value));
        }
        if error.message.is_empty() {
            error.add_object(&object);
        }
        if error.message.is_empty() {
            error.message = body.into_owned();
        }
        error
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
        let code = object.get("code");
        let code = code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.parse().ok()));
        self.codes.extend(code);
        if let Some(kind) = text("type") {
            self.kind = kind.into();
        }
        // RFC 9457 has title and detail, some frameworks detail or msg alone.
        match (text("message").or(text("msg")), text("title"), text("detail")) {
            (Some(message), ..) => self.add_message(message),
            (None, Some(title), Some(detail)) => self.add_message(&format!("{title}: {detail}")),
            (None, Some(words), None) | (None, None, Some(words)) => self.add_message(words),
            (None, None, None) => match object.get("detail") {
                Some(detail) => self.add(detail),
                None => self.add_message(&self.kind.clone()),
            },
        }
    }

    fn add_message(&mut self, message: &str) {
        if !message.is_empty() {
            if !self.message.is_empty() {
                self.message.push_str("; ");
            }
            self.message.push_str(message);
        }
    }

    fn says(&self, phrase: &str) -> bool {
        self.message.to_lowercase().contains(phrase)
    }

    fn has_code(&self, codes: &[i64]) -> bool {
        self.codes.iter().any(|code| codes.contains(code))
    }

    /// Waiting a little does not lift a spending limit.
    fn is_spending_limit(&self) -> bool {
        self.has_code(&[2041, 2045]) || self.says("spending limit")
    }

    /// The HTTP status that goes with the codes, for an error that came with another one.
    fn status(&self) -> Option<u16> {
        self.codes.iter().find_map(|code| match code {
            10000 | 2009 => Some(401),
            2001 => Some(400),
            2021 => Some(402),
            7003 => Some(404),
            7010 => Some(410),
            2016 | 2017 => Some(424),
            7013 => Some(503),
            2003 | 2018 | 2041 | 2045 => Some(429),
            _ => None,
        })
    }

    /// The message with its codes, redacted.
    pub fn words(&self, token: &Token) -> Redacted {
        let codes: Vec<_> = self.codes.iter().map(i64::to_string).collect();
        let message = match self.message.trim() {
            "" => "no message from the server",
            message => message,
        };
        token.redact(&match codes.is_empty() {
            true => message.to_owned(),
            false => format!("{message} (code {})", codes.join(", ")),
        })
    }

    /// The error that a status other than 2xx is.
    pub fn into_error(self, status: u16, headers: RetryHeaders, token: &Token) -> Error {
        if (300..400).contains(&status) {
            // Its page says nothing but where it leads.
            return Error::rejected(format!(
                "HTTP {status}: unexpected redirect (not followed); check --base-url"
            ));
        }
        let exit_status = self.exit_status(status);
        let retry = headers.retry(status, exit_status == ExitStatus::Temporary);
        let error =
            Error::new(exit_status, format!("HTTP {status}")).server_message(self.words(token));
        self.advise(status, error.retry(retry))
    }

    /// The error that a 2xx response reports. It has begun, so it is not retried.
    pub fn into_failed_request(self, status: u16, token: &Token) -> Error {
        let code_status = self.status().or(self.is_spending_limit().then_some(429));
        let exit_status =
            code_status.map_or(ExitStatus::Temporary, |status| self.exit_status(status));
        let error = Error::new(exit_status, format!("the request failed (HTTP {status})"))
            .server_message(self.words(token));
        match code_status {
            Some(status) => self.advise(status, error),
            None => error,
        }
    }

    fn exit_status(&self, status: u16) -> ExitStatus {
        match status {
            _ if self.is_spending_limit() => ExitStatus::Rejected,
            402 if self.says("rate limit") => ExitStatus::Temporary,
            408 | 409 | 429 | 500.. => ExitStatus::Temporary,
            _ => ExitStatus::Rejected,
        }
    }

    /// Adds what to do, if it is known.
    fn advise(&self, status: u16, mut error: Error) -> Error {
        let is_provider = self.has_code(&[2009]) || self.kind == "authentication_error";
        let advice = match status {
            _ if self.is_spending_limit() => {
                "raise the limit at dash.cloudflare.com under AI > AI Gateway"
            }
            400 if self.has_code(&[2001]) => {
                "check --gateway or CLOUDFLARE_GATEWAY_ID; only the gateway named \"default\" is created automatically"
            }
            401 | 403 if is_provider => {
                "check the provider key stored in the gateway, or the gateway's own authentication"
            }
            403 if self.says("error code: 1010") => {
                "Cloudflare blocked this client or network, whatever the token"
            }
            401 => {
                error.is_about_token = true;
                return error;
            }
            403 if self.has_code(&[10000])
                || self.message.trim().is_empty()
                || self.message.trim() == "{}" =>
            {
                error.is_about_token = true;
                return error;
            }
            402 if !self.says("rate limit") => {
                "load credits at dash.cloudflare.com under AI > AI Gateway > Credits Available > Manage"
            }
            404 => "check --model and the account ID",
            410 => "choose another --model",
            413 => "send less: the API's limit is 32 MB",
            _ => return error,
        };
        error.advice(advice)
    }
}

/// Whether an `errors` or `error` reports anything at all.
pub fn says_something(value: &Value) -> bool {
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

    fn token() -> Token {
        Token::new("t0ken", "TOKEN").unwrap()
    }

    fn error(status: u16, body: &str) -> Error {
        ApiError::parse(body.as_bytes()).into_error(status, RetryHeaders::default(), &token())
    }

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
            (r#"{"odd":1}"#, r#"{"odd":1}"#, vec![]),
            ("error code: 1010", "error code: 1010", vec![]),
            ("", "", vec![]),
            ("<html><TITLE>502 Bad\nGateway</TITLE><body>x", "502 Bad\nGateway", vec![]),
            ("<p>Oh <b>no</b>", " Oh   no  ", vec![]),
            ("a < b", "a < b", vec![]),
            ("<é<<>", "", vec![]),
        ] {
            let error = ApiError::parse(body.as_bytes());
            let words = error.message.split_whitespace().collect::<Vec<_>>();
            let expected = message.split_whitespace().collect::<Vec<_>>();
            assert_eq!((words, error.codes), (expected, codes), "{body}");
        }
    }

    #[test]
    fn statuses_have_an_exit_status_and_advice_if_it_fits() {
        const TOKEN: &str = "the token";
        let code = |code: i64| format!(r#"{{"errors":[{{"code":{code},"message":"x"}}]}}"#);
        for (status, body, exit, advice) in [
            (302, String::new(), 3, "--base-url"),
            (400, String::new(), 3, ""),
            (400, code(2001), 3, "--gateway"),
            (401, String::new(), 3, TOKEN),
            (401, code(10000), 3, TOKEN),
            (401, code(2009), 3, "provider key"),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"x"}}"#.into(),
                3,
                "provider key",
            ),
            (403, String::new(), 3, TOKEN),
            (403, code(10000), 3, TOKEN),
            (403, r#"{"error":{"message":"Blocked by policy"}}"#.into(), 3, ""),
            (403, "error code: 1010".into(), 3, "blocked this client"),
            (402, String::new(), 3, "load credits"),
            (402, r#"{"errors":[{"code":2021,"message":"Rate limit reached"}]}"#.into(), 4, ""),
            (404, String::new(), 3, "--model"),
            (408, String::new(), 4, ""),
            (409, String::new(), 4, ""),
            (410, String::new(), 3, "--model"),
            (413, String::new(), 3, "32 MB"),
            (422, String::new(), 3, ""),
            (424, String::new(), 3, ""),
            (429, String::new(), 4, ""),
            (429, code(2041), 3, "raise the limit"),
            (
                429,
                r#"{"error":{"message":"Spending limit exceeded"}}"#.into(),
                3,
                "raise the limit",
            ),
            (500, String::new(), 4, ""),
            (529, String::new(), 4, ""),
        ] {
            let error = error(status, &body);
            let line = error.to_string();
            assert_eq!(error.status as u8, exit, "{line}");
            assert_eq!(error.is_about_token, advice == TOKEN, "{line}");
            let has_advice = line.split_once("; ").map_or("", |(_, advice)| advice);
            match advice {
                "" | TOKEN => assert_eq!(has_advice, "", "{status} {body}"),
                _ => assert!(has_advice.contains(advice), "{line}"),
            }
        }
    }

    #[test]
    fn an_error_inside_a_success_is_what_its_code_says() {
        for (code, exit) in [
            (10000, 3),
            (2001, 3),
            (2009, 3),
            (2021, 3),
            (7003, 3),
            (7010, 3),
            (2016, 3),
            (2017, 3),
            (7013, 4),
            (2003, 4),
            (2018, 4),
            (2041, 3),
            (2045, 3),
            (1, 4),
        ] {
            let body = format!(r#"{{"errors":[{{"code":{code},"message":"x"}}]}}"#);
            let error = ApiError::parse(body.as_bytes()).into_failed_request(200, &token());
            assert_eq!(error.status as u8, exit, "{code}");
            assert_eq!(error.retry, crate::error::Retry::Never);
            assert!(
                error.to_string().starts_with("the request failed (HTTP 200): x (code"),
                "{error}"
            );
        }
    }
}
