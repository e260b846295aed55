//! The command line: arguments become [`Args`], a text to print, or one line that names what is wrong.

pub mod args;
mod help;

use std::ffi::{OsStr, OsString};

use anyhow::bail;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches};

use crate::error::shorten;
use crate::utf8::argument;
use args::Args;

/// A rejected value is repeated in a message, but not all of it.
const MAX_VALUE_CHARS: usize = 60;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    Call(Box<Args>),
    /// Help, version, man page or completion.
    Print(String),
}

/// Parses the arguments, the program's name first.
///
/// # Errors
/// Arguments that break a rule.
pub fn parse(arguments: Vec<OsString>) -> anyhow::Result<Invocation> {
    let mut command = Args::command();
    let (options, prompt) = split(&command, &arguments)?;
    let matches = match command.try_get_matches_from_mut(options) {
        Ok(matches) => matches,
        Err(error) => return explain(&error, &command, options),
    };
    let mut args = Args::from_arg_matches(&matches)?;
    args.prompt = prompt.to_vec();
    Ok(match &args.generate {
        Some(what) => Invocation::Print(generated(what).into()),
        None => Invocation::Call(Box::new(args)),
    })
}

/// Splits the arguments into options and prompt words, so that no prompt word is ever an option.
fn split<'a>(
    command: &Command,
    arguments: &'a [OsString],
) -> anyhow::Result<(&'a [OsString], &'a [OsString])> {
    let mut at = 1.min(arguments.len());
    while let Some(argument) = arguments.get(at) {
        if argument == "--" {
            return Ok((&arguments[..at], &arguments[at + 1..]));
        }
        if !looks_like_option(argument) {
            break;
        }
        at += if takes_next(command, argument) { 2 } else { 1 };
    }
    let (options, prompt) = arguments.split_at(at.min(arguments.len()));
    if let Some(option) = prompt.iter().find(|word| looks_like_option(word)) {
        bail!(
            "'{}' after the first prompt word; put options first, or -- before the prompt to send it as text",
            shorten(&option.to_string_lossy(), MAX_VALUE_CHARS)
        );
    }
    Ok((options, prompt))
}

/// A lone dash is standard input, and what has white space after its dash can be no option.
fn looks_like_option(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    let second = text.strip_prefix('-').and_then(|rest| rest.chars().next());
    second.is_some_and(|c| !c.is_whitespace())
}

/// Whether the argument after `option` is its value.
fn takes_next(command: &Command, option: &OsStr) -> bool {
    let takes_value = |matches: &dyn Fn(&clap::Arg) -> bool| {
        let arg = command.get_arguments().find(|arg| matches(arg));
        arg.is_some_and(|arg| arg.get_action().takes_values())
    };
    let option = option.to_string_lossy();
    if let Some(long) = option.strip_prefix("--") {
        return takes_value(&|arg| arg.get_long() == Some(long));
    }
    // In a cluster, the rest belongs to the first option that takes a value.
    let takes = |short| takes_value(&|arg| arg.get_short() == Some(short));
    let first = option.char_indices().skip(1).find(|(_, short)| takes(*short));
    first.is_some_and(|(at, short)| at + short.len_utf8() == option.len())
}

fn generated(what: &str) -> &'static str {
    match what {
        "complete-bash" => include_str!("../../completions/haiku.bash"),
        "complete-zsh" => include_str!("../../completions/_haiku"),
        "complete-fish" => include_str!("../../completions/haiku.fish"),
        _ => include_str!("../../man/haiku.1"),
    }
}

