//! A reply in a stream of events: each piece of text is printed as soon as it arrives.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::api_error::ApiError;
use super::json::{lenient, malformed, not_utf8, parse_json};
use super::message::read_block;
use super::reply::{Reading, Reply};
use super::sse;
use super::text::JsonText;
use crate::client::token::Token;
use crate::error::{Error, Retry};
use crate::output::{Output, OutputFormat};

/// The most bytes of events that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// What an event means.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum EventKind {
    MessageStart,
    ContentBlockStart,
    ContentBlockDelta,
    MessageDelta,
    MessageStop,
    Error,
    /// Nothing, but its data is JSON.
    #[default]
    #[serde(other)]
    Other,
}

/// Any event, of which only the type is read.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageStart<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WithUsage<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentBlockStart<'a> {
    #[serde(borrow)]
    content_block: &'a RawValue,
}

#[derive(Deserialize)]
struct ContentBlockDelta<T> {
    delta: T,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type")]
    kind: DeltaKind,
    #[serde(borrow, default)]
    text: JsonText<'a>,
}

#[derive(Deserialize)]
struct TypedDelta {
    #[serde(rename = "type")]
    kind: DeltaKind,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum DeltaKind {
    TextDelta,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageDelta<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Stop<'a> {
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_details: Option<&'a RawValue>,
}

/// A stream on its way to the output.
struct Stream<'r> {
    prints_text: bool,
    token: &'r Token,
    reply: &'r mut Reply,
    /// Text that is printed next, if text is printed.
    text: Vec<u8>,
    /// JSON Lines that are printed next, if not.
    lines: Vec<u8>,
    /// The first content has come: from here on nothing is held back, and nothing retried.
    has_content: bool,
    is_complete: bool,
}

impl From<sse::TooLong> for Error {
    fn from(_: sse::TooLong) -> Error {
        malformed("malformed reply: an event in it is too long")
    }
}

