//! What becomes known of a reply, and whether it is a finished answer.

use std::time::Instant;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::api_error::ApiError;
use super::json::{lenient, lenient_properties, lenient_text, lenient_value};
use super::text::TextJoiner;
use crate::client::Head;
use crate::error::{Error, ExitStatus, shorten};
use crate::output::{MAX_REPLY_BYTES, OutputFormat, too_large};

const MAX_HEADER_CHARS: usize = 100;

/// What the catalogue gives as the model's maximum.
const MODEL_MAX_TOKENS: u64 = 8192;

/// How a response is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub format: OutputFormat,
    /// Whether a stream was asked for. If not, nothing is printed before the reply is complete.
    pub stream: bool,
}

/// What is known of the reply so far.
#[derive(Debug, Default)]
pub struct Reply {
    pub head: Head,
    /// The server reported an error, which says more than how its connection ended.
    pub has_failed: bool,
    pub stop_reason: Option<String>,
    /// The server's words on why the model declined.
    explanation: Option<String>,
    usage: Usage,
    first_text: Option<Instant>,
    has_words: bool,
    joiner: TextJoiner,
    must_be_json: bool,
    /// The text so far, if it must be JSON.
    json: Vec<u8>,
    /// Who pays: `Unified` or `BYOK`.
    key_source: Option<String>,
}

/// Token counts. What the server does not say, or says oddly, is absent.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_written: Option<u64>,
}

impl Reply {
    /// An empty reply, whose text `must_be_json` because `--schema` asks for it.
    pub fn new(must_be_json: bool) -> Reply {
        Reply { must_be_json, ..Reply::default() }
    }

    /// Forgets an earlier attempt.
    pub fn restart(&mut self, head: Head) {
        *self = Reply { head, ..Reply::new(self.must_be_json) };
    }

    /// What the server reports instead of a reply; `what` begins the line.
    pub fn failure(&mut self, mut error: ApiError, what: impl Into<String>) -> Error {
        self.has_failed = true;
        self.head.request_id = self.head.request_id.take().or(error.request_id.take());
        error.is_challenge = self.head.is_challenge;
        error.into_error(what, self.head.status, self.head.retry_headers)
    }

    /// Takes over who pays, as `gatewayMetadata` has it.
    pub fn set_key_source(&mut self, object: Option<&RawValue>) {
        let [metadata] = lenient_properties(object, ["gatewayMetadata"]);
        let [source] = lenient_properties(metadata, ["keySource"]);
        self.key_source = lenient_text(source).or(self.key_source.take());
    }

    /// Takes over `usage`; its figures are cumulative.
    pub fn set_usage(&mut self, usage: Option<&RawValue>) {
        const NAMES: [&str; 4] = [
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ];
        let known = &mut self.usage;
        let counts =
            [&mut known.input, &mut known.output, &mut known.cache_read, &mut known.cache_written];
        for (count, value) in counts.into_iter().zip(lenient_properties(usage, NAMES)) {
            *count = lenient(value).or(*count);
        }
    }

    /// Takes over why the model stopped.
    pub fn set_stop(&mut self, object: Option<&RawValue>) {
        let [reason, details] = lenient_properties(object, ["stop_reason", "stop_details"]);
        self.stop_reason = lenient_text(reason).or(self.stop_reason.take());
        let details = details.and_then(|details| lenient_value(details.get()));
        let explanation = details.map(|details| {
            let words = ["explanation", "message", "reason", "category"];
            let words = words.iter().find_map(|key| details.get(key)?.as_str());
            words.or(details.as_str()).map_or_else(|| details.to_string(), Into::into)
        });
        self.explanation = explanation.or(self.explanation.take());
    }

    /// Notes that a block that is not text has come.
    pub fn take_other_block(&mut self) {
        self.joiner.interrupt();
    }

    /// Joins a piece to the text so far, and appends what becomes of it to `text`.
    ///
    /// # Errors
    /// More text than is kept.
    pub fn take_text(&mut self, piece: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
        let from = text.len();
        self.joiner.push(piece, text);
        self.note(&text[from..])
    }

    /// Ends the text.
    ///
    /// # Errors
    /// As [`Reply::take_text`].
    pub fn finish_text(&mut self, text: &mut Vec<u8>) -> Result<(), Error> {
        let from = text.len();
        self.joiner.finish(text);
        self.note(&text[from..])
    }

