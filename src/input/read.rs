//! Bytes and text from files, arguments and standard input: how much, how long, and that they are UTF-8.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rustix::event::PollFlags;
use rustix::fs::{FileType, fstat};
use rustix::io::ioctl_fionread;

use super::media_type::file_type;
use crate::output::stderr::{Reporter, reason};
use crate::wait::{BlockingFile, wait_for};

/// The most that one request can hold, in bytes: the API answers more than 32 MB with 413.
pub const MAX_REQUEST_BYTES: usize = 32_000_000;

/// Silence on standard input after which a hint is due.
const HINT_AFTER: Duration = Duration::from_secs(3);

/// The most for a socket: Node and sshd give their children one, and never close it.
const MAX_SILENCE_OF_SOCKET: Duration = Duration::from_secs(60);

const STDIN: &str = "standard input";

/// How messages name the FILE of `option`, which may end in `=@`.
pub fn name(path: &Path, option: &str) -> String {
    if path == "-" {
        STDIN.into()
    } else if option.ends_with("=@") {
        format!("{option}{}", path.display())
    } else {
        format!("{option} {}", path.display()).trim_start().into()
    }
}

/// Reads the FILE of `option`, `-` being standard input, to its end.
///
/// # Errors
/// A file that cannot be read, or is larger than a request can be.
pub fn bytes(path: &Path, option: &str) -> anyhow::Result<Vec<u8>> {
    let name = name(path, option);
    let file = if path == "-" { stdin() } else { File::open(path) };
    let mut bytes = Vec::new();
    // One byte more tells that there is too much.
    file.and_then(|file| {
        BlockingFile(file).take(MAX_REQUEST_BYTES as u64 + 1).read_to_end(&mut bytes)
    })
    .map_err(|error| cannot_read(&name, &error))?;
    ensure!(bytes.len() <= MAX_REQUEST_BYTES, "{name} is larger than 32 MB, the API's limit");
    Ok(bytes)
}

/// Reads a text as [`bytes`] does, less a byte order mark.
///
/// # Errors
/// Those of [`bytes`], and text that is not UTF-8.
pub fn text(path: &Path, option: &str) -> anyhow::Result<String> {
    decode(bytes(path, option)?, &name(path, option))
}

/// The same, less its trailing line breaks, and not blank.
///
/// # Errors
/// Those of [`text`], and blank text.
pub fn trimmed_text(path: &Path, option: &str) -> anyhow::Result<String> {
    let text = without_trailing_line_breaks(text(path, option)?);
    ensure!(!is_blank(&text), "{} is empty", name(path, option));
    Ok(text)
}

/// Reads standard input that may never deliver: a hint is due after a while, and an error if not one
/// byte has come within `timeout`, or a minute from a socket.
///
/// # Errors
/// Those of [`text`], and silence.
pub fn optional_stdin(timeout: Duration, reporter: &Reporter) -> anyhow::Result<String> {
    let hint = || reporter.warn("waiting for standard input; use -n if there is none");
    wait_for_data(&io::stdin(), HINT_AFTER, timeout, hint)?;
    text(Path::new("-"), "")
}

/// Whether bytes wait in standard input, as far as the system tells without reading them.
pub fn has_waiting_stdin() -> bool {
    // More is a count that has wrapped.
    matches!(ioctl_fionread(io::stdin()), Ok(1..=0x7fff_ffff))
}

/// Waits until `input` has data or has ended, and calls `hint` after a while, unless the limit of the
/// wait comes before.
fn wait_for_data(
    input: &impl AsFd,
    hint_after: Duration,
    timeout: Duration,
    hint: impl FnOnce(),
) -> anyhow::Result<()> {
    let (limit, advice) = max_silence(input, timeout);
    let started = Instant::now();
    let is_ready = |after: Duration| match wait_for(input, PollFlags::IN, started + after) {
        Ok(events) => Ok(!events.is_empty()),
        Err(error) => Err(cannot_read(STDIN, &error)),
    };
    if hint_after < limit {
        if is_ready(hint_after)? {
            return Ok(());
        }
        hint();
    }
    ensure!(
        is_ready(limit)?,
        "no data on standard input for {} s; use -n or </dev/null if there is none{advice}",
        limit.as_secs_f64()
    );
    Ok(())
}

