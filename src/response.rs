//! A response to the reply: which kind it is, what becomes known of it, whether it is a finished answer.

use std::io::{self, Read};
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::body;
use crate::error::{Exit, Failure, shorten};
use crate::output::Output;
use crate::refusal::{self, Context, Said};
use crate::retry::Hints;
use crate::stream;

/// The most of a header that is shown, in characters.
const LONGEST_HEADER: usize = 100;

/// What of a response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The text of the reply.
    Text,
    /// The body as it came.
    Json,
    /// JSON Lines: each event's data, or the one body, on one line.
    JsonLines,
}

/// A response: what is known before its body, and the body.
#[derive(Debug)]
pub struct Answer<R> {
    /// The HTTP status.
    pub status: u16,
    /// The Content-Type header, or empty.
    pub content_type: String,
    /// What the headers say about trying again.
    pub hints: Hints,
    /// `cf-aig-cache-status`: HIT or MISS.
    pub cache: Option<String>,
    /// `cf-aig-log-id`.
    pub log: Option<String>,
    /// The body; a read that fails says why in words for the user.
    pub body: R,
}

/// What this call wants, and what it can name in its advice.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is written.
    pub form: Form,
    /// The text has to be JSON, because `--schema` asked for it.
    pub judges_json: bool,
    /// Model and token.
    pub context: Context<'a>,
}

/// What is known of the reply so far.
#[derive(Debug, Default)]
pub struct Reply {
    /// Why the model stopped, as it says itself.
    pub stop_reason: Option<String>,
    /// When the first text came.
    pub first_text: Option<Instant>,
    /// Tokens, as the server counts them.
    pub usage: Usage,
    /// `cf-aig-cache-status`: HIT or MISS.
    pub cache: Option<String>,
    /// `cf-aig-log-id`.
    pub log: Option<String>,
    has_words: bool,
    /// The text so far, kept only where it has to be JSON.
    json: Option<String>,
}

/// The `usage` of a message, in tokens. What the server does not say is absent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the request, without those of the cache.
    pub input_tokens: Option<f64>,
    /// Tokens of the reply.
    pub output_tokens: Option<f64>,
    /// Tokens that were written to the model's prompt cache.
    pub cache_creation_input_tokens: Option<f64>,
    /// Tokens that were read from the model's prompt cache.
    pub cache_read_input_tokens: Option<f64>,
}

impl Usage {
    fn summary(&self) -> Option<String> {
        let count = |tokens: Option<f64>, what: &str| {
            tokens
                .filter(|tokens| *tokens > 0.0)
                .map(|tokens| format!("{tokens} {what}"))
        };
        let cached = [
            count(self.cache_read_input_tokens, "read from cache"),
            count(self.cache_creation_input_tokens, "written to cache"),
        ];
        let cached: Vec<_> = cached.into_iter().flatten().collect();
        let cached = if cached.is_empty() {
            String::new()
        } else {
            format!(" ({})", cached.join(", "))
        };
        match (self.input_tokens, self.output_tokens) {
            (Some(input), Some(output)) => Some(format!("{input} tokens in{cached}, {output} out")),
            (Some(input), None) => Some(format!("{input} tokens in{cached}")),
            (None, Some(output)) => Some(format!("{output} tokens out")),
            (None, None) => None,
        }
    }

    /// Takes over what `newer` says; its figures are cumulative.
    pub fn update(&mut self, newer: Usage) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = newer
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = newer
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
    }
}

impl Reply {
    /// Notes that `text` came.
    pub fn take_text(&mut self, text: &str) {
        if !text.is_empty() && self.first_text.is_none() {
            self.first_text = Some(Instant::now());
        }
        self.has_words = self.has_words || !text.trim().is_empty();
        if let Some(json) = &mut self.json {
            json.push_str(text);
        }
    }

