//! Text for a terminal: control characters are shown, not obeyed.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// So many characters are escaped at once: each can become eight bytes.
const CHUNK_CHARS: usize = 16 * 1024;

/// Writes `bytes` exactly, or with control characters escaped if `to_terminal`.
///
/// # Errors
/// Those of the writer.
pub fn write(writer: &mut impl Write, bytes: &[u8], to_terminal: bool) -> io::Result<()> {
    if !to_terminal {
        return writer.write_all(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut rest: &str = &text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(CHUNK_CHARS).map_or(rest.len(), |(at, _)| at);
        let (chunk, after) = rest.split_at(end);
        writer.write_all(escape_controls(chunk, "\n\t").as_bytes())?;
        rest = after;
    }
    Ok(())
}

/// `text` with every character that a terminal would obey, except those in `kept`, made visible: C0
/// controls and DEL as `^[`, C1 controls and bidirectional overrides as `<U+009B>`.
pub fn escape_controls<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let is_unsafe = |c: char| {
        (c.is_control() && !kept.contains(c))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !is_unsafe(c) => escaped.push(c),
            '\0'..='\u{1f}' | '\u{7f}' => {
                escaped.push('^');
                escaped.push(char::from(c as u8 ^ 0x40));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "<U+{:04X}>", u32::from(c));
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        for (text, expected) in [
            ("plain é 😀\n\t", "plain é 😀\n\t"),
            ("\x1b[31mred\x1b[0m", "^[[31mred^[[0m"),
            ("\x1b]52;c;aGk=\x07", "^[]52;c;aGk=^G"),
            ("a\rb\0\x7f", "a^Mb^@^?"),
            ("\u{9b}2J\u{85}", "<U+009B>2J<U+0085>"),
            ("\u{202e}x\u{2066}\u{2069}", "<U+202E>x<U+2066><U+2069>"),
            ("\u{200d}\u{2029}", "\u{200d}\u{2029}"),
        ] {
            assert_eq!(escape_controls(text, "\n\t"), expected);
        }
        assert_eq!(escape_controls("a\n\tb", ""), "a^J^Ib");
    }

    #[test]
    fn long_text_is_escaped_in_chunks_that_split_no_character() {
        let text = "é\u{9b}".repeat(CHUNK_CHARS);
        let mut written = Vec::new();
        write(&mut written, text.as_bytes(), true).unwrap();
        assert_eq!(written, "é<U+009B>".repeat(CHUNK_CHARS).as_bytes());
    }
}