/// Reads the events, prints what the format asks for as it comes, and notes in `reply` what they say.
///
/// # Errors
/// Exit status 4 for a stream that is truncated, malformed, or reports an error; those of
/// [`Output::write`].
pub fn read(
    body: impl Read,
    reading: Reading,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Error> {
    if !reading.stream {
        output.hold();
    }
    let mut events = BufReader::with_capacity(READ_BYTES, body);
    let mut stream = Stream::new(reading.format, reading.token, reply);
    let mut parser = sse::Parser::default();
    let result = loop {
        match stream.take_piece(&mut parser, &mut events) {
            Ok(()) => stream.print(output)?,
            Err(error) => break Err(error),
        }
        if stream.is_complete {
            break Ok(());
        }
    };
    match result {
        Ok(()) if stream.prints_text => output.end_line(),
        Ok(()) => Ok(()),
        Err(error) => {
            stream.print(output)?;
            output.break_off();
            if output.has_output() {
                return Err(error.retry(Retry::Never));
            }
            Err(error)
        }
    }
}

impl<'r> Stream<'r> {
    fn new(format: OutputFormat, token: &'r Token, reply: &'r mut Reply) -> Stream<'r> {
        Stream {
            prints_text: format == OutputFormat::Text,
            token,
            reply,
            text: Vec::new(),
            lines: Vec::new(),
            has_content: false,
            is_complete: false,
        }
    }

    /// Takes what has come, waiting if that is nothing.
    fn take_piece(
        &mut self,
        parser: &mut sse::Parser,
        events: &mut impl BufRead,
    ) -> Result<(), Error> {
        let piece = match events.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            piece => piece.map_err(|error| Error::temporary(error.to_string()))?,
        };
        if piece.is_empty() {
            return Err(malformed("truncated reply: the stream ended before message_stop"));
        }
        let length = piece.len();
        parser.feed(piece, |event| self.take_event(event))?;
        events.consume(length);
        Ok(())
    }

    /// Prints what is due. JSON Lines wait for the first content, so that a stream which fails
    /// before it leaves nothing behind and can be retried.
    fn print(&mut self, output: &mut Output) -> Result<(), Error> {
        let due = if self.prints_text { &mut self.text } else { &mut self.lines };
        if self.prints_text || self.has_content || due.len() > READ_BYTES {
            output.write(due)?;
            due.clear();
        }
        Ok(())
    }

    fn take_event(&mut self, event: sse::Event<'_>) -> Result<(), Error> {
        if self.is_complete {
            return Ok(());
        }
        let data = event.data;
        let kind = match event.name {
            b"message_start" => EventKind::MessageStart,
            b"content_block_start" => EventKind::ContentBlockStart,
            b"content_block_delta" => EventKind::ContentBlockDelta,
            b"message_delta" => EventKind::MessageDelta,
            b"message_stop" => EventKind::MessageStop,
            b"error" => EventKind::Error,
            name if name.starts_with(b"message_") || name.starts_with(b"content_block_") => {
                EventKind::Other
            }
            // The standard's default name is as good as none.
            b"" | b"message" if data.trim_ascii().is_empty() => return Ok(()),
            b"" | b"message" => kind_of(data)?,
            // Pings and unknown events may hold anything.
            name => match kind_of(data) {
                Ok(_) if name == b"ping" => EventKind::Other,
                Ok(kind) => kind,
                Err(_) => return Ok(()),
            },
        };
        self.take_data(kind, data)?;
        if !self.prints_text {
            self.text.clear();
            self.push_line(data);
        }
        Ok(())
    }

    fn take_data(&mut self, kind: EventKind, data: &[u8]) -> Result<(), Error> {
        match kind {
            EventKind::MessageStart => {
                let start: Option<MessageStart> = lenient(Some(parse(data)?));
                let message: Option<WithUsage> = lenient(start.and_then(|start| start.message));
                self.reply.set_usage(message.and_then(|message| message.usage));
            }
            EventKind::ContentBlockStart => {
                let ContentBlockStart { content_block } = parse(data)?;
                let before = self.text.len();
                read_block(content_block, self.reply, &mut self.text)?;
                self.has_content |= self.text.len() > before;
            }
            EventKind::ContentBlockDelta => self.take_delta(data)?,
            EventKind::MessageDelta => {
                let MessageDelta { delta, usage } = parse(data)?;
                self.has_content = true;
                self.reply.set_usage(usage);
                if let Some(stop) = lenient::<Stop>(delta) {
                    self.reply.set_stop(stop.stop_reason, stop.stop_details);
                }
            }
            EventKind::MessageStop => {
                let IgnoredAny = parse(data)?;
                self.has_content = true;
                self.is_complete = true;
                self.reply.finish_text(&mut self.text)?;
            }
            EventKind::Error => return Err(self.error_event(data)),
            EventKind::Other => {
                let IgnoredAny = parse(data)?;
            }
        }
        Ok(())
    }

    fn take_delta(&mut self, data: &[u8]) -> Result<(), Error> {
        self.has_content = true;
        let delta = match parse::<ContentBlockDelta<Delta>>(data) {
            Ok(ContentBlockDelta { delta }) => delta,
            // A delta of another kind may call anything its text.
            Err(error) => match parse::<ContentBlockDelta<TypedDelta>>(data) {
                Ok(ContentBlockDelta { delta }) if delta.kind == DeltaKind::Other => return Ok(()),
                _ => return Err(error),
            },
        };
        if delta.kind == DeltaKind::TextDelta {
            self.reply.take_text(&delta.text.0, &mut self.text)?;
        }
        Ok(())
    }

    /// A failure that is reported inside a stream. Only an overload passes so quickly that it is worth
    /// a retry, and only while nothing of the reply has come.
    fn error_event(&self, data: &[u8]) -> Error {
        let error = ApiError::parse(data);
        let retry = if error.kind == "overloaded_error" { Retry::Backoff } else { Retry::Never };
        Error::temporary("the server reported an error during the reply")
            .server_message(error.words(self.token))
            .retry(retry)
    }

    fn push_line(&mut self, data: &[u8]) {
        let line = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte });
        self.lines.extend(line);
        self.lines.push(b'\n');
    }
}

