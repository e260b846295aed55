//! What can fail, the exit status it ends with, and whether trying again may help.

use std::fmt;
use std::time::Duration;

/// The longest part of a server's message that is shown, in characters: enough for a sentence or
/// two, never a page.
const SAID_LIMIT: usize = 300;

/// The most of a page that stands in for a message, in characters: its first words.
const PAGE_LIMIT: usize = 120;

/// How a call that did not succeed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The output cannot be written.
    Output = 1,
    /// The call is wrong: an option, the prompt, an input file, a missing setting.
    Usage = 2,
    /// Refused, and would be again.
    Refused = 3,
    /// Failed, but may work later.
    Transient = 4,
    /// The reply came, but is not a finished answer.
    Unfinished = 5,
    /// The reader of standard output left: what a shell reports of a program that SIGPIPE ended.
    ReaderLeft = 141,
}

/// Whether a failed attempt may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It cannot help, or what it brought is already paid for.
    Never,
    /// Yes, after a pause of our own choosing.
    Backoff,
    /// Yes, after the pause the server asked for.
    After(Duration),
}

/// One failure: what failed, what the server said of it, what to do.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// Whether another attempt may be made.
    pub again: Again,
    what: String,
    said: String,
    /// The most of `said` that is shown, in characters.
    said_limit: usize,
    advice: String,
}

impl Failure {
    /// A failure that is not tried again.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure {
            exit,
            again: Again::Never,
            what: what.into(),
            said: String::new(),
            said_limit: SAID_LIMIT,
            advice: String::new(),
        }
    }

    /// The call is wrong: exit status 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, what)
    }

    /// Adds the server's own words.
    pub fn said(mut self, message: impl Into<String>) -> Self {
        self.said = message.into();
        self
    }

    /// Adds the words of a page that the server sent instead of a message.
    pub fn page(mut self, words: impl Into<String>) -> Self {
        self.said = words.into();
        self.said_limit = PAGE_LIMIT;
        self
    }

    /// Adds what to do about it, after what has been said of that before.
    pub fn advice(mut self, advice: impl AsRef<str>) -> Self {
        if !self.advice.is_empty() && !advice.as_ref().is_empty() {
            self.advice.push_str("; ");
        }
        self.advice.push_str(advice.as_ref());
        self
    }

    /// Says whether another attempt may be made.
    pub fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    /// Rewrites the server's own words, before they are shortened.
    pub fn map_said(mut self, rewrite: impl FnOnce(&str) -> String) -> Self {
        self.said = rewrite(&self.said);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.said.is_empty() {
            write!(f, ": {}", shorten(&self.said, self.said_limit))?;
        }
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// `text` with every run of white space as one blank, cut after `limit` characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for c in word.chars() {
            if length >= limit {
                line.push('…');
                return line;
            }
            line.push(c);
            length += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_said_and_advice() {
        let failure = Failure::new(Exit::Refused, "HTTP 404")
            .said("no such\nmodel")
            .advice("see --model");
        assert_eq!(failure.to_string(), "HTTP 404: no such model; see --model");
        assert_eq!(Failure::usage("no prompt").to_string(), "no prompt");
        let failure = Failure::usage("a").advice("b").advice("").advice("c");
        assert_eq!(failure.to_string(), "a; b; c");
    }

    #[test]
    fn long_words_of_the_server_are_cut() {
        let line = Failure::new(Exit::Refused, "HTTP 400")
            .said("x".repeat(5000))
            .to_string();
        assert_eq!(line, format!("HTTP 400: {}…", "x".repeat(300)));
        let line = Failure::new(Exit::Refused, "HTTP 400")
            .page("x".repeat(5000))
            .to_string();
        assert_eq!(line, format!("HTTP 400: {}…", "x".repeat(120)));
    }

    #[test]
    fn white_space_is_folded() {
        assert_eq!(shorten("  a \r\n\t b  ", 10), "a b");
        assert_eq!(shorten("abc def", 5), "abc d…");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abc def", 3), "abc …");
    }
}