    fn is_no_json(&self) -> bool {
        let json = self.json.as_ref();
        json.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_err())
    }

    /// What is known at the end, for `-v`; `started` is when the time began to run.
    pub fn summary(&self, started: Instant) -> String {
        let mut parts = Vec::new();
        parts.extend(self.usage.summary());
        let seconds = |at: Instant| at.duration_since(started).as_secs_f64();
        let end = if self.stop_reason.is_some() {
            "done"
        } else {
            "ended"
        };
        let done = format!("{end} after {:.2} s", seconds(Instant::now()));
        parts.push(match self.first_text {
            Some(at) => format!("first text after {:.2} s, {done}", seconds(at)),
            None => done,
        });
        let header = |name: &str, value: &Option<String>| {
            let value = value.as_deref()?;
            Some(format!("{name} {}", shorten(value, LONGEST_HEADER)))
        };
        parts.extend(header("cache", &self.cache));
        parts.extend(header("log", &self.log));
        parts.join("; ")
    }

    /// Whether this is a finished answer, in the form that was asked for.
    ///
    /// # Errors
    /// Exit status 5, naming the reason.
    pub fn verdict(&self, form: Form) -> Result<(), Failure> {
        let unfinished = |what: &str| Failure::new(Exit::Unfinished, what);
        match self.stop_reason.as_deref() {
            Some("tool_use") if form != Form::Text => Ok(()),
            Some("end_turn" | "stop_sequence") if self.is_no_json() => Err(unfinished(
                "the reply is not JSON, which --schema asks for",
            )),
            Some("end_turn" | "stop_sequence") if self.has_words || form != Form::Text => Ok(()),
            Some("end_turn" | "stop_sequence") => Err(unfinished("the reply has no text")),
            Some("max_tokens") => Err(unfinished("the reply was cut off at its limit (max_tokens)")
                .advice("raise it with --max-tokens")),
            Some("model_context_window_exceeded") => Err(unfinished(
                "the reply was cut off where the model's context ends (model_context_window_exceeded)",
            )
            .advice("send less")),
            Some("refusal") => Err(unfinished("the model declined to answer (refusal)")),
            Some("pause_turn") => Err(unfinished("the model paused before it was done (pause_turn)")),
            Some("tool_use") => Err(unfinished("the model asks for a tool (tool_use)")
                .advice("--json shows the call")),
            Some(other) => Err(unfinished("the reply stopped for an unknown reason").said(other)),
            None => Err(unfinished("the reply does not say why it stopped (no stop_reason)")),
        }
    }
}

/// Reads a response, writes what was asked for, and notes in `reply` what becomes known.
///
/// # Errors
/// Exit status 3 or 4 for a status other than 2xx and for what is not a whole reply; the errors of
/// [`Output::write`].
pub fn read(
    answer: Answer<impl Read>,
    asked: Asked<'_>,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let Answer { status, body, .. } = answer;
    reply.json = asked.judges_json.then(String::new);
    reply.cache = answer.cache;
    reply.log = answer.log;
    if !(200..300).contains(&status) {
        return Err(refusal::refused(
            status,
            &said_by(body),
            answer.hints,
            asked.context,
        ));
    }
    let media_type = answer
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if media_type.eq_ignore_ascii_case("text/event-stream") {
        stream::read(body, asked.form, output, reply)
    } else {
        body::read(status, body, asked, output, reply)
    }
}

/// What the body of an error says, as far as it came.
fn said_by(body: impl Read) -> Said {
    let mut bytes = Vec::new();
    // A page that is cut off still begins with its first words.
    let _ = body
        .take(refusal::BODY_LIMIT as u64)
        .read_to_end(&mut bytes);
    Said::parse(&bytes)
}

/// A body or a stream that ended for a reason of the connection's.
pub fn lost(error: &io::Error) -> Failure {
    Failure::new(Exit::Transient, error.to_string())
}

/// A body or a stream that is not what it should be.
pub fn garbled(what: &str) -> Failure {
    Failure::new(Exit::Transient, what)
}
