//! Lines on standard error: each begins `haiku: `, and none shows a secret or can control a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::progress::Progress;
use super::terminal::escape_controls;
use crate::cli::args::Args;
use crate::error::redact;

/// What is reported beside errors.
#[derive(Clone, Debug)]
pub struct Reporter {
    pub progress: Progress,
    pub is_terminal: bool,
    is_quiet: bool,
    is_verbose: bool,
}

impl Reporter {
    pub fn new(args: &Args) -> Reporter {
        let is_terminal = io::stderr().is_terminal();
        let shows_progress = is_terminal && !args.quiet && !args.dry_run;
        Reporter {
            progress: Progress::new(shows_progress),
            is_terminal,
            is_quiet: args.quiet,
            is_verbose: args.verbose,
        }
    }

    /// A hint or a warning, unless `-q`.
    pub fn warn(&self, text: &str) {
        if !self.is_quiet {
            self.progress.erase_for(|| line(text));
        }
    }

    /// A retry: with `-v`, and on a terminal unless `-q`.
    pub fn retry(&self, text: &str) {
        if self.is_verbose || self.is_terminal {
            self.warn(text);
        }
    }

    /// `text` if `-v`.
    pub fn verbose(&self, text: impl FnOnce() -> String) -> Option<String> {
        self.is_verbose.then(text)
    }
}

/// A reply that broke off within a line may be on the same terminal.
static FOLLOWS_TEXT: AtomicBool = AtomicBool::new(false);

/// Writes one line, in one write. If standard error itself cannot be written, there is nobody to tell.
pub fn line(text: &str) {
    let break_line = if FOLLOWS_TEXT.swap(false, Ordering::Relaxed) { "\n" } else { "" };
    let line = format!("{break_line}haiku: {}\n", escape_controls(&redact(text), ""));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Lets the next line begin with a line break, if standard error is a terminal. It must be in the same
/// write: the text may still be on its way through a pipe, and arrive between two.
pub fn break_next_line() {
    FOLLOWS_TEXT.store(io::stderr().is_terminal(), Ordering::Relaxed);
}
