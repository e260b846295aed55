//! Words and standard input to the prompt's text: what is read, where it goes, what may be empty.

use std::ffi::OsString;

use crate::error::Failure;
use crate::input;

/// What standard input is for in this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Left alone.
    Unread,
    /// Goes before the words, and may be empty.
    Offered,
    /// A word `-` asked for it: it must not be blank.
    Demanded,
    /// `--messages -`: it holds the conversation.
    Messages,
}

/// The prompt before standard input is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// What standard input is for.
    pub stdin: Stdin,
    before: String,
    after: String,
    at_terminal: bool,
}

/// What the command line says beside the words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// `--no-stdin` was given.
    pub no_stdin: bool,
    /// Standard input is a terminal.
    pub stdin_is_terminal: bool,
    /// A person is there to read the short usage.
    pub at_terminal: bool,
    /// `--messages` was given.
    pub messages: bool,
    /// `--messages -` was given.
    pub messages_from_stdin: bool,
    /// `--attach` was given.
    pub attachments: bool,
}

impl Plan {
    /// Decides what is read and where it goes.
    ///
    /// # Errors
    /// Exit status 2 for words that are not UTF-8, for two uses of standard input, and where
    /// nothing at all could become a prompt.
    pub fn new(words: &[OsString], given: Circumstances) -> Result<Plan, Failure> {
        let words = words
            .iter()
            .enumerate()
            .map(|(i, word)| input::utf8_argument(word, &format!("word {} of the prompt", i + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        let dashes = words.iter().filter(|word| **word == "-").count();
        if dashes + usize::from(given.messages_from_stdin) > 1 {
            return Err(Failure::usage(
                "standard input can be used only once, and - stands for it more than once",
            ));
        }
        if given.no_stdin && (dashes > 0 || given.messages_from_stdin) {
            return Err(Failure::usage(
                "- asks for standard input and --no-stdin leaves it alone; give one of them",
            ));
        }
        let split = words.iter().position(|word| *word == "-");
        let (before, after) = match split {
            Some(at) => (words[..at].join(" "), words[at + 1..].join(" ")),
            None => (String::new(), words.join(" ")),
        };
        let stdin = if given.messages_from_stdin {
            Stdin::Messages
        } else if split.is_some() {
            Stdin::Demanded
        } else if given.no_stdin || given.stdin_is_terminal || (given.messages && words.is_empty())
        {
            Stdin::Unread
        } else {
            Stdin::Offered
        };
        let plan = Plan {
            stdin,
            before,
            after,
            at_terminal: given.at_terminal,
        };
        let optional = given.messages || given.attachments;
        if stdin == Stdin::Unread && plan.words_are_blank() && !optional {
            return Err(no_prompt(plan.at_terminal));
        }
        Ok(plan)
    }

    /// Whether there is nothing but white space in the words.
    pub fn words_are_blank(&self) -> bool {
        is_blank(&self.before) && is_blank(&self.after)
    }

    /// The prompt's text, or none where it is blank and `optional`, because something else is sent.
    ///
    /// # Errors
    /// Exit status 2 for a blank standard input that a `-` asked for, and for a blank prompt that
    /// is not optional.
    pub fn text(self, stdin: Option<String>, optional: bool) -> Result<Option<String>, Failure> {
        let stdin = stdin.unwrap_or_default();
        if self.stdin == Stdin::Demanded && is_blank(&stdin) {
            return Err(Failure::usage(
                "standard input is empty, and - asks for it; nothing was sent",
            ));
        }
        let text = join(
            join(self.before, without_final_line_ends(stdin)),
            self.after,
        );
        if !is_blank(&text) {
            Ok(Some(text))
        } else if optional {
            Ok(None)
        } else {
            Err(no_prompt(self.at_terminal))
        }
    }
}

fn no_prompt(at_terminal: bool) -> Failure {
    let failure = Failure::usage("no prompt: give it as arguments, on standard input, or both");
    if at_terminal {
        failure.advice("usage: haiku [OPTIONS] [PROMPT]... (haiku --help says more)")
    } else {
        failure
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn without_final_line_ends(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    text
}

/// Two parts with an empty line between them; an empty part leaves the other as it is. Appends in
/// place, for the first part can be megabytes.
fn join(mut first: String, second: String) -> String {
    if first.is_empty() {
        return second;
    }
    if !second.is_empty() {
        first.push_str("\n\n");
        first.push_str(&second);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn text(list: &[&str], stdin: &str) -> Result<Option<String>, Failure> {
        Plan::new(&words(list), Circumstances::default())?.text(Some(stdin.into()), false)
    }

    #[test]
    fn standard_input_goes_first_and_the_words_last() {
        let cases: [(&[&str], &str, &str); 10] = [
            (&["a", "b"], "", "a b"),
            (&["a", "b"], "in\n", "in\n\na b"),
            (&["a", "b"], "\n\r\n", "a b"),
            (&[], "in\r\n\r\n", "in"),
            (&[""], "in", "in"),
            (&["-"], " in \n", " in "),
            (&["-", "a"], "in\n", "in\n\na"),
            (&["a", "-"], "in\n", "a\n\nin"),
            (&["a", "b", "-", "c", "d"], "in\n", "a b\n\nin\n\nc d"),
            (&["a  b", ""], "\n x", "\n x\n\na  b "),
        ];
        for (list, stdin, expected) in cases {
            assert_eq!(
                text(list, stdin).unwrap().as_deref(),
                Some(expected),
                "{list:?} {stdin:?}"
            );
        }
    }

    #[test]
    fn blank_prompts_are_refused() {
        for (list, stdin) in [
            (&["-", "a"][..], " \n\t\n"),
            (&["a", "-"], ""),
            (&[" "], "\n"),
            (&[], " "),
        ] {
            assert!(text(list, stdin).is_err(), "{list:?} {stdin:?}");
        }
    }

    #[test]
    fn a_blank_prompt_is_none_where_something_else_is_sent() {
        let given = Circumstances {
            messages: true,
            ..Circumstances::default()
        };
        let plan = Plan::new(&words(&[" "]), given).unwrap();
        assert_eq!(plan.text(Some("\n".into()), true).unwrap(), None);
    }

    #[test]
    fn what_standard_input_is_for() {
        let plain = Circumstances::default();
        let terminal = Circumstances {
            stdin_is_terminal: true,
            ..plain
        };
        let no_stdin = Circumstances {
            no_stdin: true,
            ..plain
        };
        let messages = Circumstances {
            messages: true,
            ..plain
        };
        let messages_from_stdin = Circumstances {
            messages_from_stdin: true,
            ..messages
        };
        let both = Circumstances {
            no_stdin: true,
            ..messages_from_stdin
        };
        let cases: [(&[&str], Circumstances, Option<Stdin>); 15] = [
            (&[], plain, Some(Stdin::Offered)),
            (&["a"], plain, Some(Stdin::Offered)),
            (&["-"], plain, Some(Stdin::Demanded)),
            (&["-", "-"], plain, None),
            (&[], terminal, None),
            (&["a"], terminal, Some(Stdin::Unread)),
            (&["-"], terminal, Some(Stdin::Demanded)),
            (&["a"], no_stdin, Some(Stdin::Unread)),
            (&[], no_stdin, None),
            (&["-"], no_stdin, None),
            (&[], messages, Some(Stdin::Unread)),
            (&["a"], messages, Some(Stdin::Offered)),
            (&["a"], messages_from_stdin, Some(Stdin::Messages)),
            (&["-"], messages_from_stdin, None),
            (&[], both, None),
        ];
        for (list, given, expected) in cases {
            let plan = Plan::new(&words(list), given);
            assert_eq!(
                plan.ok().map(|plan| plan.stdin),
                expected,
                "{list:?} {given:?}"
            );
        }
    }
}
