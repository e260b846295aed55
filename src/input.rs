//! Bytes from standard input and from files: how much, how long, and that they are UTF-8.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::Failure;

/// The most that one request can hold, in bytes: the API refuses more than 32 MB with 413.
pub const LIMIT: usize = 32_000_000;

/// Silence on standard input after which a hint is due.
const HINT_AFTER: Duration = Duration::from_secs(3);

/// Most bytes taken at once: what a pipe holds.
const PIECE: usize = 64 * 1024;

/// Reads `source` to its end.
///
/// # Errors
/// Exit status 2 where it cannot be read, is longer than [`LIMIT`], or is not UTF-8; `name` says
/// which input it was.
pub fn read(source: impl Read, name: &str) -> Result<String, Failure> {
    text(read_bytes(source, name)?, name)
}

/// Reads the text file at `path`, which `option` named.
///
/// # Errors
/// As [`read`].
pub fn read_file(path: &Path, option: &str) -> Result<String, Failure> {
    text(
        read_file_bytes(path, option)?,
        &format!("{option} {}", path.display()),
    )
}

/// Reads the file at `path`, which `option` named.
///
/// # Errors
/// Exit status 2 where it cannot be read or is longer than [`LIMIT`].
pub fn read_file_bytes(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let name = format!("{option} {}", path.display());
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    read_bytes(file, &name)
}

fn read_bytes(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .take(LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(name, &error))?;
    within_limit(bytes, name)
}

/// Reads a standard input that may never speak: after three seconds without a byte `hint` is
/// called, after `patience` it is given up. Once a byte has come, it is read to its end.
///
/// # Errors
/// As [`read`]; and exit status 2 when not one byte came in time.
pub fn read_patiently(
    mut source: impl Read + Send + 'static,
    patience: Duration,
    hint: impl FnOnce(),
) -> Result<String, Failure> {
    let (started, first) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; PIECE];
        let length = loop {
            match source.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        bytes.truncate(length);
        // The other side hangs up only when the whole program ends.
        let _ = started.send(());
        if length > 0 {
            source
                .take((LIMIT + 1 - length) as u64)
                .read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    });
    let mut silence = first.recv_timeout(patience.min(HINT_AFTER));
    if silence == Err(RecvTimeoutError::Timeout) && patience > HINT_AFTER {
        hint();
        silence = first.recv_timeout(patience - HINT_AFTER);
    }
    if silence == Err(RecvTimeoutError::Timeout) {
        return Err(Failure::usage(format!(
            "standard input sent nothing for {} s and did not end",
            patience.as_secs_f64()
        ))
        .advice("use -n to leave it alone, or </dev/null"));
    }
    let bytes = reader
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("reading failed")))
        .map_err(|error| unreadable("standard input", &error))?;
    text(within_limit(bytes, "standard input")?, "standard input")
}

/// An argument as text.
///
/// # Errors
/// Exit status 2 where it is not UTF-8; `name` says which argument it was.
pub fn utf8_argument<'a>(argument: &'a OsStr, name: &str) -> Result<&'a str, Failure> {
    let bytes = argument.as_bytes();
    std::str::from_utf8(bytes).map_err(|error| not_utf8(name, bytes, error.valid_up_to()))
}

fn within_limit(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, Failure> {
    if bytes.len() > LIMIT {
        return Err(Failure::usage(format!(
            "{name} is over 32 MB, the most that the API takes"
        )));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        not_utf8(name, error.as_bytes(), offset)
    })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {name}: {}", plain(error)))
}

/// The system's words for an error, without the number that Rust adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.into(),
        None => text,
    }
}

fn not_utf8(name: &str, bytes: &[u8], offset: usize) -> Failure {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let encoding = if utf16 { "UTF-16" } else { "ISO-8859-1" };
    Failure::usage(format!(
        "{name} is not UTF-8: bad byte 0x{:02x} at offset {offset}",
        bytes[offset]
    ))
    .advice(format!(
        "convert it first, perhaps with iconv -f {encoding} -t UTF-8"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_byte_is_named() {
        for (bytes, expected) in [
            (
                &b"caf\xe9"[..],
                "x is not UTF-8: bad byte 0xe9 at offset 3; convert it first, perhaps with iconv -f ISO-8859-1 -t UTF-8",
            ),
            (
                b"\xff\xfea\0",
                "x is not UTF-8: bad byte 0xff at offset 0; convert it first, perhaps with iconv -f UTF-16 -t UTF-8",
            ),
            (
                b"ok \xe2\x82",
                "x is not UTF-8: bad byte 0xe2 at offset 3; convert it first, perhaps with iconv -f ISO-8859-1 -t UTF-8",
            ),
        ] {
            assert_eq!(read(bytes, "x").unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn input_is_not_read_beyond_its_limit() {
        let mut endless = io::repeat(b'a').take(u64::MAX);
        let failure = read(&mut endless, "x").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "x is over 32 MB, the most that the API takes"
        );
        assert_eq!(u64::MAX - endless.limit(), LIMIT as u64 + 1);
        let full = read(io::repeat(b'a').take(LIMIT as u64), "x").unwrap();
        assert_eq!(full.len(), LIMIT);
    }

    #[test]
    fn patience_ends() {
        let (pipe, _writer) = io::pipe().unwrap();
        let failure = read_patiently(pipe, Duration::from_millis(20), || {}).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "standard input sent nothing for 0.02 s and did not end; use -n to leave it alone, or </dev/null"
        );
        let text = read_patiently(&b"abc"[..], Duration::from_secs(9), || {}).unwrap();
        assert_eq!(text, "abc");
    }
}
