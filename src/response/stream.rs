//! A reply in a stream of events: each piece of text is printed as soon as it arrives.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memmem;
use serde_json::value::RawValue;

use super::api_error::ApiError;
use super::json::{lenient_properties, lenient_text, malformed, not_utf8, parse_json};
use super::message::{self, read_block, read_text};
use super::reply::{Reading, Reply};
use super::sse;
use super::text::JsonText;
use crate::error::{Error, Retry};
use crate::output::{MAX_REPLY_BYTES, Output, OutputFormat, too_large};

/// The most bytes of events that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// What an event means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EventKind {
    MessageStart,
    ContentBlockStart,
    ContentBlockDelta,
    MessageDelta,
    MessageStop,
    Error,
    /// Nothing, but its data is JSON.
    Other,
}

/// A stream on its way to the output.
struct Stream<'r> {
    prints_text: bool,
    reply: &'r mut Reply,
    /// Text that is printed next, if text is printed.
    text: Vec<u8>,
    /// JSON Lines that are printed next, if not.
    lines: Vec<u8>,
    /// The first content has come: from here on nothing is held back, and nothing retried.
    has_content: bool,
    is_complete: bool,
    frame: Frame,
}

/// The data of a text delta around its text and around the gateway's padding, a property `p`. Most of
/// a long stream is deltas that differ in those two alone.
#[derive(Default)]
struct Frame {
    before: Vec<u8>,
    between: Vec<u8>,
    after: Vec<u8>,
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
    let first = fill(&mut events)?;
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first);
    // No line of a stream begins so: it is one JSON body, whatever its Content-Type says.
    if first.trim_ascii_start().starts_with(b"{") {
        return message::read(events, reading, output, reply);
    }
    let mut stream = Stream::new(reading.format, reply);
    let mut parser = sse::Parser::default();
    let taken = loop {
        let taken = stream.take_piece(&mut parser, &mut events);
        stream.print(output)?;
        if taken.is_err() || stream.is_complete {
            break taken;
        }
    };
    if let Err(error) = taken {
        output.break_off();
        return Err(if output.has_output() { error.retry(Retry::Never) } else { error });
    }
    if stream.prints_text { output.end_line() } else { Ok(()) }
}

/// What has come, waiting if that is nothing; empty at the end.
fn fill(events: &mut BufReader<impl Read>) -> Result<&[u8], Error> {
    while let Err(error) = events.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::temporary(error.to_string()));
        }
    }
    Ok(events.buffer())
}

