//! A response, JSON or events, to the reply: its text, why it stopped, what it used.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Instant;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Again, Exit, Failure};
use crate::output::Output;
use crate::refusal::{self, Context, Said};
use crate::retry::Hints;
use crate::sse;

/// The longest body that is taken, in bytes. The longest reply that the model gives is far below
/// 1 MB; this bounds what a hostile server can make us keep.
const BODY_LIMIT: usize = 32_000_000;

/// The most bytes of events that are taken at once.
const PIECE: usize = 32 * 1024;

/// The most objects that a message is taken out of. Two are known of; each is read anew, so that
/// without a bound a small body could keep us busy for hours.
const MOST_WRAPPINGS: usize = 4;

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
    fn update(&mut self, newer: Usage) {
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
    fn take_text(&mut self, text: &str) {
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
        let done = format!("done after {:.2} s", seconds(Instant::now()));
        parts.push(match self.first_text {
            Some(at) => format!("first text after {:.2} s, {done}", seconds(at)),
            None => done,
        });
        parts.extend(self.cache.as_ref().map(|status| format!("cache {status}")));
        parts.extend(self.log.as_ref().map(|id| format!("log {id}")));
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
        return read_events(
            BufReader::with_capacity(PIECE, body),
            asked.form,
            output,
            reply,
        );
    }
    let body = read_body(body)?;
    let text = parse_body(status, &body, asked.context, reply)?;
    match asked.form {
        Form::Text => output.write_whole(text.into_bytes()),
        Form::Json => output.write_whole(body),
        Form::JsonLines => output.write_whole(one_line(body)),
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
fn lost(error: &io::Error) -> Failure {
    Failure::new(Exit::Transient, error.to_string())
}

fn garbled(what: &str) -> Failure {
    Failure::new(Exit::Transient, what)
}

// One JSON body.

/// The message, wrapped or bare, and whatever says that it is none.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    content: Option<Text>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// The text of a content array: its blocks of type `text`, joined.
struct Text(String);

/// A content block, of which only text is read.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;
        impl<'de> Visitor<'de> for Blocks {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of content blocks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Text, A::Error> {
                let mut text = String::new();
                while let Some(block) = blocks.next_element::<Block<'de>>()? {
                    if block.kind != "text" {
                        continue;
                    }
                    // The usual single block is moved, not copied: it can be megabytes.
                    if text.is_empty() {
                        text = block.text.into_owned();
                    } else {
                        text.push_str(&block.text);
                    }
                }
                Ok(Text(text))
            }
        }
        deserializer.deserialize_seq(Blocks)
    }
}

fn read_body(body: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = body.take(BODY_LIMIT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| lost(&error))?;
    if bytes.len() > BODY_LIMIT {
        return Err(garbled("the reply is over 32 MB, more than any reply has"));
    }
    Ok(bytes)
}

/// The text of the message in `body`; stop reason and usage go to `reply`.
fn parse_body(
    status: u16,
    body: &[u8],
    context: Context<'_>,
    reply: &mut Reply,
) -> Result<String, Failure> {
    if body.trim_ascii().is_empty() {
        return Err(garbled(&format!("HTTP {status} with an empty body")));
    }
    let envelope = unwrap(status, body, context)?;
    let Some(Text(text)) = envelope.content else {
        let page = String::from_utf8_lossy(&body[..body.len().min(PIECE)]).into_owned();
        return Err(garbled(&format!("HTTP {status} with JSON that is no message")).said(page));
    };
    reply.stop_reason = envelope.stop_reason;
    reply.usage = envelope.usage.unwrap_or_default();
    reply.take_text(&text);
    Ok(text)
}

