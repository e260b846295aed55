//! What becomes known of a reply, and whether it is a finished answer.

use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::json::{lenient, lenient_value};
use super::text::TextJoiner;
use crate::client::Response;
use crate::client::token::Token;
use crate::error::{Error, ExitStatus, Redacted};
use crate::output::{MAX_REPLY_BYTES, OutputFormat, too_large};

const MAX_HEADER_CHARS: usize = 100;

/// How a response is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub format: OutputFormat,
    /// Whether a stream was asked for. If not, nothing is printed before the reply is complete.
    pub stream: bool,
    pub token: &'a Token,
}

/// What is known of the reply so far.
#[derive(Debug, Default)]
pub struct Reply {
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
    cache_status: Option<Redacted>,
    log_id: Option<Redacted>,
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
    pub fn restart(&mut self) {
        *self = Reply::new(self.must_be_json);
    }

    pub fn set_headers<R>(&mut self, response: &Response<R>, token: &Token) {
        let redact = |header: &Option<String>| header.as_deref().map(|text| token.redact(text));
        self.cache_status = redact(&response.cache_status);
        self.log_id = redact(&response.log_id);
    }

    /// Takes over `usage`; its figures are cumulative.
    pub fn set_usage(&mut self, usage: Option<&RawValue>) {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            input_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            output_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            cache_read_input_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            cache_creation_input_tokens: Option<&'a RawValue>,
        }
        let Some(object) = lenient::<Object>(usage) else {
            return;
        };
        let set = |count: &mut Option<u64>, value| *count = lenient(value).or(*count);
        set(&mut self.usage.input, object.input_tokens);
        set(&mut self.usage.output, object.output_tokens);
        set(&mut self.usage.cache_read, object.cache_read_input_tokens);
        set(&mut self.usage.cache_written, object.cache_creation_input_tokens);
    }

    /// Takes over why the model stopped.
    pub fn set_stop(&mut self, reason: Option<&RawValue>, details: Option<&RawValue>) {
        self.stop_reason = lenient(reason).or(self.stop_reason.take());
        let details = details.and_then(|details| lenient_value(details.get()));
        let details = details.filter(|details| !details.is_null());
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

    /// What is known at the end, for `-v`; `started` is when the time began to run.
    pub fn summary(&self, started: Instant) -> String {
        let mut parts = Vec::new();
        parts.extend(self.usage.summary());
        let seconds = |at: Instant| at.duration_since(started).as_secs_f64();
        let total = format!("total {:.2} s", seconds(Instant::now()));
        parts.push(match self.first_text {
            Some(at) => format!("first text {:.2} s, {total}", seconds(at)),
            None => total,
        });
        let header = |name: &str, value: &Option<Redacted>| {
            let value = value.as_ref()?;
            Some(format!("{name} {}", value.shortened(MAX_HEADER_CHARS)))
        };
        parts.extend(header("cache", &self.cache_status));
        parts.extend(header("log", &self.log_id));
        parts.join("; ")
    }

    /// Whether this is a finished answer.
    ///
    /// # Errors
    /// Exit status 5, naming the reason.
    pub fn verdict(&self, format: OutputFormat, token: &Token) -> Result<(), Error> {
        let unfinished = |what: &str| Err(Error::new(ExitStatus::Unfinished, what));
        let is_text = format == OutputFormat::Text;
        match self.stop_reason.as_deref() {
            Some("tool_use") if !is_text => Ok(()),
            Some("end_turn" | "stop_sequence") if self.must_be_json && !self.is_json() => {
                unfinished("the reply is not valid JSON, which --schema asks for")
            }
            Some("end_turn" | "stop_sequence") if self.has_words || !is_text => Ok(()),
            Some("end_turn" | "stop_sequence") => unfinished("the reply has no text"),
            Some("max_tokens") => unfinished(
                "the reply was cut off at the token limit (max_tokens); raise --max-tokens",
            ),
            Some("model_context_window_exceeded") => unfinished(
                "the reply was cut off at the end of the context window (model_context_window_exceeded); send less",
            ),
            Some("refusal") => {
                let error =
                    Error::new(ExitStatus::Unfinished, "the model declined to answer (refusal)");
                Err(match &self.explanation {
                    Some(words) => error.server_message(token.redact(words)),
                    None => error,
                })
            }
            Some("pause_turn") => unfinished("the model paused before it was done (pause_turn)"),
            Some("tool_use") => {
                unfinished("the model asks for a tool (tool_use); use --json to see the call")
            }
            Some(other) => {
                Err(Error::new(ExitStatus::Unfinished, "the reply stopped for an unknown reason")
                    .server_message(token.redact(other)))
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
