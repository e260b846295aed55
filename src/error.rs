//! Errors that are not the caller's mistake: exit status, whether to retry, and the line that explains them.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most of a server's message that is shown: enough for a sentence or two.
const MAX_SERVER_CHARS: usize = 300;

/// A shorter token may well be part of an innocent text.
const MIN_SECRET_CHARS: usize = 8;

/// A shorter beginning of a token at the end of a text is taken for ordinary words.
const MIN_PARTIAL_SECRET_CHARS: usize = 4;

/// How the program ends. The contract gives each number its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The output cannot be written.
    OutputFailed = 1,
    /// The call itself is wrong, or a setting is missing.
    Usage = 2,
    /// Rejected, and retrying will not help.
    Rejected = 3,
    /// Failed, but may succeed later.
    Temporary = 4,
    /// A reply arrived, but it is not a finished answer.
    Unfinished = 5,
    /// The reader of standard output is gone: what a shell reports after SIGPIPE.
    BrokenPipe = 141,
}

/// Whether a failed attempt may be repeated, and after which delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// After a delay that doubles from half a second.
    Backoff,
    /// After a delay that doubles from two seconds: the rate limit counts by the minute.
    RateLimitBackoff,
    /// After the delay that the server asked for.
    After(Duration),
}

/// An error that says more than "the call is wrong". Every other error is untyped and means
/// [`ExitStatus::Usage`].
#[derive(Debug)]
pub struct Error {
    pub status: ExitStatus,
    pub retry: Retry,
    /// The API token is to be checked; what to say after its source.
    pub token_advice: Option<&'static str>,
    message: String,
    server_message: Option<String>,
    advice: Vec<String>,
}

impl Error {
    pub fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Error {
            status,
            retry: Retry::Never,
            token_advice: None,
            message: message.into(),
            server_message: None,
            advice: Vec::new(),
        }
    }

    pub fn rejected(message: impl Into<String>) -> Self {
        Error::new(ExitStatus::Rejected, message)
    }

    pub fn temporary(message: impl Into<String>) -> Self {
        Error::new(ExitStatus::Temporary, message)
    }

    pub fn retry(self, retry: Retry) -> Self {
        Error { retry, ..self }
    }

    /// Adds what the server said, after the message and a colon.
    pub fn server_message(self, words: impl Into<String>) -> Self {
        Error { server_message: Some(words.into()), ..self }
    }

    /// Adds what to do about it, after a semicolon.
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(words) = &self.server_message {
            write!(f, ": {}", shorten(words, MAX_SERVER_CHARS))?;
        }
        for advice in &self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The exit status that `error` stands for, whatever context has been added to it.
pub fn exit_status(error: &anyhow::Error) -> ExitStatus {
    error.downcast_ref::<Error>().map_or(ExitStatus::Usage, |error| error.status)
}

/// The system's words for an error, without the number that Rust adds.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).into()
}

/// The API token, and what else may be one.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Hides `secret` from now on: no line on standard error repeats it.
pub fn hide(secret: &str) {
    let secret: String = secret.chars().filter(|c| is_significant(*c)).collect();
    let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    if secret.chars().count() >= MIN_SECRET_CHARS && !secrets.contains(&secret) {
        secrets.push(secret);
    }
}

/// `text` with what is to be hidden replaced.
pub fn redact(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(text.to_owned(), |text, secret| without(&text, secret))
}

/// `text` without `secret`, also if white space, control characters, backslashes or the punctuation
/// between two joined messages split it, or the end of a line cuts it off.
fn without(text: &str, secret: &str) -> String {
    let Some(first) = secret.chars().next() else {
        return text.into();
    };
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(first) {
        let found = &rest[start..];
        let end = end_of(found, secret);
        redacted.push_str(&rest[..start]);
        redacted.push_str(if end.is_some() { "[redacted]" } else { &found[..first.len_utf8()] });
        rest = &found[end.unwrap_or(first.len_utf8())..];
    }
    redacted + rest
}

/// Where `secret` ends, if `text` begins with it.
fn end_of(text: &str, secret: &str) -> Option<usize> {
    let mut expected = secret.chars();
    let (mut matched, mut end, mut cut_off) = (0, 0, None);
    for (at, c) in text.char_indices() {
        if c == '\n' && matched >= MIN_PARTIAL_SECRET_CHARS {
            cut_off = Some(end);
        }
        if !is_significant(c) {
            continue;
        }
        match expected.next() {
            None => return Some(end),
            Some(known) if known == c => (matched, end) = (matched + 1, at + c.len_utf8()),
            Some(_) if matched >= MIN_SECRET_CHARS => return Some(end),
            Some(_) => return cut_off,
        }
    }
    if matched >= MIN_PARTIAL_SECRET_CHARS { Some(end) } else { cut_off }
}