/// The innermost of the wrappings around a message, or the failure that one of them tells of.
fn unwrap<'a>(status: u16, body: &'a [u8], context: Context<'_>) -> Result<Envelope<'a>, Failure> {
    let no_message = |error: serde_json::Error| not_a_message(status, body, &error);
    let mut envelope: Envelope = serde_json::from_slice(body).map_err(no_message)?;
    for _ in 0..MOST_WRAPPINGS {
        let errors = envelope.errors.filter(|errors| says_something(errors));
        let error = envelope.error.filter(|error| says_something(error));
        if let Some(error) = errors.or(error) {
            let said = Said::parse(format!(r#"{{"error":{}}}"#, error.get()).as_bytes());
            return Err(refusal::failed_inside(status, &said, context));
        }
        if envelope.state.as_deref() == Some("Failed") {
            let said = Said {
                message: "its state is Failed".into(),
                ..Said::default()
            };
            return Err(refusal::failed_inside(status, &said, context));
        }
        let Some(result) = envelope.result else {
            break;
        };
        envelope = serde_json::from_str(result.get()).map_err(no_message)?;
    }
    Ok(envelope)
}

/// Whether an `errors` or `error` is more than an empty list, object or string, or `false`.
fn says_something(error: &RawValue) -> bool {
    let inside = |c: char| c.is_whitespace() || "[]{}\"".contains(c);
    !matches!(error.get().trim_matches(inside), "" | "false")
}

fn not_a_message(status: u16, body: &[u8], error: &serde_json::Error) -> Failure {
    if !body.trim_ascii_start().starts_with(b"{") {
        return garbled(&format!("HTTP {status} with a page instead of a message"))
            .said(Said::parse(body).message);
    }
    if error.is_eof() {
        return garbled("the reply was cut off on its way: its JSON has no end");
    }
    garbled(&format!("the reply is garbled: {error}"))
}

/// JSON on one line. A line end in JSON is white space between its parts, and nothing else.
fn one_line(mut json: Vec<u8>) -> Vec<u8> {
    json.truncate(json.trim_ascii_end().len());
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json
}

// A stream of events.

/// What a known event holds, as far as it is read. Deltas come by the hundred thousand: what they
/// do not have takes little room.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    message: Option<Box<Start>>,
    #[serde(borrow, default)]
    content_block: Option<Box<Block<'a>>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<Box<Usage>>,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(default)]
    stop_reason: Option<String>,
}

/// The type alone: what can be read of an event that nobody has described.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
}

/// Events that mean something here; any other is passed over, whatever it holds.
const KNOWN: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
];

/// A stream on its way to the output.
struct Stream<'r> {
    form: Form,
    reply: &'r mut Reply,
    /// What is written next.
    pending: Vec<u8>,
    /// The first content has come: from here on nothing is held back, and nothing tried again.
    has_content: bool,
    complete: bool,
}

impl From<sse::TooLong> for Failure {
    fn from(_: sse::TooLong) -> Failure {
        garbled("the reply is garbled: an event in it has no end")
    }
}

fn read_events(
    mut events: impl BufRead,
    form: Form,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let mut stream = Stream {
        form,
        reply,
        pending: Vec::new(),
        has_content: false,
        complete: false,
    };
    let mut parser = sse::Parser::default();
    let result = loop {
        match stream.take_piece(&mut parser, &mut events) {
            Ok(more) => {
                stream.write(output)?;
                if !more {
                    break Ok(());
                }
            }
            Err(failure) => break Err(failure),
        }
    };
    match result {
        Ok(()) if form == Form::Text => output.end_line(),
        Ok(()) => Ok(()),
        Err(failure) => {
            stream.write(output)?;
            output.break_off();
            let first = if output.has_begun() {
                Again::Never
            } else {
                failure.again
            };
            Err(failure.again(first))
        }
    }
}

