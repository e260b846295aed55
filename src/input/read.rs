//! Bytes and text from files, arguments and standard input: how much, how long, and that they are UTF-8.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rustix::event::PollFlags;

use super::media_type::media_type;
use crate::output::stderr::{Reporter, reason};
use crate::wait::{BlockingFile, wait_for};

/// The most that one request can hold, in bytes: the API answers more than 32 MB with 413.
pub const MAX_REQUEST_BYTES: usize = 32_000_000;

/// Silence on standard input after which a person at a terminal gets a hint.
const HINT_AFTER: Duration = Duration::from_secs(3);

/// Silence after which a log gets it too.
const HINT_IN_LOG_AFTER: Duration = Duration::from_secs(30);

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
/// byte has come within `timeout`.
///
/// # Errors
/// Those of [`text`], and silence.
pub fn optional_stdin(timeout: Duration, reporter: &Reporter) -> anyhow::Result<String> {
    let hint_after = if reporter.is_terminal { HINT_AFTER } else { HINT_IN_LOG_AFTER };
    let hint = || reporter.warn("waiting for standard input; use -n if there is none");
    wait_for_data(io::stdin(), hint_after, timeout, hint)?;
    text(Path::new("-"), "")
}

/// Waits until `input` has data or has ended, and calls `hint` after a while, unless `timeout` ends
/// the wait before.
fn wait_for_data(
    input: impl AsFd,
    hint_after: Duration,
    timeout: Duration,
    hint: impl FnOnce(),
) -> anyhow::Result<()> {
    let started = Instant::now();
    let is_ready = |after: Duration| match wait_for(&input, PollFlags::IN, started + after) {
        Ok(events) => Ok(!events.is_empty()),
        Err(error) => Err(cannot_read(STDIN, &error)),
    };
    if hint_after < timeout {
        if is_ready(hint_after)? {
            return Ok(());
        }
        hint();
    }
    ensure!(
        is_ready(timeout)?,
        "no data on standard input for {} s; use -n or </dev/null if there is none",
        timeout.as_secs_f64()
    );
    Ok(())
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
    let utf16 = is_utf16(bytes);
    let kind = media_type(bytes).and_then(|media_type| media_type.rsplit('/').next());
    if let Some(kind) = kind {
        let kind = if kind == "webp" { Cow::Borrowed("WebP") } else { kind.to_uppercase().into() };
        return anyhow!("{name} is a {kind} file, not text; attach it with -a");
    }
    if !utf16 && bytes.contains(&0) {
        return anyhow!("{name} is binary data, not text");
    }
    let encoding = if utf16 { "UTF-16" } else { "ISO-8859-1" };
    anyhow!(
        "{name} is not valid UTF-8 (byte 0x{:02x} at offset {offset}); convert it, for example with iconv -f {encoding} -t UTF-8",
        bytes[offset]
    )
}

pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::Write;

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
    fn text_that_is_not_utf8_is_named_for_what_it_is() {
        for (bytes, expected) in [
            (
                &b"caf\xe9"[..],
                "x is not valid UTF-8 (byte 0xe9 at offset 3); convert it, for example with iconv -f ISO-8859-1 -t UTF-8",
            ),
            (
                b"\xff\xfea\0",
                "x is not valid UTF-8 (byte 0xff at offset 0); convert it, for example with iconv -f UTF-16 -t UTF-8",
            ),
            (
                b"ok \xe2\x82",
                "x is not valid UTF-8 (byte 0xe2 at offset 3); convert it, for example with iconv -f ISO-8859-1 -t UTF-8",
            ),
            (b"\x89PNG\r\n\x1a\n\0", "x is a PNG file, not text; attach it with -a"),
            (b"%PDF-1.7\xff", "x is a PDF file, not text; attach it with -a"),
            (b"RIFF\xff\0\0\0WEBP", "x is a WebP file, not text; attach it with -a"),
            (b"\x1f\x8b\x08\0", "x is binary data, not text"),
        ] {
            assert_eq!(decode(bytes.into(), "x").unwrap_err().to_string(), expected);
        }
        assert_eq!(decode("\u{feff}\u{feff}a\0".into(), "x").unwrap(), "\u{feff}a\0");
    }
}
