//! Where the reply goes: standard output or a file, at once or when it is complete.

pub mod atomic_file;
mod place;
pub mod progress;
pub mod stderr;
pub mod terminal;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::cli::args::Args;
use crate::error::{self, Error, ExitStatus};
use crate::wait::BlockingFile;
use atomic_file::Target;
use progress::Progress;

/// The most of a reply that is kept in memory. The longest that the model gives is far below 1 MB.
pub const MAX_REPLY_BYTES: usize = 32_000_000;

/// What of the response is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// The reply's text.
    Text,
    /// The body as it came, a stream as JSON Lines.
    Json,
    /// Each event's data, or the body, on one line.
    JsonLines,
}

impl OutputFormat {
    pub fn new(json: bool, stream: bool) -> OutputFormat {
        match (json, stream) {
            (false, _) => OutputFormat::Text,
            (true, false) => OutputFormat::Json,
            (true, true) => OutputFormat::JsonLines,
        }
    }
}

/// Whether to ask for a stream: by option, or because text goes to a terminal. The gateway does not
/// cache streams.
pub fn wants_stream(args: &Args, is_terminal: bool) -> bool {
    let by_default = is_terminal && !args.json && !args.no_stream && args.cache_ttl.is_none();
    args.stream || by_default
}

/// Where the reply goes.
#[derive(Debug)]
pub struct Output {
    stdout: Stdout,
    /// `--output FILE`.
    file: Option<(PathBuf, Target)>,
    /// What is kept until the reply is complete.
    held: Option<Vec<u8>>,
    last_byte: Option<u8>,
}

impl Output {
    /// Prepares the output. A file is not touched before [`Output::finish`].
    ///
    /// # Errors
    /// Exit status 1 if the output could not be written now.
    pub fn open(path: Option<&Path>, progress: Progress) -> Result<Output, Error> {
        // First of all: a descriptor that is opened here must not be taken for one of the caller's.
        let file = match path.filter(|path| *path != "-") {
            Some(path) => Target::check(path)?.map(|target| (path.to_owned(), target)),
            None => None,
        };
        let stdout = Stdout::new(progress)?;
        Ok(Output { stdout, held: file.is_some().then(Vec::new), file, last_byte: None })
    }

    /// Whether a person sees at once what is written.
    pub fn is_terminal(&self) -> bool {
        self.stdout.is_terminal && self.held.is_none()
    }

    /// Whether anything has been written, or is kept.
    pub fn has_output(&self) -> bool {
        self.last_byte.is_some()
    }

    /// Keeps what is written from now on until [`Output::finish`].
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Writes `bytes` now, in one piece, or keeps them.
    ///
    /// # Errors
    /// Exit status 1 if they cannot be written, 141 if nobody reads them, 4 if they are too many to keep.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(last) = bytes.last() else {
            return Ok(());
        };
        self.last_byte = Some(*last);
        let Some(held) = &mut self.held else {
            return self.stdout.write(bytes);
        };
        if held.len() + bytes.len() > MAX_REPLY_BYTES {
            return Err(too_large());
        }
        held.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes a complete reply, and a final newline if it lacks one, in one piece.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn write_whole(&mut self, mut reply: Vec<u8>) -> Result<(), Error> {
        if reply.last().is_some_and(|last| *last != b'\n') {
            reply.push(b'\n');
        }
        match &mut self.held {
            // Moved, not copied: it can be megabytes.
            Some(held) if held.is_empty() && !reply.is_empty() => {
                self.last_byte = Some(b'\n');
                *held = reply;
                Ok(())
            }
            _ => self.write(&reply),
        }
    }

    /// Ends a reply that came in pieces with a newline, if it lacks one.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn end_line(&mut self) -> Result<(), Error> {
        if self.ends_line() { Ok(()) } else { self.write(b"\n") }
    }

    /// Ends the line of a reply that broke off, if the error line might otherwise share it. Bytes in
    /// a pipe or a file stay as they came.
    pub fn break_off(&mut self) {
        if self.is_terminal() {
            // The error that broke it off is the one to report.
            let _ = self.end_line();
        } else if self.held.is_none() && self.stdout.may_be_seen && !self.ends_line() {
            stderr::break_next_line();
        }
    }

    fn ends_line(&self) -> bool {
        self.last_byte.is_none_or(|last| last == b'\n')
    }

    /// Hands over what was kept: to FILE if the reply `is_complete`, else to standard output, so that
    /// neither is lost.
    ///
    /// # Errors
    /// As [`Output::write`]. A reply that FILE does not take goes to standard output.
    pub fn finish(mut self, is_complete: bool) -> Result<(), Error> {
        let held = mem::take(&mut self.held).unwrap_or_default();
        let Some((path, target)) = self.file.filter(|_| is_complete) else {
            return self.stdout.write(&held);
        };
        let is_descriptor = matches!(target, Target::Descriptor(_));
        let error = match target.write(&held) {
            Ok(()) => return Ok(()),
            Err(error) if is_descriptor && error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Error::new(ExitStatus::BrokenPipe, "nobody reads the descriptor"));
            }
            Err(error) => error,
        };
        let error = cannot_write(&path.display().to_string(), &error);
        Err(error.advice(match self.stdout.write(&held) {
            Ok(()) => "the reply is on standard output instead",
            Err(_) => "nor can standard output be written; the reply is lost",
        }))
    }
}

/// Standard output without a buffer: one call, one write.
#[derive(Debug)]
struct Stdout {
    file: BlockingFile,
    is_terminal: bool,
    /// It is a terminal, or may lead to one, as the pipe to `less` does.
    may_be_seen: bool,
    progress: Progress,
}

impl Stdout {
    fn new(progress: Progress) -> Result<Stdout, Error> {
        let stdout = io::stdout();
        let file = stdout.as_fd().try_clone_to_owned();
        let file = File::from(file.map_err(|error| cannot_write(STDOUT, &error))?);
        let is_terminal = stdout.is_terminal();
        let kind = file.metadata().map(|metadata| metadata.file_type());
        let is_pipe = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket());
        let may_be_seen = is_terminal || is_pipe;
        Ok(Stdout { file: BlockingFile(file), is_terminal, may_be_seen, progress })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.may_be_seen {
            self.progress.stop();
        }
        let written = terminal::write(&mut self.file, bytes, self.is_terminal);
        written.map_err(|error| match error.kind() {
            // A socket breaks with the same error, so it is judged here alone.
            io::ErrorKind::BrokenPipe => {
                Error::new(ExitStatus::BrokenPipe, "nobody reads standard output")
            }
            _ => cannot_write(STDOUT, &error),
        })
    }
}

const STDOUT: &str = "standard output";

/// Prints a text that is not a reply: help, a man page.
///
/// # Errors
/// As [`Output::write`].
pub fn print(text: &str) -> Result<(), Error> {
    Output::open(None, Progress::default())?.write_whole(text.into())
}

fn cannot_write(name: &str, error: &io::Error) -> Error {
    let reason = error::reason(error);
    Error::new(ExitStatus::OutputFailed, format!("cannot write to {name}: {reason}"))
}

pub fn too_large() -> Error {
    Error::temporary("malformed reply: larger than 32 MB")
}