impl<'r> Stream<'r> {
    fn new(format: OutputFormat, reply: &'r mut Reply) -> Stream<'r> {
        Stream {
            prints_text: format == OutputFormat::Text,
            reply,
            text: Vec::new(),
            lines: Vec::new(),
            has_content: false,
            is_complete: false,
            frame: Frame::default(),
        }
    }

    /// Takes what has come, waiting if that is nothing.
    fn take_piece(
        &mut self,
        parser: &mut sse::Parser,
        events: &mut BufReader<impl Read>,
    ) -> Result<(), Error> {
        let lost = match fill(events) {
            Ok([]) => malformed("truncated reply: the stream ended before message_stop"),
            Ok(piece) => {
                let length = piece.len();
                parser.feed(piece, |event| self.take_event(event))?;
                events.consume(length);
                return Ok(());
            }
            Err(error) => error,
        };
        // The last event counts without the blank line that ends it, if it says why.
        parser.feed(b"\n\n", |event| match kind_of(event) {
            Ok(Some(EventKind::Error)) => self.take_event(event),
            _ => Ok(()),
        })?;
        Err(lost)
    }

    /// Prints what is due. JSON Lines wait for the first content, so that a stream which fails
    /// before it leaves nothing behind and can be retried.
    fn print(&mut self, output: &mut Output) -> Result<(), Error> {
        let due = if self.prints_text { &mut self.text } else { &mut self.lines };
        if self.prints_text || self.has_content {
            output.write(due)?;
            due.clear();
        }
        if due.len() > MAX_REPLY_BYTES { Err(too_large()) } else { Ok(()) }
    }

    fn take_event(&mut self, event: sse::Event<'_>) -> Result<(), Error> {
        if self.is_complete {
            return Ok(());
        }
        let Some(kind) = kind_of(event)? else {
            return Ok(());
        };
        self.take_data(kind, event.data)?;
        if !self.prints_text {
            self.text.clear();
            self.push_line(event.data);
        }
        Ok(())
    }

    fn take_data(&mut self, kind: EventKind, data: &[u8]) -> Result<(), Error> {
        if kind == EventKind::Error {
            let what = "the server reported an error during the reply";
            return Err(self.reply.failure(ApiError::parse(data), what));
        }
        if kind == EventKind::ContentBlockDelta
            && let Some(text) = self.frame.text_in(data)
        {
            self.has_content = true;
            return self.reply.take_text(&text.0, &mut self.text);
        }
        let event = Some(parse(data)?);
        let [message, block, delta, usage] =
            lenient_properties(event, ["message", "content_block", "delta", "usage"]);
        match kind {
            EventKind::MessageStart => {
                let [usage] = lenient_properties(message, ["usage"]);
                self.reply.set_usage(usage);
                self.reply.set_key_source(message);
            }
            EventKind::ContentBlockStart => {
                let before = self.text.len();
                read_block(block, self.reply, &mut self.text)?;
                self.has_content |= self.text.len() > before;
            }
            EventKind::ContentBlockDelta => {
                self.has_content = true;
                let [kind, text] = lenient_properties(delta, ["type", "text"]);
                if lenient_text(kind).as_deref() == Some("text_delta") {
                    read_text(text, self.reply, &mut self.text)?;
                    self.frame = text.map_or_else(Frame::default, |text| Frame::around(text, data));
                }
                return Ok(());
            }
            EventKind::MessageDelta => {
                self.has_content = true;
                self.reply.set_usage(usage);
                self.reply.set_stop(delta);
            }
            EventKind::MessageStop => {
                self.has_content = true;
                self.is_complete = true;
                self.reply.finish_text(&mut self.text)?;
            }
            EventKind::Error | EventKind::Other => {}
        }
        self.reply.set_key_source(event);
        Ok(())
    }

    fn push_line(&mut self, data: &[u8]) {
        let line = data.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte });
        self.lines.extend(line);
        self.lines.push(b'\n');
    }
}

impl EventKind {
    fn named(name: &[u8]) -> Option<EventKind> {
        Some(match name {
            b"message_start" => EventKind::MessageStart,
            b"content_block_start" => EventKind::ContentBlockStart,
            b"content_block_delta" => EventKind::ContentBlockDelta,
            b"message_delta" => EventKind::MessageDelta,
            b"message_stop" => EventKind::MessageStop,
            b"error" => EventKind::Error,
            _ => return None,
        })
    }
}

impl Frame {
    /// What stands around `text`, a string in `data`.
    fn around(text: &RawValue, data: &[u8]) -> Frame {
        const PADDING: &[u8] = br#","p":""#;
        let text = text.get();
        let (before, rest) = data.split_at(text.as_ptr().addr() - data.as_ptr().addr());
        let rest = rest[text.len()..].trim_ascii_end();
        let padding = memmem::find(rest, PADDING).map_or(rest.len(), |at| at + PADDING.len());
        let (between, rest) = rest.split_at(padding);
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Frame { before: before.into(), between: between.into(), after: rest[end..].into() }
    }

    /// The text of data that differs in text and padding alone.
    fn text_in<'a>(&self, data: &'a [u8]) -> Option<JsonText<'a>> {
        // Before the first, there is nothing to differ from. And serde_json takes control characters in
        // text, which JSON does not.
        if self.before.is_empty() || data.iter().fold(false, |found, byte| found | (*byte < b' ')) {
            return None;
        }
        let rest = data.strip_prefix(&*self.before)?.trim_ascii_end().strip_suffix(&*self.after)?;
        let padding = rest.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let text = rest[..rest.len() - padding].strip_suffix(&*self.between)?;
        serde_json::from_str(str::from_utf8(text).ok()?).ok()
    }
}

/// What an event means, if its data is worth reading.
///
/// # Errors
/// Data that is not JSON, in an event without a name.
fn kind_of(event: sse::Event<'_>) -> Result<Option<EventKind>, Error> {
    if let Some(kind) = EventKind::named(event.name) {
        return Ok(Some(kind));
    }
    Ok(Some(match event.name {
        name if name.starts_with(b"message_") || name.starts_with(b"content_block_") => {
            EventKind::Other
        }
        // The standard's default name is as good as none.
        b"" | b"message" => {
            if event.data.trim_ascii().is_empty() {
                return Ok(None);
            }
            let value = parse(event.data)?;
            match type_of(value) {
                EventKind::Other if is_failure(value) => EventKind::Error,
                kind => kind,
            }
        }
        // Pings and unknown events may hold anything.
        name => match parse(event.data) {
            Ok(_) if name == b"ping" => EventKind::Other,
            Ok(value) => type_of(value),
            Err(_) => return Ok(None),
        },
    }))
}

