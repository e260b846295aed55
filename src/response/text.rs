//! The reply's text, joined from the pieces and blocks that the server splits it into.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The length of a surrogate in bytes: one that is encoded like a character of its own.
const SURROGATE_LEN: usize = 3;

/// A JSON string as bytes: UTF-8, except that a half of a surrogate pair stands for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonText<'a>(pub Cow<'a, [u8]>);

/// Joins pieces of text. A pair of surrogates may be split between two pieces, and other blocks may
/// stand between two blocks of text.
#[derive(Debug, Default)]
pub struct TextJoiner {
    /// The first half of a pair, until the other comes.
    high_surrogate: Option<u32>,
    has_text: bool,
    /// At most two.
    trailing_newlines: usize,
    /// Another block has come since the last text.
    is_interrupted: bool,
}

impl TextJoiner {
    /// Notes that a block of another kind has come.
    pub fn interrupt(&mut self) {
        self.is_interrupted = self.has_text;
    }

    /// Appends a piece to `text`, after a blank line if another block stands before it: as many
    /// newlines as are missing there.
    pub fn push(&mut self, mut piece: &[u8], text: &mut Vec<u8>) {
        if self.is_interrupted {
            let newlines = piece.iter().take_while(|byte| **byte == b'\n').count();
            self.append(&piece[..newlines], text);
            piece = &piece[newlines..];
            if !piece.is_empty() {
                self.is_interrupted = false;
                self.append(&b"\n\n"[self.trailing_newlines..], text);
            }
        }
        self.append(piece, text);
    }

    /// Ends the text: a half of a pair whose other has not come is replaced.
    pub fn finish(&mut self, text: &mut Vec<u8>) {
        if self.high_surrogate.take().is_some() {
            text.extend_from_slice(REPLACEMENT);
        }
    }

    fn append(&mut self, piece: &[u8], text: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        self.has_text = true;
        let newlines = piece.iter().rev().take_while(|byte| **byte == b'\n').count();
        let before = if newlines == piece.len() { self.trailing_newlines } else { 0 };
        self.trailing_newlines = (before + newlines).min(2);
        let mut rest = piece;
        while let Some(at) = find_surrogate(rest) {
            if at > 0 {
                self.finish(text);
                text.extend_from_slice(&rest[..at]);
            }
            self.take_surrogate(&rest[at..at + SURROGATE_LEN], text);
            rest = &rest[at + SURROGATE_LEN..];
        }
        if !rest.is_empty() {
            self.finish(text);
            text.extend_from_slice(rest);
        }
    }

    fn take_surrogate(&mut self, bytes: &[u8], text: &mut Vec<u8>) {
        let unit = 0xd000 | u32::from(bytes[1] & 0x3f) << 6 | u32::from(bytes[2] & 0x3f);
        if unit < 0xdc00 {
            self.finish(text);
            self.high_surrogate = Some(unit);
            return;
        }
        let high = self.high_surrogate.take();
        let character = high
            .and_then(|high| char::from_u32(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00)));
        match character {
            Some(character) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes())
            }
            None => text.extend_from_slice(REPLACEMENT),
        }
    }
}

/// JSON in which no half of a surrogate pair stands alone, for a parser that takes none.
pub fn replace_lone_surrogates(json: &str) -> String {
    let unit = |escape: &str| {
        let digits = escape.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut replaced = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at..];
        let (escape, length) = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&rest[..12], 12),
            (Some(0xd800..=0xdfff), _) => ("\\ufffd", 6),
            _ => {
                let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                (&rest[..end], end)
            }
        };
        replaced.push_str(escape);
        rest = &rest[length..];
    }
    replaced + rest
}

/// Where the next surrogate begins.
fn find_surrogate(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr(0xed, &bytes[from..]).map(|at| from + at) {
        if bytes.get(at + 1).is_some_and(|byte| *byte >= 0xa0) && at + SURROGATE_LEN <= bytes.len()
        {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = JsonText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<JsonText<'de>, E> {
                Ok(JsonText(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<JsonText<'de>, E> {
                Ok(JsonText(Cow::Owned(bytes.into())))
            }
        }
        // Unlike a string, bytes may hold a half of a surrogate pair.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of blocks, each given by its pieces as JSON; an empty block is of another kind.
    fn joined(blocks: &[&[&str]]) -> String {
        let (mut joiner, mut text) = (TextJoiner::default(), Vec::new());
        for block in blocks {
            if block.is_empty() {
                joiner.interrupt();
            }
            for piece in *block {
                let JsonText(bytes) = serde_json::from_str(piece).unwrap();
                joiner.push(&bytes, &mut text);
            }
        }
        joiner.finish(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn surrogates_are_joined_across_pieces_and_replaced_alone() {
        for (pieces, expected) in [
            (&[r#""a\ud83e""#, r#""\udd80b""#][..], "a🦀b"),
            (&[r#""a\ud83e""#, r#""""#, r#""\udd80\ud83e""#, r#""\udd80""#], "a🦀🦀"),
            (&[r#""a\ud83e""#, r#""b""#], "a\u{fffd}b"),
            (&[r#""a\ud83e""#], "a\u{fffd}"),
            (&[r#""\udd80b""#], "\u{fffd}b"),
            (&[r#""\ud83e""#, r#""\ud83e""#, r#""\udd80""#], "\u{fffd}🦀"),
            (&[r#""a\ud83eb\udd80c""#], "a\u{fffd}b\u{fffd}c"),
            (&[r#""\ud83e\udd80퟿\ue000""#], "🦀\u{d7ff}\u{e000}"),
        ] {
            assert_eq!(joined(&[pieces]), expected, "{pieces:?}");
        }
    }

    #[test]
    fn halves_of_characters_in_json_are_replaced() {
        for (json, expected) in [
            (r#""a\ud83e""#, r#""a\ufffd""#),
            (r#""\udd80b\ud83e\n\ud83ex""#, r#""\ufffdb\ufffd\n\ufffdx""#),
            (r#""\ud83e\udd80\\ud83e\u00e9é\é""#, r#""\ud83e\udd80\\ud83e\u00e9é\é""#),
            (r#""\ud83e\ud83e\udd80""#, r#""\ufffd\ud83e\udd80""#),
            (r"\ud8", r"\ud8"),
            (r"\", r"\"),
        ] {
            assert_eq!(replace_lone_surrogates(json), expected);
        }
    }

    #[test]
    fn a_blank_line_stands_where_another_block_stood() {
        let other: &[&str] = &[];
        for (blocks, expected) in [
            (&[&[r#""a""#][..], &[r#""b""#]][..], "ab"),
            (&[&[r#""a""#], other, &[r#""b""#]], "a\n\nb"),
            (&[&[r#""a\n""#], other, other, &[r#""b""#, r#""c""#]], "a\n\nbc"),
            (&[&[r#""a\n\n\n""#], other, &[r#""b""#]], "a\n\n\nb"),
            (&[&[r#""a\n""#], other, &[r#""\n""#, r#""b""#]], "a\n\nb"),
            (&[&[r#""a""#], other, &[r#""\n""#, r#""\n\n""#, r#""b""#]], "a\n\n\nb"),
            (&[other, &[r#""a""#], other], "a"),
            (&[&[r#""a""#], other, &[r#""""#], &[r#""b""#]], "a\n\nb"),
            (&[&[r#""""#], other, &[r#""b""#]], "b"),
        ] {
            assert_eq!(joined(blocks), expected, "{blocks:?}");
        }
    }
}
