//! A stream of events to the reply: each piece of text is written as soon as it has come.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::body::{Block, BlockKind};
use crate::error::{Again, Failure};
use crate::output::Output;
use crate::refusal::Said;
use crate::response::{Form, Reply, Usage, garbled, lost};
use crate::sse;

/// The most bytes of events that are taken at once.
const PIECE: usize = 32 * 1024;

/// The types of event that mean something here.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    MessageStart,
    ContentBlockStart,
    ContentBlockDelta,
    MessageDelta,
    MessageStop,
    Error,
    /// Passed over, whatever it holds.
    #[serde(other)]
    Other,
}

impl Kind {
    /// What the `event` field says.
    fn named(name: &[u8]) -> Kind {
        match name {
            b"message_start" => Kind::MessageStart,
            b"content_block_start" => Kind::ContentBlockStart,
            b"content_block_delta" => Kind::ContentBlockDelta,
            b"message_delta" => Kind::MessageDelta,
            b"message_stop" => Kind::MessageStop,
            b"error" => Kind::Error,
            _ => Kind::Other,
        }
    }
}

/// Any event, of which only the type is read.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: Option<Kind>,
}

#[derive(Deserialize)]
struct MessageStart {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct ContentBlockStart<'a> {
    #[serde(borrow)]
    content_block: Block<'a>,
}

#[derive(Deserialize)]
struct ContentBlockDelta<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type")]
    kind: DeltaKind,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum DeltaKind {
    TextDelta,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Option<Stop>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

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

/// Reads the events, writes what `form` asks for as it comes, and notes in `reply` what they say.
///
/// # Errors
/// Exit status 4 for a stream that is cut off, garbled, or holds an error; the errors of
/// [`Output::write`].
pub fn read(
    body: impl Read,
    form: Form,
    output: &mut Output,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let mut events = BufReader::with_capacity(PIECE, body);
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
            if output.has_begun() {
                return Err(failure.again(Again::Never));
            }
            Err(failure)
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
        let data = event.data;
        match Kind::named(event.name) {
            Kind::Other => match parse::<Typed>(data) {
                Ok(Typed { kind }) => self.take_data(kind.unwrap_or(Kind::Other), data),
                // Nobody has said that an event of another name holds JSON.
                Err(_) if !event.name.is_empty() => Ok(()),
                Err(failure) => Err(failure),
            },
            kind => self.take_data(kind, data),
        }
    }

    fn take_data(&mut self, kind: Kind, data: &[u8]) -> Result<(), Failure> {
        match kind {
            Kind::MessageStart => {
                let usage = parse::<MessageStart>(data)?
                    .message
                    .and_then(|message| message.usage);
                self.reply.usage.update(usage.unwrap_or_default());
            }
            Kind::ContentBlockStart => {
                let ContentBlockStart { content_block } = parse(data)?;
                if content_block.kind == BlockKind::Text {
                    self.take_text(&content_block.text);
                }
            }
            Kind::ContentBlockDelta => {
                let ContentBlockDelta { delta } = parse(data)?;
                self.has_content = true;
                if delta.kind == DeltaKind::TextDelta {
                    self.take_text(&delta.text);
                }
            }
            Kind::MessageDelta => {
                let MessageDelta { delta, usage } = parse(data)?;
                self.has_content = true;
                self.reply.usage.update(usage.unwrap_or_default());
                let reason = delta.and_then(|delta| delta.stop_reason);
                self.reply.stop_reason = reason.or(self.reply.stop_reason.take());
            }
            Kind::MessageStop => {
                let IgnoredAny = parse(data)?;
                self.has_content = true;
                self.complete = true;
            }
            Kind::Error => return Err(error_event(data)),
            Kind::Other => {}
        }
        if self.form != Form::Text {
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

/// The data of an event that is JSON. Checked once as a whole, its strings need no check of their
/// own.
fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Failure> {
    // serde repeats what it found, be it megabytes or the token: those are the server's words.
    let wrong = |why: String| garbled("the reply is garbled in one of its events").said(why);
    let text = std::str::from_utf8(data).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
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

    proptest! {
        #[test]
        fn any_text_comes_out_of_a_stream_unchanged(texts in vec(any::<String>(), 0..6), size in 1..50_usize) {
            let events: String = texts.iter().map(|text| delta(text)).collect();
            let pieces: Vec<&[u8]> = events.as_bytes().chunks(size).collect();
            prop_assert_eq!(stream(&pieces, Form::Text), (texts.concat().into_bytes(), false, None));
        }

        #[test]
        fn any_bytes_are_a_reply_or_a_failure(bytes in vec(any::<u8>(), 0..200)) {
            let data = [b"data: ", &bytes[..], b"\n\n"].concat();
            for form in [Form::Text, Form::JsonLines] {
                let _ = stream(&[&bytes], form);
                let _ = stream(&[&data], form);
            }
        }
    }
}