    fn note(&mut self, text: &[u8]) -> Result<(), Error> {
        if !text.is_empty() && self.first_text.is_none() {
            self.first_text = Some(Instant::now());
        }
        self.has_words = self.has_words || !String::from_utf8_lossy(text).trim().is_empty();
        if self.must_be_json {
            if self.json.len() + text.len() > MAX_REPLY_BYTES {
                return Err(too_large());
            }
            self.json.extend_from_slice(text);
        }
        Ok(())
    }

    /// What is known at the end, for `-v`; `started` is when the time began to run. Who asks for support
    /// after a call that `has_failed` needs every name it has.
    pub fn summary(&self, started: Instant, has_failed: bool) -> String {
        let mut parts = Vec::new();
        parts.extend(self.usage.summary());
        let seconds = |at: Instant| at.duration_since(started).as_secs_f64();
        let total = format!("total {:.2} s", seconds(Instant::now()));
        parts.push(match self.first_text {
            Some(at) => format!("first text {:.2} s, {total}", seconds(at)),
            None => total,
        });
        for (name, value, is_due) in [
            ("cache", &self.head.cache_status, true),
            ("key", &self.key_source, true),
            ("log", &self.head.log_id, true),
            ("cf-ray", &self.head.ray, has_failed),
            ("request", &self.head.request_id, has_failed),
        ] {
            let value = value.as_ref().filter(|_| is_due);
            parts.extend(value.map(|value| format!("{name} {}", shorten(value, MAX_HEADER_CHARS))));
        }
        parts.join("; ")
    }

    /// Whether this is a finished answer to the request with this `body`.
    ///
    /// # Errors
    /// Exit status 5, naming the reason.
    pub fn verdict(&self, format: OutputFormat, body: &[u8]) -> Result<(), Error> {
        let unfinished = |what: &str| Err(Error::new(ExitStatus::Unfinished, what));
        let is_text = format == OutputFormat::Text;
        match self.stop_reason.as_deref() {
            Some("tool_use") if !is_text => Ok(()),
            Some("end_turn" | "stop_sequence") if self.must_be_json && !self.is_json() => {
                unfinished("the reply is not valid JSON, which --schema asks for")
            }
            Some("end_turn" | "stop_sequence") if self.has_words || !is_text => Ok(()),
            Some("end_turn" | "stop_sequence") => unfinished("the reply has no text"),
            Some("max_tokens") => {
                let request = serde_json::from_slice(body).ok();
                let [asked] = lenient_properties(request, ["max_tokens"]);
                let advice =
                    match lenient(asked).is_some_and(|tokens: u64| tokens < MODEL_MAX_TOKENS) {
                        true => "raise --max-tokens",
                        false => "ask for a shorter answer, or for the rest",
                    };
                Err(Error::new(
                    ExitStatus::Unfinished,
                    "the reply was cut off at the token limit (max_tokens)",
                )
                .advice(advice))
            }
            Some("model_context_window_exceeded") => unfinished(
                "the reply was cut off at the end of the context window (model_context_window_exceeded); send less",
            ),
            Some("refusal") => {
                let error =
                    Error::new(ExitStatus::Unfinished, "the model declined to answer (refusal)");
                Err(match &self.explanation {
                    Some(words) => error.server_message(words),
                    None => error,
                })
            }
            Some("pause_turn") => unfinished("the model paused before it was done (pause_turn)"),
            Some("tool_use") => {
                unfinished("the model asks for a tool (tool_use); use --json to see the call")
            }
            Some(other) => {
                Err(Error::new(ExitStatus::Unfinished, "the reply stopped for an unknown reason")
                    .server_message(other))
            }
            None => unfinished("the reply does not say why it stopped (no stop_reason)"),
        }
    }

    fn is_json(&self) -> bool {
        serde_json::from_slice::<IgnoredAny>(&self.json).is_ok()
    }
}

impl Usage {
    fn summary(&self) -> Option<String> {
        let count = |tokens: Option<u64>, what: &str| {
            let tokens = tokens.filter(|tokens| *tokens > 0)?;
            Some(format!("{tokens} {what}"))
        };
        let cached = [
            count(self.cache_read, "read from cache"),
            count(self.cache_written, "written to cache"),
        ];
        let cached: Vec<_> = cached.into_iter().flatten().collect();
        let cached =
            if cached.is_empty() { String::new() } else { format!(" ({})", cached.join(", ")) };
        let input = self.input.map(|input| format!("{input} input tokens{cached}"));
        let output = self.output.map(|output| format!("{output} output tokens"));
        let counts: Vec<_> = [input, output].into_iter().flatten().collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    }
}
