//! The reply to standard output, byte for byte, or shown harmlessly where a terminal would obey it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Exit, Failure};
use crate::input;
use crate::replace::{Target, replace};

const STDOUT: &str = "standard output";

/// Where the reply goes.
#[derive(Debug)]
pub struct Output {
    /// Standard output without a buffer in between: one call, one write.
    stdout: File,
    to_terminal: bool,
    last_byte: Option<u8>,
    /// `--output FILE`, and what will be its content.
    file: Option<(Target, Vec<u8>)>,
}

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// Exit status 1 where it cannot be used.
    pub fn stdout() -> Result<Output, Failure> {
        let stdout = io::stdout();
        let descriptor = stdout.as_fd().try_clone_to_owned();
        Ok(Output {
            stdout: File::from(descriptor.map_err(|error| unwritable(STDOUT, &error))?),
            to_terminal: stdout.is_terminal(),
            last_byte: None,
            file: None,
        })
    }

    /// The file at `path`, or standard output where that is what it means. The file is not
    /// touched before [`Output::finish`].
    ///
    /// # Errors
    /// Exit status 1 where it could not be written now.
    pub fn new(path: Option<&Path>) -> Result<Output, Failure> {
        let mut output = Output::stdout()?;
        if let Some(path) = path.filter(|path| !is_stdout(path)) {
            let target = Target::check(path)
                .map_err(|error| unwritable(&path.display().to_string(), &error))?;
            output.file = Some((target, Vec::new()));
        }
        Ok(output)
    }

    /// Whether what is written is seen at once by a person at a terminal.
    pub fn is_watched(&self) -> bool {
        self.to_terminal && self.file.is_none()
    }

    /// Whether anything has been written.
    pub fn has_begun(&self) -> bool {
        self.last_byte.is_some()
    }

    /// Writes `bytes` now, in one piece.
    ///
    /// # Errors
    /// Exit status 1 where they cannot be written, 141 where nobody reads them any more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        self.last_byte = Some(*last);
        match &mut self.file {
            Some((_, content)) => content.extend_from_slice(bytes),
            None => self.write_stdout(bytes)?,
        }
        Ok(())
    }

    fn write_stdout(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.stdout.write_all(&shown(bytes, self.to_terminal));
        written.map_err(|error| unwritable(STDOUT, &error))
    }

    /// Puts the reply into its file if it is `finished`, else on standard output, so that neither
    /// it nor the file is lost. What went to standard output all along is there already.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn finish(mut self, finished: bool) -> Result<(), Failure> {
        let Some((target, content)) = self.file.take() else {
            return Ok(());
        };
        if !finished {
            return self.write_stdout(&content);
        }
        let (path, result) = match &target {
            Target::File(path) => (path, replace(path, &content)),
            Target::Stream(path) => (path, write_stream(path, &content)),
        };
        result.map_err(|error| unwritable(&path.display().to_string(), &error))
    }

    /// Writes a reply that is whole, and a final newline if it lacks one, in one piece.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn write_whole(&mut self, mut reply: Vec<u8>) -> Result<(), Failure> {
        if reply.last().is_some_and(|last| *last != b'\n') {
            reply.push(b'\n');
        }
        self.write(&reply)
    }

    /// Ends a reply that came in pieces with a newline, if it lacks one.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn end_line(&mut self) -> Result<(), Failure> {
        match self.last_byte {
            None | Some(b'\n') => Ok(()),
            Some(_) => self.write(b"\n"),
        }
    }

    /// Ends the line of a reply that broke off, so that on a terminal the message about it stands
    /// on a line of its own. A pipe gets what came and no more.
    pub fn break_off(&mut self) {
        if self.is_watched() {
            // The failure that broke it off is the one to report.
            let _ = self.end_line();
        }
    }
}

/// What a failed write means. A socket breaks with the same error, so this is said here and
/// nowhere else.
fn unwritable(name: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::new(Exit::ReaderLeft, format!("the reader of {name} left"));
    }
    let why = input::plain(error);
    Failure::new(Exit::Output, format!("cannot write to {name}: {why}"))
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

/// Writes to what is no regular file: a device, a FIFO.
fn write_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut stream = File::options().append(true).open(path)?;
    let to_terminal = stream.is_terminal();
    stream.write_all(&shown(bytes, to_terminal))
}

/// What is written of `bytes`: to a terminal nothing that it would obey.
fn shown(bytes: &[u8], to_terminal: bool) -> Cow<'_, [u8]> {
    if !to_terminal {
        return Cow::Borrowed(bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    Cow::Owned(harmless(&text, "\n\t").into_owned().into_bytes())
}

/// `text` with every character that a terminal would obey, but for those in `kept`, as something
/// to look at: C0 controls and DEL as `^[`, C1 controls and bidirectional overrides as `<U+009B>`.
pub fn harmless<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let is_harmful = |c: char| {
        (c.is_control() && !kept.contains(c))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !is_harmful(c) => shown.push(c),
            '\0'..='\u{1f}' | '\u{7f}' => {
                shown.push('^');
                shown.push(char::from(c as u8 ^ 0x40));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "<U+{:04X}>", u32::from(c));
            }
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, expected) in [
            ("plain é 😀\n\t", "plain é 😀\n\t"),
            ("\x1b[31mred\x1b[0m", "^[[31mred^[[0m"),
            ("\x1b]52;c;aGk=\x07", "^[]52;c;aGk=^G"),
            ("a\rb\0\x7f", "a^Mb^@^?"),
            ("\u{9b}2J\u{85}", "<U+009B>2J<U+0085>"),
            ("\u{202e}x\u{2066}\u{2069}", "<U+202E>x<U+2066><U+2069>"),
            ("\u{200d}\u{2029}", "\u{200d}\u{2029}"),
        ] {
            assert_eq!(harmless(text, "\n\t"), expected);
        }
        assert_eq!(harmless("a\n\tb", ""), "a^J^Ib");
    }
}