/// The type that an event's data gives.
fn kind_of(data: &[u8]) -> Result<EventKind, Error> {
    let value: &RawValue = parse(data)?;
    let typed: Option<Typed> = lenient(Some(value));
    Ok(lenient(typed.and_then(|typed| typed.kind)).unwrap_or_default())
}

/// The data of an event that is JSON. Checked as a whole, its strings need no check of their own.
fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Error> {
    parse_json(std::str::from_utf8(data).map_err(|_| not_utf8())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    /// What a stream prints, whether it is complete, and the error.
    fn stream(pieces: &[&[u8]], format: OutputFormat) -> (Vec<u8>, bool, Option<String>) {
        let token = Token::new("t0ken", "TOKEN").unwrap();
        let mut reply = Reply::default();
        let mut stream = Stream::new(format, &token, &mut reply);
        let mut parser = sse::Parser::default();
        for piece in pieces {
            if let Err(error) = parser.feed(piece, |event| stream.take_event(event)) {
                let printed = if stream.prints_text { stream.text } else { stream.lines };
                return (printed, stream.is_complete, Some(error.to_string()));
            }
        }
        let printed = if stream.prints_text { stream.text } else { stream.lines };
        (printed, stream.is_complete, None)
    }

    fn delta(text: &str) -> String {
        let data =
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}});
        format!("event: content_block_delta\r\ndata: {data}\r\n\r\n")
    }

    #[test]
    fn data_must_be_json_in_events_that_carry_the_reply_alone() {
        for (event, is_error) in [
            ("event: content_block_stop\ndata: {}\ndata: {}\n\n", true),
            ("event: content_block_new\ndata: x\n\n", true),
            ("event: message_new\ndata: x\n\n", true),
            ("event: message\ndata: x\n\n", true),
            ("event: message_stop\ndata: x\n\n", true),
            ("data: x\n\n", true),
            ("event: content_block_delta\ndata:\n\n", true),
            (
                "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":7}}\n\n",
                true,
            ),
            ("data:\n\n", false),
            ("event: message\ndata: \n\n", false),
            ("event: ping\ndata: x\n\n", false),
            ("event: ping\ndata: {\"type\":\"content_block_delta\"}\n\n", false),
            ("event: news\ndata: x\n\n", false),
            ("data: {\"type\":7}\n\n", false),
            ("data: 7\n\n", false),
            (
                "event: content_block_delta\ndata: {\"delta\":{\"type\":\"x\",\"text\":7}}\n\n",
                false,
            ),
            ("event: message_delta\ndata: {\"delta\":7,\"usage\":[]}\n\n", false),
            (
                "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":{}}}}\n\n",
                false,
            ),
        ] {
            for format in [OutputFormat::Text, OutputFormat::JsonLines] {
                let (_, _, error) = stream(&[event.as_bytes()], format);
                assert_eq!(error.is_some(), is_error, "{event:?}: {error:?}");
            }
        }
    }

    #[test]
    fn events_without_a_name_go_by_their_type() {
        let delta =
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}});
        for name in ["", "event: message\n", "event: unknown\n"] {
            let events =
                format!("{name}data: {delta}\n\n{name}data: {{\"type\":\"message_stop\"}}\n\n");
            assert_eq!(
                stream(&[events.as_bytes()], OutputFormat::Text),
                (b"a".into(), true, None),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_of_a_stream_unchanged(texts in vec(any::<String>(), 0..6), size in 1..50_usize) {
            let events: String = texts.iter().map(|text| delta(text)).collect();
            let pieces: Vec<&[u8]> = events.as_bytes().chunks(size).collect();
            prop_assert_eq!(stream(&pieces, OutputFormat::Text), (texts.concat().into_bytes(), false, None));
        }

        #[test]
        fn any_bytes_are_a_reply_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            let data = [b"data: ", &bytes[..], b"\n\n"].concat();
            for format in [OutputFormat::Text, OutputFormat::JsonLines] {
                let _ = stream(&[&bytes], format);
                let _ = stream(&[&data], format);
            }
        }
    }
}
