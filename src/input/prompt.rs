//! Prompt words and standard input become the prompt: what is read, where it goes, what may be empty.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::cli::args::Args;
use crate::utf8::{argument, is_blank, without_trailing_line_breaks};

/// What standard input is to the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    Ignored,
    /// Not read either, but what waits in it may have been meant to be.
    Unread,
    /// Comes before the words, and may be empty.
    Optional,
    /// A word `-` asks for it: it must not be blank.
    Required,
}

/// Who is there to read and to type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminals {
    pub stdin: bool,
    pub stderr: bool,
}

/// The prompt before standard input is known.
#[derive(Debug, PartialEq, Eq)]
pub struct PromptPlan {
    pub stdin: Stdin,
    before: String,
    after: String,
    shows_usage: bool,
}

/// The prompt's parts in order, none of them empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    pub parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    /// Whether it changes from call to call, as PROMPT does, and standard input does not.
    pub is_words: bool,
}

impl PromptPlan {
    /// Decides what is read and where it goes.
    ///
    /// # Errors
    /// Words that are not UTF-8, two uses of standard input, and nothing that could become a prompt.
    pub fn new(args: &Args, terminals: Terminals) -> anyhow::Result<PromptPlan> {
        let words = args.prompt.iter().enumerate();
        let words = words
            .map(|(i, word)| argument(word, &format!("prompt word {}", i + 1)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let dashes = words.iter().filter(|word| **word == "-").count();
        let file = stdin_files(args).next();
        ensure!(
            dashes + stdin_files(args).count() <= 1,
            "standard input can be used only once, but - is given more than once"
        );
        ensure!(
            !args.no_stdin || (dashes == 0 && file.is_none()),
            "- means standard input, which --no-stdin does not read; use one or the other"
        );
        if args.body.is_some() {
            ensure!(words.is_empty(), "--body and PROMPT cannot be used together");
        }
        let split = words.iter().position(|word| *word == "-");
        let (before, after) = match split {
            Some(at) => (words[..at].join(" "), words[at + 1..].join(" ")),
            None => (String::new(), words.join(" ")),
        };
        let stdin = if split.is_some() {
            Stdin::Required
        } else if args.no_stdin || file.is_some() || terminals.stdin {
            Stdin::Ignored
        } else if args.body.is_some() || (args.messages.is_some() && words.is_empty()) {
            Stdin::Unread
        } else {
            Stdin::Optional
        };
        let plan =
            PromptPlan { stdin, before, after, shows_usage: terminals.stdin || terminals.stderr };
        let is_optional = args.messages.is_some() || !args.attach.is_empty() || args.body.is_some();
        if stdin == Stdin::Ignored && plan.is_blank() && !is_optional {
            return Err(no_prompt(plan.shows_usage));
        }
        Ok(plan)
    }

    /// Whether the words are nothing but white space.
    pub fn is_blank(&self) -> bool {
        is_blank(&self.before) && is_blank(&self.after)
    }

    /// The prompt, or none if it is blank and `is_optional`, because something else is sent.
    ///
    /// # Errors
    /// Standard input that is blank though a `-` asks for it, and a blank prompt that is not optional.
    pub fn prompt(self, stdin: String, is_optional: bool) -> anyhow::Result<Option<Prompt>> {
        if self.stdin == Stdin::Required && is_blank(&stdin) {
            bail!("standard input is empty; nothing was sent");
        }
        let stdin = without_trailing_line_breaks(stdin);
        if self.is_blank() && is_blank(&stdin) {
            ensure!(is_optional, no_prompt(self.shows_usage));
            return Ok(None);
        }
        let parts = [(self.before, true), (stdin, false), (self.after, true)];
        let parts = parts.into_iter().filter(|(text, _)| !text.is_empty());
        Ok(Some(Prompt { parts: parts.map(|(text, is_words)| Part { text, is_words }).collect() }))
    }
}

impl Prompt {
    /// The parts with a blank line between them. Appends in place, for the first can be megabytes.
    pub fn into_text(self) -> String {
        let mut parts = self.parts.into_iter().map(|part| part.text);
        let mut text = parts.next().unwrap_or_default();
        for part in parts {
            text.push_str("\n\n");
            text.push_str(&part);
        }
        text
    }
}

/// Every FILE option that says `-`.
fn stdin_files(args: &Args) -> impl Iterator<Item = &Path> {
    let single = [&args.messages, &args.system_file, &args.schema, &args.body];
    let single = single.into_iter().flatten();
    let params = args.param.iter().filter_map(|param| param.to_str()?.split_once("=@"));
    single
        .chain(&args.attach)
        .map(AsRef::as_ref)
        .chain(params.map(|(_, path)| Path::new(path)))
        .filter(|path| *path == "-")
}

fn no_prompt(shows_usage: bool) -> anyhow::Error {
    let usage = if shows_usage {
        "; usage: haiku [OPTIONS] [--] [PROMPT]... (haiku -h lists the options)"
    } else {
        ""
    };
    anyhow::anyhow!("no prompt: give it as arguments, on standard input, or both{usage}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const PIPE: Terminals = Terminals { stdin: false, stderr: false };
    const TERMINAL: Terminals = Terminals { stdin: true, stderr: true };

    fn plan(list: &[&str], terminals: Terminals) -> anyhow::Result<PromptPlan> {
        let args = Args::try_parse_from([&["haiku"], list].concat()).unwrap();
        PromptPlan::new(&args, terminals)
    }

    fn text(list: &[&str], stdin: &str) -> anyhow::Result<Option<String>> {
        let prompt = plan(list, PIPE)?.prompt(stdin.into(), false)?;
        Ok(prompt.map(Prompt::into_text))
    }

    #[test]
    fn standard_input_comes_first_and_the_words_last() {
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
            let found = text(list, stdin).unwrap();
            assert_eq!(found.as_deref(), Some(expected), "{list:?} {stdin:?}");
        }
    }

    #[test]
    fn blank_prompts_are_rejected_unless_optional() {
        for (list, stdin) in
            [(&["-", "a"][..], " \n\t\n"), (&["a", "-"], ""), (&[" "], "\n"), (&[], " ")]
        {
            assert!(text(list, stdin).is_err(), "{list:?} {stdin:?}");
        }
        let plan = plan(&["--messages", "m", " "], PIPE).unwrap();
        assert_eq!(plan.prompt("\n".into(), true).unwrap(), None);
    }

    #[test]
    fn the_use_of_standard_input() {
        let cases: [(&[&str], Terminals, Option<Stdin>); 26] = [
            (&[], PIPE, Some(Stdin::Optional)),
            (&["a"], PIPE, Some(Stdin::Optional)),
            (&["-"], PIPE, Some(Stdin::Required)),
            (&["-", "-"], PIPE, None),
            (&[], TERMINAL, None),
            (&["a"], TERMINAL, Some(Stdin::Ignored)),
            (&["-"], TERMINAL, Some(Stdin::Required)),
            (&["-n", "a"], PIPE, Some(Stdin::Ignored)),
            (&["-n"], PIPE, None),
            (&["-n", "-"], PIPE, None),
            (&["-n", "-a", "-"], PIPE, None),
            (&["--messages", "m"], PIPE, Some(Stdin::Unread)),
            (&["--messages", "m"], TERMINAL, Some(Stdin::Ignored)),
            (&["-n", "--messages", "m"], PIPE, Some(Stdin::Ignored)),
            (&["--messages", "m", "-a", "-"], PIPE, Some(Stdin::Ignored)),
            (&["--messages", "m", "a"], PIPE, Some(Stdin::Optional)),
            (&["--messages", "-", "a"], PIPE, Some(Stdin::Ignored)),
            (&["--messages", "-", "-"], PIPE, None),
            (&["-a", "-", "-a", "-", "a"], PIPE, None),
            (&["-a", "-", "--schema", "-"], PIPE, None),
            (&["-a", "-", "--param", "x=@-"], PIPE, None),
            (&["--system-file", "-", "a"], PIPE, Some(Stdin::Ignored)),
            (&["--system-file", "-"], PIPE, None),
            (&["--body", "b"], PIPE, Some(Stdin::Unread)),
            (&["--body", "-"], PIPE, Some(Stdin::Ignored)),
            (&["--body", "b", "a"], PIPE, None),
        ];
        for (list, terminals, expected) in cases {
            let plan = plan(list, terminals);
            assert_eq!(plan.ok().map(|plan| plan.stdin), expected, "{list:?} {terminals:?}");
        }
    }
}