/// clap's findings, which span paragraphs, in one line. Help and version are findings too.
fn explain(
    error: &clap::Error,
    command: &Command,
    arguments: &[OsString],
) -> anyhow::Result<Invocation> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    // clap adds the placeholder of the value: `--timeout <TIME>`.
    let name = |kind| context(kind).split(' ').next().unwrap_or_default();
    let option = name(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::DisplayHelp if arguments.iter().any(|argument| argument == "--help") => {
            Ok(Invocation::Print(help::reference(command)))
        }
        ErrorKind::DisplayHelp => Ok(Invocation::Print(help::summary(command))),
        ErrorKind::DisplayVersion => Ok(Invocation::Print(command.render_version())),
        ErrorKind::InvalidUtf8 => {
            // clap does not say which.
            for (i, option) in arguments.iter().enumerate() {
                argument(option, &format!("argument {i}"))?;
            }
            bail!("an option is not valid UTF-8")
        }
        ErrorKind::UnknownArgument => {
            let similar = match context(ContextKind::SuggestedArg) {
                "" => String::new(),
                similar => format!(" (did you mean '{similar}'?)"),
            };
            bail!(
                "unknown option '{option}'{similar}; put -- before a prompt that starts with a dash"
            )
        }
        ErrorKind::ArgumentConflict => {
            let other = name(ContextKind::PriorArg);
            bail!("{option} and {other} cannot be used together")
        }
        ErrorKind::TooManyValues => bail!("{option} takes no value"),
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            bail!("{option} needs a value")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let why = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => format!("expected {}", values.join(" or ")),
                _ => std::error::Error::source(error).map(ToString::to_string).unwrap_or_default(),
            };
            let value = shorten(context(ContextKind::InvalidValue), MAX_VALUE_CHARS);
            bail!("invalid {option} '{value}': {why}")
        }
        _ => bail!(
            "{}; haiku -h lists the options",
            shorten(&error.kind().to_string(), MAX_VALUE_CHARS)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Vec<OsString> {
        ["haiku"].iter().chain(list).map(OsString::from).collect()
    }

    /// The prompt words joined by `|`, or the error.
    fn prompt(list: &[&str]) -> String {
        match parse(arguments(list)) {
            Ok(Invocation::Call(args)) => {
                let words: Vec<_> = args.prompt.iter().map(|word| word.to_string_lossy()).collect();
                words.join("|")
            }
            Ok(Invocation::Print(text)) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_end_at_the_first_prompt_word() {
        for (list, expected) in [
            (&["a", "b"][..], "a|b"),
            (&["-n", "a"], "a"),
            (&["-s", "a", "b"], "b"),
            (&["-sa", "b"], "b"),
            (&["-ns", "a", "b"], "b"),
            (&["-nsa", "b"], "b"),
            (&["--system=a", "b"], "b"),
            (&["--system", "-x", "b"], "b"),
            (&["-s", "--", "b"], "b"),
            (&["-s", "--", "--", "-b"], "-b"),
            (&["-a", "-notes.md", "-n", "b"], "b"),
            (&["-na", "-notes.md", "b"], "b"),
            (&["--output", "-out.md", "--metadata", "-1", "-q", "b"], "b"),
            (&["--param", "-x=1", "--schema", "--json", "b"], "b"),
            (&["--messages", "--", "b"], "b"),
            (&["--", "-n", "--", "-"], "-n|--|-"),
            (&["-n", "--", "a"], "a"),
            (&["-", "a", "-"], "-|a|-"),
            (&["- item", "-\titem"], "- item|-\titem"),
            (
                &["a", "-- b"],
                "'-- b' after the first prompt word; put options first, or -- before the prompt to send it as text",
            ),
            (
                &["what", "does", "tar", "-n", "do"],
                "'-n' after the first prompt word; put options first, or -- before the prompt to send it as text",
            ),
            (
                &["a", "--"],
                "'--' after the first prompt word; put options first, or -- before the prompt to send it as text",
            ),
        ] {
            assert_eq!(prompt(list), expected, "{list:?}");
        }
    }

    #[test]
    fn errors_are_one_line_that_names_the_option() {
        for (list, expected) in [
            (
                &["--retrys", "3", "a"][..],
                "unknown option '--retrys' (did you mean '--retries'?); put -- before a prompt that starts with a dash",
            ),
            (&["-k", "a"], "unknown option '-k'; put -- before a prompt that starts with a dash"),
            (
                &["--timeout", "30x"],
                "invalid --timeout '30x': expected seconds, or a number with s, m, h or d",
            ),
            (&["--top-k", "0"], "invalid --top-k '0': must be a positive integer"),
            (
                &["--max-tokens", "99999999999999999999"],
                "invalid --max-tokens '99999999999999999999': too large; must be at most 18446744073709551615",
            ),
            (&["-t", "-1"], "invalid --temperature '-1': must be a number from 0 to 1"),
            (&["-t", "2"], "invalid --temperature '2': too large; must be at most 1"),
            (&["--retries", "11"], "invalid --retries '11': too large; must be at most 10"),
            (
                &["--retries", "99999999999"],
                "invalid --retries '99999999999': too large; must be at most 10",
            ),
            (&["--retries", "x"], "invalid --retries 'x': must be an integer from 0 to 10"),
            (&["--timeout", "2d"], "invalid --timeout '2d': too large; must be at most one day"),
            (
                &["--cache-ttl", "32d"],
                "invalid --cache-ttl '32d': too large; must be at most 31 days",
            ),
            (
                &["-g", "a b"],
                "invalid --gateway 'a b': must be non-empty and contain only letters, digits, - and _",
            ),
            (&["-t", "1", "--top-p", "1"], "--temperature and --top-p cannot be used together"),
            (&["--body", "x", "--json", "-a", "y"], "--body and --attach cannot be used together"),
            (&["--json=x"], "--json takes no value"),
            (&["--timeout"], "--timeout needs a value"),
            (
                &["--generate", "x"],
                "invalid --generate 'x': expected man or complete-bash or complete-zsh or complete-fish",
            ),
            (&["--cache-prompt", "2h"], "invalid --cache-prompt '2h': expected 5m or 1h"),
        ] {
            assert_eq!(prompt(list), expected, "{list:?}");
        }
    }

    #[test]
    fn body_excludes_every_other_model_parameter() {
        let command = Args::command();
        let in_section = |arg: &&clap::Arg| arg.get_help_heading() == Some("Model parameters");
        let section: Vec<_> = command.get_arguments().filter(in_section).collect();
        let body = section.iter().find(|arg| arg.get_id() == "body").unwrap();
        let conflicts = command.get_arg_conflicts_with(body);
        for arg in section.iter().filter(|arg| arg.get_id() != "body") {
            assert!(conflicts.iter().any(|other| other.get_id() == arg.get_id()), "{arg}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_option_wins() {
        let Ok(Invocation::Call(args)) = parse(arguments(&[
            "-t",
            "1",
            "-t",
            "0.5",
            "-q",
            "-v",
            "--no-stream",
            "--stream",
            "--timeout",
            "1",
            "--timeout",
            "2m",
        ])) else {
            panic!("options that are allowed");
        };
        assert_eq!(args.temperature, Some(0.5));
        assert!(args.verbose && !args.quiet && args.stream && !args.no_stream);
        assert_eq!(args.timeout.as_secs(), 120);
    }
}
