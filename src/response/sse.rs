//! Parses a stream of bytes into events, by the section "Server-sent events" of the WHATWG HTML standard.

use memchr::memchr2;

/// A delta is a few dozen bytes; this leaves room for a whole reply in one event, and bounds what a
/// hostile server can make us keep.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// One event: its name, empty if the stream gave none, and its data lines joined by LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field.
    pub name: &'a [u8],
    /// The `data` fields. Bytes: they are decoded only by who reads them.
    pub data: &'a [u8],
}

/// An event or a line was longer than is taken.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Parses a stream that arrives in pieces of any size.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The first line has been read, and with it the one byte order mark that is dropped.
    has_begun: bool,
}

impl Parser {
    /// Parses the next bytes of the stream, and hands over every event that they complete. An event
    /// that no empty line has ended is never handed over.
    ///
    /// # Errors
    /// The first error of `on_event`, or [`TooLong`]; after either the stream cannot go on.
    pub fn feed<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            if self.line.is_empty() {
                self.take_line(&bytes[..end], &mut on_event)?;
            } else {
                self.keep(&bytes[..end])?;
                let mut line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut on_event)?;
                line.clear();
                self.line = line;
            }
            let is_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.keep(bytes)?;
        Ok(())
    }

    /// Keeps a part of a line until the rest comes.
    fn keep(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn take_line<E: From<TooLong>>(
        &mut self,
        mut line: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.has_begun {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            self.has_begun = true;
        }
        if line.is_empty() {
            return self.dispatch(on_event);
        }
        // Every other field is for clients that reconnect, and a line that begins with a colon is a comment.
        if let Some(value) = value_of(b"event", line) {
            self.name.clear();
            self.name.extend_from_slice(value);
        } else if let Some(value) = value_of(b"data", line) {
            if self.data.len() + value.len() >= MAX_EVENT_BYTES {
                return Err(TooLong.into());
            }
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        Ok(())
    }

    fn dispatch<E>(
        &mut self,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = if self.has_data {
            on_event(Event { name: &self.name, data: &self.data })
        } else {
            Ok(())
        };
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        result
    }
}

/// The value of `field` if `line` gives one. A field without a colon has an empty value.
fn value_of<'a>(field: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Events = Vec<(String, String)>;

    fn raw_events(pieces: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser
                .feed(piece, |event| {
                    events.push((event.name.to_vec(), event.data.to_vec()));
                    Ok::<(), TooLong>(())
                })
                .unwrap();
        }
        events
    }

    fn events(pieces: &[&[u8]]) -> Events {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let events = raw_events(pieces).into_iter();
        events.map(|(name, data)| (text(name), text(data))).collect()
    }

    fn list(expected: &[(&str, &str)]) -> Events {
        let owned = |(name, data): &(&str, &str)| ((*name).to_owned(), (*data).to_owned());
        expected.iter().map(owned).collect()
    }

    const CASES: [(&str, &[(&str, &str)]); 16] = [
        ("", &[]),
        ("data: a\n\n", &[("", "a")]),
        ("data:a\n\n", &[("", "a")]),
        ("data:  a \n\n", &[("", " a ")]),
        ("event: x\ndata: a\n\ndata: b\n\n", &[("x", "a"), ("", "b")]),
        ("event: x\nevent: y\ndata: a\n\n", &[("y", "a")]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]),
        ("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]),
        ("data: a\n\r\ndata: b\r\n\n", &[("", "a"), ("", "b")]),
        ("data: a\ndata\ndata:b\n\n", &[("", "a\n\nb")]),
        ("data\n\n", &[("", "")]),
        ("event: x\n\ndata: a\n\n", &[("", "a")]),
        (": hello\n:\ndata: a\n: b\n\n", &[("", "a")]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[("", "a")]),
        ("id: 1\nretry: 2\nDATA: c\ndata : d\ndata: é\n\n", &[("", "é")]),
        ("data: a\n\ndata: cut\n", &[("", "a")]),
    ];

    #[test]
    fn whole_streams_give_their_events() {
        for (stream, expected) in CASES {
            assert_eq!(events(&[stream.as_bytes()]), list(expected), "{stream:?}");
        }
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_split() {
        for (stream, expected) in CASES {
            let bytes = stream.as_bytes();
            for at in 0..=bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(events(&[first, second]), list(expected), "{stream:?} at {at}");
                assert_eq!(events(&[first, b"", second]), list(expected), "{stream:?} at {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&single), list(expected), "{stream:?}");
        }
    }

    #[test]
    fn a_line_that_ends_in_cr_is_not_held_back() {
        assert_eq!(events(&[b"data: a\r\r"]), list(&[("", "a")]));
    }

    #[test]
    fn a_line_or_an_event_that_is_too_long_is_an_error() {
        assert_eq!(MAX_EVENT_BYTES, 16_777_216);
        let half = vec![b'x'; MAX_EVENT_BYTES / 2];
        let no_event = |_: Event<'_>| Ok(());

        // A line that its end completes only in the next piece.
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&half, no_event), Ok(()));
        assert_eq!(parser.feed(&half, no_event), Ok(()));
        assert_eq!(parser.feed(b"x", no_event), Err(TooLong));

        // Data on many lines, each with a line feed between it and the next.
        let mut parser = Parser::default();
        let line = [b"data:", &half[..MAX_EVENT_BYTES / 2 - 1], b"\n"].concat();
        assert_eq!(parser.feed(&line, no_event), Ok(()));
        assert_eq!(parser.feed(&line, no_event), Ok(()));
        assert_eq!(parser.data.len(), MAX_EVENT_BYTES - 1);
        assert_eq!(parser.feed(b"data:x\n", no_event), Err(TooLong));
    }

    const PARTS: &[&[u8]] = &[
        b"data: x",
        b"data",
        b"event:e",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\xff",
    ];

    proptest! {
        #[test]
        fn any_bytes_split_anywhere_give_the_same_events(
            parts in vec(
                prop::sample::select(PARTS),
                0..40,
            ),
            sizes in vec(1..9_usize, 1..20),
        ) {
            let whole = parts.concat();
            let mut pieces = Vec::new();
            let mut rest = &whole[..];
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(raw_events(&pieces), raw_events(&[&whole]));
        }
    }
}
