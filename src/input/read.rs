//! Bytes and text from files and standard input: how much and how long.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rustix::event::PollFlags;
use rustix::fs::{FileType, fstat};
use rustix::io::ioctl_fionread;

use crate::error::reason;
use crate::output::stderr::Reporter;
use crate::utf8::{decode, is_blank, without_trailing_line_breaks};
use crate::wait::{read_to_end, wait_for};

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
    let bytes = file.and_then(|file| read_to_end(&file, MAX_REQUEST_BYTES));
    let bytes = bytes.map_err(|error| cannot_read(&name, &error))?;
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

fn cannot_read(name: &str, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot read {name}: {}", reason(error))
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
}
