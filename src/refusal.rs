//! What a server answers instead of a reply: every error shape, what its status or code means, what to do about it.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Again, Exit, Failure};
use crate::retry::Hints;

/// The most of an error's body that is read, in bytes: no message is that long.
pub const BODY_LIMIT: usize = 64 * 1024;

/// What this call can name in its advice.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The model that was asked.
    pub model: &'a str,
    /// The variable or option that the token came from.
    pub token_source: &'a str,
}

/// What a server said: its own words, and the numbers that its API gives to errors.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The message, or the words of a page. Whole: only what shows it may shorten it, after the
    /// token has been blotted out, or a part of the token could be left at its end.
    pub message: String,
    /// The words are those of a page, or of JSON that is none of the known shapes.
    pub is_page: bool,
    /// The `code` of each error.
    pub codes: Vec<i64>,
    /// The `type` of an error event, such as `overloaded_error`.
    pub kind: String,
}

/// The four shapes in one: `errors` and `error` may each be a list or a single object.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    message: Value,
}

impl Said {
    /// Reads the body of an error: JSON of any of the documented shapes, or else a page.
    pub fn parse(body: &[u8]) -> Said {
        let body = String::from_utf8_lossy(&body[..body.len().min(BODY_LIMIT)]);
        let Ok(json) = serde_json::from_str::<Body>(&body) else {
            return Said {
                message: words_of_page(&body),
                is_page: true,
                ..Said::default()
            };
        };
        let mut said = Said::default();
        said.take(&json.errors);
        said.take(&json.error);
        if said.message.is_empty() {
            said.take(&json.message);
        }
        if said.message.is_empty() {
            said.message = body.into_owned();
            said.is_page = true;
        }
        said
    }

    /// Adds a list of errors, one error, or a bare message.
    fn take(&mut self, error: &Value) {
        match error {
            Value::Array(list) => list.iter().for_each(|error| self.take(error)),
            Value::String(message) => self.add_message(message),
            Value::Object(error) => {
                let code = error.get("code");
                let code =
                    code.and_then(|code| code.as_i64().or_else(|| code.as_str()?.parse().ok()));
                self.codes.extend(code);
                if let Some(kind) = error.get("type").and_then(Value::as_str) {
                    self.kind = kind.into();
                }
                match error.get("message").and_then(Value::as_str) {
                    Some(message) => self.add_message(message),
                    None => self.add_message(&self.kind.clone()),
                }
            }
            _ => {}
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

    /// A limit on spending is not lifted by waiting a little.
    fn is_spending_limit(&self) -> bool {
        self.codes.iter().any(|code| matches!(code, 2041 | 2045)) || self.says("spending limit")
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
            2003 | 2018 | 2041 | 2045 => Some(429),
            _ => None,
        })
    }

    /// Adds what was said to the failure that it is about.
    fn tell(&self, failure: Failure) -> Failure {
        if self.is_page {
            failure.page(self.text())
        } else {
            failure.said(self.text())
        }
    }

    /// The message with its codes, as it is shown.
    fn text(&self) -> String {
        let codes: Vec<_> = self.codes.iter().map(i64::to_string).collect();
        if self.message.trim().is_empty() {
            "the server gives no reason".into()
        } else if codes.is_empty() {
            self.message.clone()
        } else {
            format!("{} (code {})", self.message, codes.join(", "))
        }
    }
}

/// The failure that a status other than 2xx is.
pub fn refused(status: u16, said: &Said, hints: Hints, context: Context<'_>) -> Failure {
    let exit = exit(status, said);
    let failure =
        Failure::new(exit, format!("HTTP {status}")).again(hints.again(exit == Exit::Transient));
    if (300..400).contains(&status) {
        // The page of a redirect says nothing but where it leads, and nobody goes there.
        return failure
            .again(Again::Never)
            .said("the server redirects, and redirects are not followed")
            .advice("check --base-url");
    }
    said.tell(failure).advice(advice(status, said, context))
}

/// The failure that a 2xx response with an error in it is. It has begun, so it is not tried again.
pub fn failed_inside(status: u16, said: &Said, context: Context<'_>) -> Failure {
    let what = format!("HTTP {status}, but the call failed");
    let (exit, advice) = match said.status() {
        Some(status) => (exit(status, said), advice(status, said, context)),
        None if said.is_spending_limit() => (Exit::Refused, advice(429, said, context)),
        None => (Exit::Transient, String::new()),
    };
    said.tell(Failure::new(exit, what)).advice(advice)
}

fn exit(status: u16, said: &Said) -> Exit {
    match status {
        _ if said.is_spending_limit() => Exit::Refused,
        402 if said.says("rate limit") => Exit::Transient,
        408 | 409 | 429 | 500.. => Exit::Transient,
        _ => Exit::Refused,
    }
}

fn advice(status: u16, said: &Said, context: Context<'_>) -> String {
    let Context {
        model,
        token_source,
    } = context;
    match status {
        _ if said.is_spending_limit() => {
            "the limit is set at dash.cloudflare.com under AI > AI Gateway".into()
        }
        400 if said.codes.contains(&2001) => {
            "check --gateway or CLOUDFLARE_GATEWAY_ID; only the gateway called default makes itself"
                .into()
        }
        401 | 403 => {
            format!("check the token in {token_source}: it needs the permission Workers AI Read")
        }
        402 if !said.says("rate limit") => {
            "load credits at dash.cloudflare.com under AI > AI Gateway > Credits Available > Manage"
                .into()
        }
        404 => format!("check the model, {model}, and the account's ID"),
        410 => format!("choose another --model than {model}"),
        413 => "send less: the API takes 32 MB at most".into(),
        _ => String::new(),
    }
}