impl Stream<'_> {
    /// Takes what has come, waiting if that is nothing; false once the message is complete.
    fn take_piece(
        &mut self,
        parser: &mut sse::Parser,
        events: &mut impl BufRead,
    ) -> Result<bool, Failure> {
        let piece = match events.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            piece => piece.map_err(|error| lost(&error))?,
        };
        if piece.is_empty() {
            return Err(garbled(
                "the reply was cut off on its way: its stream ended before message_stop",
            ));
        }
        let length = piece.len();
        parser.feed(piece, |event| self.take_event(event))?;
        events.consume(length);
        Ok(!self.complete)
    }

    /// Writes what is due. JSON Lines wait for the first content, so that a stream which fails
    /// before it leaves nothing behind and can be tried again.
    fn write(&mut self, output: &mut Output) -> Result<(), Failure> {
        if self.form == Form::Text || self.has_content || self.pending.len() > PIECE {
            output.write(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    fn take_event(&mut self, event: sse::Event<'_>) -> Result<(), Failure> {
        if self.complete {
            return Ok(());
        }
        // Checked once as a whole, its strings need no check of their own.
        let data = match std::str::from_utf8(event.data) {
            Ok(text) => serde_json::from_str::<Data>(text),
            Err(_) => serde_json::from_slice(event.data),
        };
        let data = match data {
            Ok(data) => data,
            Err(error) => return self.take_odd_event(event, &error),
        };
        let name = std::str::from_utf8(event.name).unwrap_or_default();
        let kind = if data.kind.is_empty() || name == "error" {
            name
        } else {
            &data.kind
        };
        if kind == "error" {
            return Err(error_event(event.data));
        }
        if self.form != Form::Text {
            self.push_line(event.data);
        }
        match kind {
            "message_start" => {
                if let Some(usage) = data.message.and_then(|message| message.usage) {
                    self.reply.usage.update(usage);
                }
            }
            "content_block_start" => {
                if let Some(block) = data.content_block.filter(|block| block.kind == "text") {
                    self.take_text(&block.text);
                }
            }
            "content_block_delta" => {
                self.has_content = true;
                if let Some(delta) = data.delta.filter(|delta| delta.kind == "text_delta") {
                    self.take_text(&delta.text);
                }
            }
            "message_delta" => {
                self.has_content = true;
                if let Some(usage) = data.usage {
                    self.reply.usage.update(*usage);
                }
                let reason = data.delta.and_then(|delta| delta.stop_reason);
                self.reply.stop_reason = reason.or(self.reply.stop_reason.take());
            }
            "message_stop" => {
                self.has_content = true;
                self.complete = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// An event that does not hold what the known ones hold: passed over, unless it is one.
    fn take_odd_event(
        &mut self,
        event: sse::Event<'_>,
        error: &serde_json::Error,
    ) -> Result<(), Failure> {
        let data = event.data;
        let name = std::str::from_utf8(event.name).unwrap_or_default();
        let parsed = serde_json::from_slice::<Kind>(data);
        let kind = match &parsed {
            Ok(Kind { kind }) if !kind.is_empty() => kind,
            _ => name,
        };
        if name == "error" || kind == "error" {
            return Err(error_event(data));
        }
        if KNOWN.contains(&kind) || (kind.is_empty() && parsed.is_err()) {
            return Err(garbled(&format!(
                "the reply is garbled: an event in it is not what it should be: {error}"
            )));
        }
        if self.form != Form::Text && parsed.is_ok() {
            self.push_line(data);
        }
        Ok(())
    }

    fn take_text(&mut self, text: &str) {
        self.reply.take_text(text);
        self.has_content = self.has_content || !text.is_empty();
        if self.form == Form::Text {
            self.pending.extend_from_slice(text.as_bytes());
        }
    }

    fn push_line(&mut self, data: &[u8]) {
        self.pending.extend(
            data.iter()
                .map(|byte| if *byte == b'\n' { b' ' } else { *byte }),
        );
        self.pending.push(b'\n');
    }
}

/// A failure that came inside a stream. Only an overload passes so quickly that it is worth
/// another attempt, and only while nothing of the reply has come.
fn error_event(data: &[u8]) -> Failure {
    let said = Said::parse(data);
    let again = if said.kind == "overloaded_error" {
        Again::Backoff
    } else {
        Again::Never
    };
    garbled("the reply ended with an error")
        .said(said.message)
        .again(again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    const CONTEXT: Context<'_> = Context {
        model: "m",
        token_source: "t",
    };

    /// The text of a message, and its stop reason, or the failure's line.
    fn body(bytes: &[u8]) -> Result<(String, Option<String>), String> {
        let mut reply = Reply::default();
        let text = parse_body(200, bytes, CONTEXT, &mut reply);
        text.map(|text| (text, reply.stop_reason))
            .map_err(|failure| failure.to_string())
    }

    /// What a stream writes, whether it is complete, and the failure's line.
    fn stream(pieces: &[&[u8]], form: Form) -> (Vec<u8>, bool, Option<String>) {
        let mut reply = Reply::default();
        let mut stream = Stream {
            form,
            reply: &mut reply,
            pending: Vec::new(),
            has_content: false,
            complete: false,
        };
        let mut parser = sse::Parser::default();
        for piece in pieces {
            if let Err(failure) = parser.feed(piece, |event| stream.take_event(event)) {
                return (stream.pending, stream.complete, Some(failure.to_string()));
            }
        }
        (stream.pending, stream.complete, None)
    }

    fn delta(text: &str) -> String {
        let data =
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}});
        format!("event: content_block_delta\r\ndata: {data}\r\n\r\n")
    }

    #[test]
    fn json_on_one_line() {
        for (json, line) in [
            ("{\n \"a\":\r\n1 }\n", "{  \"a\":  1 }"),
            ("{}", "{}"),
            ("", ""),
        ] {
            assert_eq!(one_line(json.into()), line.as_bytes());
        }
    }

    #[test]
    fn errors_that_say_nothing() {
        for (json, says) in [
            ("[]", false),
            ("[ ]", false),
            ("{}", false),
            ("\"\"", false),
            ("false", false),
            ("[{}]", false),
            ("[1]", true),
            ("{\"a\":1}", true),
        ] {
            let raw: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(says_something(raw), says, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_of_a_body_unchanged(texts in vec(any::<String>(), 0..4)) {
            let content: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
            let message = json!({"content": content, "stop_reason": "end_turn"});
            for wrapped in [message.clone(), json!({"result": message}), json!({"result": {"result": message}})] {
                let (text, reason) = body(wrapped.to_string().as_bytes()).unwrap();
                prop_assert_eq!(&text, &texts.concat());
                prop_assert_eq!(reason.as_deref(), Some("end_turn"));
            }
        }

        #[test]
        fn any_text_comes_out_of_a_stream_unchanged(texts in vec(any::<String>(), 0..6), size in 1..50_usize) {
            let events: String = texts.iter().map(|text| delta(text)).collect();
            let pieces: Vec<&[u8]> = events.as_bytes().chunks(size).collect();
            prop_assert_eq!(stream(&pieces, Form::Text), (texts.concat().into_bytes(), false, None));
        }

        #[test]
        fn any_bytes_are_a_reply_or_a_failure(bytes in vec(any::<u8>(), 0..200)) {
            let _ = body(&bytes);
            let data = [b"data: ", &bytes[..], b"\n\n"].concat();
            for form in [Form::Text, Form::JsonLines] {
                let _ = stream(&[&bytes], form);
                let _ = stream(&[&data], form);
            }
        }

        #[test]
        fn any_change_to_a_message_is_a_reply_or_a_failure(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = json!({
                "result": {"content": [{"type": "text", "text": "a"}], "stop_reason": null, "usage": {"input_tokens": 1}},
                "errors": [], "state": "Completed",
            }).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = body(&bytes);
            bytes.truncate(at);
            prop_assert!(body(&bytes).is_err());
        }
    }
}
