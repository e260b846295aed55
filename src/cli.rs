//! Arguments to options; or to the help, the version, or one line about what is wrong with them.

use std::env;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{self, Args};
use crate::error::{Failure, shorten};
use crate::input;
use crate::output::Output;

/// The most of clap's own words that is shown, in characters: they repeat a value that was refused.
const LONGEST: usize = 300;

/// The options of this call; none where help or version was asked for, and has been written.
///
/// # Errors
/// Exit status 2 for arguments that break a rule; 1 where the help cannot be written.
pub fn parse() -> Result<Option<Args>, Failure> {
    let error = match Args::try_parse_from(env::args_os()) {
        Ok(args) => return Ok(Some(args)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut help = error.render().to_string();
            if error.kind() == ErrorKind::DisplayHelp && env::args_os().any(|arg| arg == "--help") {
                help = help + "\n" + &args::after_help();
            }
            Output::stdout()?.write_whole(help.into_bytes())?;
            Ok(None)
        }
        ErrorKind::InvalidUtf8 => Err(first_bad_argument()),
        _ => Err(Failure::usage(one_line(&error.render().to_string()))
            .advice("haiku --help lists the options")),
    }
}

/// clap does not say which argument is not UTF-8, nor where.
fn first_bad_argument() -> Failure {
    env::args_os()
        .enumerate()
        .find_map(|(i, argument)| input::utf8_argument(&argument, &format!("argument {i}")).err())
        .unwrap_or_else(|| Failure::usage("an argument is not UTF-8"))
}

/// What is wrong, out of the paragraphs that clap makes of it.
fn one_line(rendered: &str) -> String {
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    shorten(
        paragraph.strip_prefix("error: ").unwrap_or(paragraph),
        LONGEST,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_is_the_line() {
        let rendered = "error: the argument '--a' cannot be used with:\n  --b\n\nUsage: x\n";
        assert_eq!(
            one_line(rendered),
            "the argument '--a' cannot be used with: --b"
        );
    }
}