/// Whether a secret is known by `c`, and not split by it: characters that nobody sees split it, too.
fn is_significant(c: char) -> bool {
    let is_invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}');
    !(is_invisible || c.is_whitespace() || c.is_control() || ";:\\".contains(c))
}

/// `text` redacted and on one line: each run of white space as one space, at most `max` characters.
pub fn shorten(text: &str, max: usize) -> String {
    let text = redact(text);
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let space = (length > 0).then_some(' ');
        for c in space.into_iter().chain(word.chars()) {
            if length >= max && c != ' ' {
                line.push('…');
                return line;
            }
            line.push(c);
            length += 1;
        }
    }
    line
}

/// The title of an HTML page, or else the text without tags.
pub fn words_of_page(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        Some(page[start..end].trim()).filter(|title| !title.is_empty())
    });
    if let Some(title) = title {
        return title.into();
    }
    if !page.trim_start().starts_with('<') {
        return page.into();
    }
    let parts = page.split('<').skip(1).filter_map(|part| part.split_once('>'));
    parts.map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_line_is_message_server_message_and_advice() {
        let error = Error::rejected("HTTP 404")
            .server_message("no such\nmodel")
            .advice("check --model")
            .advice("or give up");
        assert_eq!(error.to_string(), "HTTP 404: no such model; check --model; or give up");
        assert_eq!(Error::temporary("lost").to_string(), "lost");
    }

    #[test]
    fn the_exit_status_is_found_through_context_and_is_usage_without_a_type() {
        let error = anyhow::Error::new(Error::temporary("lost")).context("while sending");
        assert_eq!(exit_status(&error), ExitStatus::Temporary);
        let error = "x".parse::<u8>().context("N").unwrap_err();
        assert_eq!(exit_status(&error), ExitStatus::Usage);
    }

    #[test]
    fn long_server_messages_are_shortened_after_redaction() {
        hide("s3cret-token");
        for padding in 290..300 {
            let text = format!("{}s3cret-token", "x".repeat(padding));
            let line = Error::rejected("HTTP 400").server_message(text).to_string();
            assert!(!line.contains("s3c"), "{line}");
            assert!(line.chars().count() <= 311, "{line}");
        }
    }

    #[test]
    fn a_token_is_redacted_however_it_is_split() {
        for (text, expected) in [
            ("a se/cret z", "a [redacted] z"),
            ("se/cretse/cret", "[redacted][redacted]"),
            ("a s e/\n\tc\u{0}ret z", "a [redacted] z"),
            ("a se/; cret", "a [redacted]"),
            ("se/c: ret: z", "[redacted]: z"),
            ("a se/c;\n(code 1)", "a [redacted];\n(code 1)"),
            ("a se/c;\nre;\nz", "a [redacted];\nz"),
            ("a se/c;\nrx", "a [redacted];\nrx"),
            ("a se/c; rx", "a se/c; rx"),
            (r"a se\/cret", "a [redacted]"),
            ("sse/cret", "s[redacted]"),
            ("a se/cre", "a [redacted]"),
            ("a se/c", "a [redacted]"),
            ("a se/", "a se/"),
            ("a se/crex", "a se/crex"),
            ("é", "é"),
            ("", ""),
        ] {
            assert_eq!(without(text, "se/cret"), expected, "{text:?}");
        }
        assert_eq!(without("a", ""), "a");
    }

    #[test]
    fn a_beginning_of_a_token_is_redacted_however_it_is_quoted() {
        for (text, expected) in [
            ("bad some-long-t...", "bad [redacted]..."),
            ("'some-long-token-va' is bad", "'[redacted]' is bad"),
            ("some-long…", "[redacted]…"),
            ("some-lo...", "some-lo..."),
            ("a some-long\u{202e}-token\u{200b}-value", "a [redacted]"),
        ] {
            assert_eq!(without(text, "some-long-token-value"), expected);
        }
    }

    #[test]
    fn white_space_is_folded() {
        assert_eq!(shorten("  a \r\n\t b  ", 10), "a b");
        assert_eq!(shorten("abc def", 5), "abc d…");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abc def", 3), "abc …");
    }
}
