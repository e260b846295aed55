//! Bytes as UTF-8 text, and what they are if they are not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::anyhow;

use crate::media_type::file_type;

/// An argument as text; `name` says which it is.
///
/// # Errors
/// An argument that is not UTF-8.
pub fn argument<'a>(argument: &'a OsStr, name: &str) -> anyhow::Result<&'a str> {
    let bytes = argument.as_bytes();
    std::str::from_utf8(bytes).map_err(|error| not_utf8(name, bytes, error.valid_up_to()))
}

/// Bytes as text, less a byte order mark.
///
/// # Errors
/// Bytes that are not UTF-8.
pub fn decode(bytes: Vec<u8>, name: &str) -> anyhow::Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        not_utf8(name, error.as_bytes(), offset)
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

pub fn without_trailing_line_breaks(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    text
}

pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Whether a byte order mark says so.
pub fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

fn not_utf8(name: &str, bytes: &[u8], offset: usize) -> anyhow::Error {
    const DROP: &str = "iconv -c -f UTF-8 -t UTF-8";
    const CONVERT: &str = "convert it with iconv -f WINDOWS-1252 -t UTF-8";
    let is_utf16 = is_utf16(bytes);
    let is_binary = !is_utf16 && bytes.contains(&0);
    match file_type(bytes) {
        Some((kind, Some(_), _)) => {
            return anyhow!("{name} is {kind} file, not text; attach it with -a");
        }
        Some((kind, ..)) if is_binary => {
            return anyhow!("{name} is {kind} file; convert it to JPEG or PNG, and attach that");
        }
        None if is_binary => return anyhow!("{name} is binary data, not text"),
        _ => {}
    }
    let place = format!("(byte 0x{:02x} at offset {offset})", bytes[offset]);
    // Of a character that was cut, at most three bytes are left, which only continue it.
    let rest = bytes.iter().take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
    let wrong = str::from_utf8(&bytes[rest..]).err();
    let is_cut = rest <= 3 && wrong.is_none_or(|error| error.error_len().is_none());
    let cause = if is_utf16 {
        format!(" {place}; convert it with iconv -f UTF-16 -t UTF-8")
    } else if is_cut {
        let verb = if rest > 0 { "begins" } else { "ends" };
        // One byte alone may as well be a character of another encoding.
        let is_alone = bytes.iter().filter(|byte| !byte.is_ascii()).count() == 1;
        let or = if is_alone { format!("; if it is not UTF-8, {CONVERT}") } else { String::new() };
        format!(": it {verb} within a character {place}; cut it elsewhere, or use {DROP}{or}")
    } else if bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii()) {
        format!(" {place}: it mixes encodings; drop the bad bytes with {DROP}")
    } else {
        format!(" {place}; {CONVERT}")
    };
    anyhow!("{name} is not valid UTF-8{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_utf8_is_named_for_what_it_is() {
        const CUT: &str = "cut it elsewhere, or use iconv -c -f UTF-8 -t UTF-8";
        const MIXED: &str =
            "it mixes encodings; drop the bad bytes with iconv -c -f UTF-8 -t UTF-8";
        const OTHER: &str = "convert it with iconv -f WINDOWS-1252 -t UTF-8";
        let cut = |how: &str| format!(": it {how}; {CUT}");
        for (bytes, expected) in [
            (
                &b"caf\xe9"[..],
                cut("ends within a character (byte 0xe9 at offset 3)")
                    + "; if it is not UTF-8, "
                    + OTHER,
            ),
            (b"ok \xe2\x82", cut("ends within a character (byte 0xe2 at offset 3)")),
            (b"\xc3\xa9 \xf0\x9f\xa6", cut("ends within a character (byte 0xf0 at offset 3)")),
            (b"\xef\xbb\xbfa\xc3", cut("ends within a character (byte 0xc3 at offset 4)")),
            (b"\xa9t\xc3\xa9\n", cut("begins within a character (byte 0xa9 at offset 0)")),
            (b"\x9f\xa6\x80 a\n", cut("begins within a character (byte 0x9f at offset 0)")),
            (b"\x82\xac a\xe2\x82", cut("begins within a character (byte 0x82 at offset 0)")),
            (b"na\xc3\xafve caf\xe9\n", format!(" (byte 0xe9 at offset 10): {MIXED}")),
            (b"caf\xe9 na\xc3\xafve", format!(" (byte 0xe9 at offset 3): {MIXED}")),
            (b"\xa9 na\xc3\xafve \xff", format!(" (byte 0xa9 at offset 0): {MIXED}")),
            (b"\xef\xbb\xbfcaf\xe9\n", format!(" (byte 0xe9 at offset 6): {MIXED}")),
            (b"caf\xe9\n", format!(" (byte 0xe9 at offset 3); {OTHER}")),
            (b"12 \x80, \x93a\x94", format!(" (byte 0x80 at offset 3); {OTHER}")),
            (b"\x93a\x94", format!(" (byte 0x93 at offset 0); {OTHER}")),
            (b"\x80\x80\x80\x80", format!(" (byte 0x80 at offset 0); {OTHER}")),
            (b"ab\xff", format!(" (byte 0xff at offset 2); {OTHER}")),
            (b"a\xed\xa0\xbd", format!(" (byte 0xed at offset 1); {OTHER}")),
            (
                b"\xff\xfea\0\xc3\xa9",
                " (byte 0xff at offset 0); convert it with iconv -f UTF-16 -t UTF-8".into(),
            ),
        ] {
            let error = decode(bytes.into(), "x").unwrap_err().to_string();
            assert_eq!(error, format!("x is not valid UTF-8{expected}"), "{bytes:?}");
        }
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\n\0"[..], "a PNG file, not text; attach it with -a"),
            (b"%PDF-1.7\xff", "a PDF file, not text; attach it with -a"),
            (b"\n%PDF-1.7\xff", "a PDF file, not text; attach it with -a"),
            (b"RIFF\xff\0\0\0WEBP", "a WebP file, not text; attach it with -a"),
            (b"\0\0\0\x18ftypheic\xff", "a HEIC file; convert it to JPEG or PNG, and attach that"),
            (b"\x1f\x8b\x08\0", "binary data, not text"),
        ] {
            let error = decode(bytes.into(), "x").unwrap_err().to_string();
            assert_eq!(error, format!("x is {expected}"), "{bytes:?}");
        }
        assert_eq!(decode("\u{feff}\u{feff}a\0".into(), "x").unwrap(), "\u{feff}a\0");
    }
}