/// The type that an event's data gives.
fn type_of(value: &RawValue) -> EventKind {
    let [kind] = lenient_properties(Some(value), ["type"]);
    let kind = lenient_text(kind).and_then(|kind| EventKind::named(kind.as_bytes()));
    kind.unwrap_or(EventKind::Other)
}

/// Whether an event of no known type reports an error. A ping reports nothing.
fn is_failure(value: &RawValue) -> bool {
    let [kind] = lenient_properties(Some(value), ["type"]);
    lenient_text(kind).as_deref() != Some("ping") && ApiError::reported(value).is_some()
}

/// The error in a stream that comes with the status of an error: of its first event that is one, or
/// else all its data.
pub fn error_in(body: &[u8]) -> ApiError {
    let (mut error, mut all) = (None, Vec::new());
    // What is too long ends it.
    let _ = sse::Parser::default().feed(&[body, b"\n\n"].concat(), |event| {
        if error.is_none() && matches!(kind_of(event), Ok(Some(EventKind::Error))) {
            error = Some(ApiError::parse(event.data));
        }
        all.extend_from_slice(event.data);
        Ok::<(), sse::TooLong>(())
    });
    error.unwrap_or_else(|| ApiError::parse(if all.is_empty() { body } else { &all }))
}

/// The data of an event that is JSON, checked as a whole.
fn parse(data: &[u8]) -> Result<&RawValue, Error> {
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
        let mut reply = Reply::default();
        let mut stream = Stream::new(format, &mut reply);
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
            (
                "data: {\"type\":{\"content_block_delta\":null},\"delta\":{\"type\":\"text_delta\",\"text\":7}}\n\n",
                false,
            ),
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

    #[test]
    fn a_delta_means_the_same_after_one_like_it() {
        let printed = |data: &[&[u8]]| {
            let event =
                |data: &&[u8]| [b"event: content_block_delta\ndata: ", *data, b"\n\n"].concat();
            stream(&[&data.iter().map(event).collect::<Vec<_>>().concat()], OutputFormat::Text)
        };
        let frames = [
            [r#"{"delta":{"type":"text_delta","text":"#, "}}"],
            [r#"{"delta":{"text":"#, r#","type":"text_delta"}, "p": "abc"}"#],
            [r#"{"delta":{"type":"text_delta","text":"#, r#"},"p":"abc","q":1}"#],
            [r#"{"delta":{"type":"text_delta","text":"#, r#","p":"abc"}}"#],
            [r#"{"delta":{"type":"new_delta","text":"#, "}}"],
            ["", ""],
        ];
        for [before, after] in frames {
            for text in [
                &b"\"b\""[..],
                b" \"b\" ",
                b"\"\"",
                br#""\n\"\ud83e""#,
                b"\"b\xff\"",
                b"\"b\tc\"",
                br#""b\""#,
                b"\"b",
                b"b",
                b"7",
                b"null",
                b"\"b\" \"c\"",
                br#""b","text":"c""#,
                br#""b","type":"x""#,
                br#""b"},"delta":{"type":"text_delta","text":"c""#,
                br#""b"},"delta":{"type":"x""#,
            ] {
                for padding in ["abc", "", "z9", "-", r"\n", r"\u0041", r#"a","delta":7,"r":""#] {
                    let data =
                        |text, after: &str| [before.as_bytes(), text, after.as_bytes()].concat();
                    let first = data(b"\"a\"", after);
                    let second = data(text, &after.replace("abc", padding));
                    let (mut expected, _, _) = printed(&[&first]);
                    let (alone, _, error) = printed(&[&second]);
                    expected.extend(alone);
                    let shown = String::from_utf8_lossy(&second);
                    assert_eq!(printed(&[&first, &second]), (expected, false, error), "{shown}");
                }
            }
        }
        for data in [
            r#""b""#,
            r#"{"delta":{"type":"new_delta","text":"b"}}"#,
            r#"{"delta":["text_delta","b"]}"#,
            r#"[{"type":"text_delta","text":"b"}]"#,
        ] {
            assert_eq!(printed(&[data.as_bytes()]), (vec![], false, None), "{data}");
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
