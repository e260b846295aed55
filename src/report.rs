//! Lines on standard error, each beginning `haiku: `, none of them able to do a terminal harm.

use std::io::{self, Write};

use crate::output::harmless;

/// What is said beside errors.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    quiet: bool,
    verbose: bool,
}

impl Report {
    /// `-q` silences hints and warnings, `-v` asks for notes.
    pub fn new(quiet: bool, verbose: bool) -> Report {
        Report { quiet, verbose }
    }

    /// A hint or a warning, if there is one.
    pub fn hint(self, text: Option<&str>) {
        if let Some(text) = text.filter(|_| !self.quiet) {
            line(text);
        }
    }

    /// What happened, for who asked.
    pub fn note(self, text: &str) {
        if self.verbose {
            line(text);
        }
    }
}

/// Writes one line, in one write, that nothing can break in two. Where standard error itself
/// cannot be written there is nobody left to tell.
pub fn line(text: &str) {
    let line = format!("haiku: {}\n", harmless(text, ""));
    let _ = io::stderr().write_all(line.as_bytes());
}