/// The words of a page: an HTML page without its tags, styles and scripts, any other text as it is.
fn words_of_page(page: &str) -> String {
    let mut words = String::new();
    let mut rest = page;
    while let Some((text, tag_on)) = rest.split_once('<') {
        words.push_str(text);
        words.push(' ');
        let lower = tag_on.get(..6).unwrap_or_default().to_ascii_lowercase();
        let end = if lower.starts_with("style") {
            "</style"
        } else if lower.starts_with("script") {
            "</script"
        } else if lower.starts_with("!--") {
            "-->"
        } else {
            ""
        };
        let after = find_ignoring_case(tag_on, end).map_or("", |at| &tag_on[at..]);
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    words + rest
}

fn find_ignoring_case(text: &str, part: &str) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.to_ascii_lowercase().find(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'_> = Context {
        model: "m",
        token_source: "CLOUDFLARE_API_TOKEN",
    };

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
            (r#"{"odd":1}"#, r#"{"odd":1}"#, vec![]),
            ("error code: 1010", "error code: 1010", vec![]),
            ("", "", vec![]),
        ] {
            let said = Said::parse(body.as_bytes());
            assert_eq!(
                (said.message.as_str(), said.codes),
                (message, codes),
                "{body}"
            );
        }
    }

    #[test]
    fn a_page_gives_its_first_words() {
        let page = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title><STYLE>p{color:red}</STYLE>\
                    <script>if (a<b) {}</script><!-- a > b --></head>\n<body><h1>Bad  gateway</h1>é</body></html>";
        let words = |page: &str| crate::error::shorten(&Said::parse(page.as_bytes()).message, 120);
        assert_eq!(words(page), "502 Bad Gateway Bad gateway é");
        let long = format!("<html><body>{}</body></html>", "word ".repeat(1000));
        let failure = refused(
            418,
            &Said::parse(long.as_bytes()),
            Hints::default(),
            CONTEXT,
        );
        let shown = "HTTP 418: ".len() + 120 + 1;
        assert_eq!(failure.to_string().chars().count(), shown);
        assert_eq!(words("a < b"), "a");
        assert_eq!(words("<é<<>"), "");
    }

    #[test]
    fn statuses_and_their_exits() {
        for (status, body, exit, advice) in [
            (302, "", 3, "--base-url"),
            (400, "", 3, ""),
            (
                400,
                r#"{"errors":[{"code":2001,"message":"x"}]}"#,
                3,
                "--gateway",
            ),
            (
                401,
                "",
                3,
                "CLOUDFLARE_API_TOKEN: it needs the permission Workers AI Read",
            ),
            (403, "", 3, "Workers AI Read"),
            (402, "", 3, "load credits at dash.cloudflare.com"),
            (
                402,
                r#"{"errors":[{"code":2021,"message":"Rate limit reached"}]}"#,
                4,
                "",
            ),
            (404, "", 3, "check the model, m,"),
            (408, "", 4, ""),
            (409, "", 4, ""),
            (410, "", 3, "--model"),
            (413, "", 3, "32 MB"),
            (422, "", 3, ""),
            (424, "", 3, ""),
            (429, "", 4, ""),
            (
                429,
                r#"{"error":[{"code":2041,"message":"x"}]}"#,
                3,
                "the limit is set at",
            ),
            (
                429,
                r#"{"error":{"message":"Spending limit exceeded"}}"#,
                3,
                "the limit is set at",
            ),
            (500, "", 4, ""),
            (529, "", 4, ""),
        ] {
            let failure = refused(
                status,
                &Said::parse(body.as_bytes()),
                Hints::default(),
                CONTEXT,
            );
            let line = failure.to_string();
            assert_eq!(failure.exit as u8, exit, "{line}");
            assert!(line.starts_with(&format!("HTTP {status}")), "{line}");
            assert!(line.contains(advice), "{line}");
        }
    }

    #[test]
    fn advice_is_given_only_where_it_fits() {
        for (status, body) in [
            (400, r#"{"errors":[{"code":2,"message":"x"}]}"#),
            (
                402,
                r#"{"errors":[{"code":2021,"message":"Rate limit reached"}]}"#,
            ),
            (429, ""),
            (500, ""),
        ] {
            let said = Said::parse(body.as_bytes());
            assert_eq!(advice(status, &said, CONTEXT), "", "{status}");
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
            (2003, 4),
            (2018, 4),
            (2041, 3),
            (2045, 3),
            (1, 4),
        ] {
            let body = format!(r#"{{"errors":[{{"code":{code},"message":"x"}}]}}"#);
            let said = Said::parse(body.as_bytes());
            let failure = failed_inside(200, &said, CONTEXT);
            assert_eq!(failure.exit as u8, exit, "{code}");
            assert_eq!(failure.again, Again::Never);
        }
    }
}