/// How long `input` may be silent, and what else to do about it.
fn max_silence(input: impl AsFd, timeout: Duration) -> (Duration, &'static str) {
    match fstat(input).map(|file| FileType::from_raw_mode(file.st_mode)) {
        Ok(FileType::Socket) => (timeout.min(MAX_SILENCE_OF_SOCKET), ", or - to wait for it"),
        _ => (timeout, ""),
    }
}

/// Standard input without a buffer, so that nothing is read beyond what is asked for.
fn stdin() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// An argument as text; `name` says which it is.
///
/// # Errors
/// An argument that is not UTF-8.
pub fn argument<'a>(argument: &'a OsStr, name: &str) -> anyhow::Result<&'a str> {
    let bytes = argument.as_bytes();
    std::str::from_utf8(bytes).map_err(|error| not_utf8(name, bytes, error.valid_up_to()))
}

pub fn without_trailing_line_breaks(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    text
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

fn cannot_read(name: &str, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot read {name}: {}", reason(error))
}

/// Whether a byte order mark says so.
pub fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])
}

fn not_utf8(name: &str, bytes: &[u8], offset: usize) -> anyhow::Error {
    const DROP: &str = "iconv -c -f UTF-8 -t UTF-8";
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
        format!(": it {verb} within a character {place}; cut it elsewhere, or use {DROP}")
    } else if bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii()) {
        format!(" {place}: it mixes encodings; drop the bad bytes with {DROP}")
    } else {
        format!(" {place}; convert it with iconv -f WINDOWS-1252 -t UTF-8")
    };
    anyhow!("{name} is not valid UTF-8{cause}")
}

pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const NOW: Duration = Duration::ZERO;
    const SOON: Duration = Duration::from_millis(20);
    const LATER: Duration = Duration::from_millis(60);

    #[test]
    fn silent_input_causes_a_hint_and_then_an_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        let wait = |hint_after, timeout| {
            let started = Instant::now();
            let hint = Cell::new(None);
            let result =
                wait_for_data(&reader, hint_after, timeout, || hint.set(Some(started.elapsed())));
            (result.is_ok(), hint.get(), started.elapsed())
        };
        let (is_ok, hint, elapsed) = wait(SOON, LATER);
        assert!(!is_ok && hint.unwrap() >= SOON && elapsed >= LATER, "{hint:?}, {elapsed:?}");
        // A hint just before the error, with the same advice, would say nothing new.
        assert!(matches!(wait(LATER, SOON), (false, None, _)));
        writer.write_all(b"x").unwrap();
        assert!(matches!(wait(NOW, LATER), (true, None, _)));
    }

    #[test]
    fn a_silent_socket_is_waited_for_no_longer_than_a_minute() {
        let seconds = Duration::from_secs;
        let (socket, _other) = UnixStream::pair().unwrap();
        let (pipe, _writer) = io::pipe().unwrap();
        for (timeout, expected) in [(600, 60), (60, 60), (5, 5)] {
            let timeout = seconds(timeout);
            assert_eq!(max_silence(&socket, timeout).0, seconds(expected));
            assert_eq!(max_silence(&pipe, timeout), (timeout, ""));
        }
        let error = wait_for_data(&socket, LATER, SOON, || ()).unwrap_err().to_string();
        let expected = "no data on standard input for 0.02 s; use -n or </dev/null if there is none, or - to wait for it";
        assert_eq!(error, expected);
    }

    #[test]
    fn text_that_is_not_utf8_is_named_for_what_it_is() {
        const CUT: &str = "cut it elsewhere, or use iconv -c -f UTF-8 -t UTF-8";
        const MIXED: &str =
            "it mixes encodings; drop the bad bytes with iconv -c -f UTF-8 -t UTF-8";
        const OTHER: &str = "convert it with iconv -f WINDOWS-1252 -t UTF-8";
        let cut = |how: &str| format!(": it {how}; {CUT}");
        for (bytes, expected) in [
            (&b"abc\xe9"[..], cut("ends within a character (byte 0xe9 at offset 3)")),
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
