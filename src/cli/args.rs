//! The options: what each is called, what it takes, and how help and man page describe it.
//!
//! Imports clap and std alone, so that the test that generates man page and completions can include it by path.

#![allow(rustdoc::bare_urls, reason = "the comments are also the help")]

use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Parser, ValueHint};

/// The model's maximum, by the catalogue.
pub const DEFAULT_MAX_TOKENS: u64 = 8192;

/// Older and dated spellings are answered with 404.
pub const DEFAULT_MODEL: &str = "anthropic/claude-haiku-4.5";

const MODEL: &str = "Model parameters";
const CONNECTION: &str = "Gateway and connection";
const INPUT_OUTPUT: &str = "Input and output";

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Send a prompt to Claude Haiku 4.5 on Cloudflare and print the reply
///
/// The prompt is standard input, followed by a blank line and PROMPT; either may be omitted.
/// The reply goes to standard output and always ends with a newline. Errors are reported in
/// one line on standard error, and the exit status tells a script how to react.
///
/// Put options before the prompt, and -- before a prompt that starts with a dash or that you
/// did not write yourself.
#[derive(Debug, Parser)]
#[command(
    name = "haiku",
    version,
    override_usage = "haiku [OPTIONS] [--] [PROMPT]...",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Args {
    /// Prompt words, joined with spaces; - means standard input
    ///
    /// Standard input is read to its end unless it is a terminal or -n is given, and comes
    /// first. A word - puts it in another place, with a blank line between it and the words
    /// on either side, and must not be empty: nothing is sent then. Options come before the
    /// first word; after it, an argument that starts with a dash is an error. Any FILE that is
    /// read, except that of --token-file, may be - as well. Standard input can be used only
    /// once.
    pub prompt: Vec<OsString>,

    /// Model to use [default: anthropic/claude-haiku-4.5]
    #[arg(short, long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), help_heading = MODEL)]
    pub model: Option<String>,

    /// System prompt
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = MODEL)]
    pub system: Option<OsString>,

    /// Read the system prompt from FILE
    ///
    /// An argument is limited to 128 KB and visible to every user of the machine; a file is
    /// not. Trailing line breaks are dropped.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, conflicts_with = "system", help_heading = MODEL)]
    pub system_file: Option<PathBuf>,

    /// Maximum number of tokens to generate [default: 8192]
    ///
    /// A reply that reaches this limit is still printed; the exit status is 5. 8192 is the
    /// maximum in Cloudflare's catalogue; the model itself may take more.
    #[arg(long, value_name = "N", value_parser = positive_integer, allow_negative_numbers = true, help_heading = MODEL)]
    pub max_tokens: Option<u64>,

    /// Sampling temperature, 0 to 1; not with --top-p
    #[arg(short, long, value_name = "X", value_parser = fraction, allow_negative_numbers = true, conflicts_with = "top_p", help_heading = MODEL)]
    pub temperature: Option<f64>,

    /// Nucleus sampling, 0 to 1; not with --temperature
    #[arg(long, value_name = "X", value_parser = fraction, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_p: Option<f64>,

    /// Sample only from the N most likely tokens
    #[arg(long, value_name = "N", value_parser = positive_integer, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_k: Option<u64>,

    /// Print text as it arrives [default on a terminal]
    ///
    /// If the connection breaks, the text received so far has been printed and the exit
    /// status is 4. With --json, prints one event per line.
    #[arg(long, overrides_with = "no_stream", help_heading = MODEL)]
    pub stream: bool,

    /// Print nothing until the reply is complete
    #[arg(long, overrides_with = "stream", help_heading = MODEL)]
    pub no_stream: bool,

    /// Request metadata, such as {"user_id": "…"}
    #[arg(long, value_name = "JSON", allow_hyphen_values = true, help_heading = MODEL)]
    pub metadata: Option<OsString>,

    /// Conversation so far: a JSON array or JSON Lines
    ///
    /// Each message is an object with role and content. PROMPT, if any, is added as the last
    /// user message; without PROMPT, standard input is not read, unless a word - asks for it.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub messages: Option<PathBuf>,

    /// Attach an image, PDF or text file (repeatable)
    ///
    /// The type is detected from the content, not the name. At most 32 MB per request; the
    /// server has limits of its own for images.
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub attach: Vec<PathBuf>,

    /// Cache the prompt's fixed part for 5m or 1h
    ///
    /// The fixed part is everything up to the end of attachments and standard input. Calls
    /// that repeat it within this time pay a tenth of the input price for it, if it is at
    /// least 4,096 tokens long.
    #[arg(long, value_name = "TTL", value_parser = ["5m", "1h"], hide_possible_values = true, help_heading = MODEL)]
    pub cache_prompt: Option<String>,

    /// Ask for JSON that matches the JSON Schema in FILE
    ///
    /// A reply that is not valid JSON is still printed; the exit status is 5. The reply is
    /// not checked against the schema.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub schema: Option<PathBuf>,

    /// Set any other request property (repeatable)
    ///
    /// For properties without an option of their own, such as stop_sequences, tools and
    /// thinking. The JSON is sent exactly as written. KEY=@FILE reads it from FILE.
    #[arg(long, value_name = "KEY=JSON", allow_hyphen_values = true, help_heading = MODEL)]
    pub param: Vec<OsString>,

    /// Send FILE as the request body, unchanged
    ///
    /// What --dry-run printed, --body sends. Cannot be combined with PROMPT or with the
    /// options above.
    #[arg(
        long,
        value_name = "FILE",
        allow_hyphen_values = true,
        value_hint = ValueHint::FilePath,
        conflicts_with_all = [
            "model", "system", "system_file", "max_tokens", "temperature", "top_p", "top_k", "stream", "no_stream",
            "metadata", "messages", "attach", "cache_prompt", "schema", "param",
        ],
        help_heading = MODEL
    )]
    pub body: Option<PathBuf>,

    /// AI Gateway to use [default: default]
    ///
    /// Only the gateway named "default" is created automatically; any other must already
    /// exist.
    #[arg(short, long, value_name = "ID", value_parser = identifier, help_heading = CONNECTION)]
    pub gateway: Option<String>,

    /// Keep the reply in the gateway's cache this long
    ///
    /// From 60 seconds to 31 days. The gateway does not cache streams, so this turns off the
    /// terminal's default --stream, and has no effect with --stream.
    #[arg(long, value_name = "TIME", value_parser = cache_ttl, allow_negative_numbers = true, help_heading = CONNECTION)]
    pub cache_ttl: Option<u64>,

    /// Bypass the gateway's cache
    #[arg(long, help_heading = CONNECTION)]
    pub skip_cache: bool,

    /// Add a request header (repeatable)
    ///
    /// Headers set by haiku itself and headers that carry credentials are rejected:
    /// command-line arguments are visible to every user of the machine.
    #[arg(short = 'H', long, value_name = "NAME: VALUE", help_heading = CONNECTION)]
    pub header: Vec<OsString>,

    /// Cloudflare account ID
    #[arg(long, value_name = "ID", help_heading = CONNECTION)]
    pub account_id: Option<String>,

    /// Read the API token from FILE
    ///
    /// No option takes the token itself: command-line arguments are visible to every user of
    /// the machine.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, help_heading = CONNECTION)]
    pub token_file: Option<PathBuf>,

    /// API base URL
    ///
    /// The default is https://api.cloudflare.com/client/v4. Plain http is allowed only for
    /// loopback addresses.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = CONNECTION)]
    pub base_url: Option<String>,

    /// Maximum total time [default: 600 seconds]
    ///
    /// Covers everything from the end of the input to the end of the reply: connecting (at
    /// most 10 seconds), sending, waiting, retries and the pauses between them. TIME is a
    /// number of seconds, or a number with s, m, h or d, at most one day. Optional standard
    /// input that stays silent this long is an error too; if it is a socket, after 60 seconds
    /// at most.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = timeout,
        allow_negative_numbers = true,
        default_value = "600",
        hide_default_value = true,
        help_heading = CONNECTION
    )]
    pub timeout: Duration,

    /// Retries on temporary errors [default: 2]
    ///
    /// N is 0 to 10. Temporary errors are lost connections, rate limits, overload and other
    /// server errors. haiku waits as long as the server asks, or else 0.5 seconds, doubling up to 8, with
    /// jitter; after a rate limit 2 seconds, doubling up to 32. Once a reply has begun it is
    /// never requested again, because it has already been billed.
    #[arg(
        long,
        value_name = "N",
        value_parser = |text: &str| number(text, 0..=10_u32, "must be an integer from 0 to 10"),
        allow_negative_numbers = true,
        default_value = "2",
        hide_default_value = true,
        help_heading = CONNECTION
    )]
    pub retries: u32,

    /// Do not read standard input
    ///
    /// For loops, hooks and daemons. Without -n, haiku reads standard input to its end even if
    /// PROMPT is given. A program that starts haiku (an agent, an editor,
    /// subprocess, ssh) often leaves it open and silent, and a script that itself comes on
    /// standard input (bash <script, ssh host bash -s) would lose the rest of its lines to
    /// haiku: use -n or <FILE there.
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub no_stdin: bool,

    /// Print the response as raw JSON
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub json: bool,

    /// Write the reply to FILE, all or nothing
    ///
    /// FILE is replaced atomically once the reply is complete; otherwise it is left
    /// untouched. An unfinished reply (exit status 5) goes to standard output instead. FILE may
    /// be -, for standard output.
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath, help_heading = INPUT_OUTPUT)]
    pub output: Option<PathBuf>,

    /// Print the request body without sending it
    ///
    /// Needs neither an account nor a network. With -v, also prints the method, URL and
    /// headers on standard error.
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub dry_run: bool,

    /// Report retries, token counts and timings on stderr
    ///
    /// Also the gateway's cache status, who pays (key Unified: Cloudflare credits, key BYOK: a
    /// provider key of yours), the log ID and, for a failed call, cf-ray and the request ID.
    #[arg(short, long, overrides_with = "quiet", help_heading = INPUT_OUTPUT)]
    pub verbose: bool,

    /// Suppress hints, warnings and progress, but not errors
    #[arg(short, long, overrides_with = "verbose", help_heading = INPUT_OUTPUT)]
    pub quiet: bool,

    /// Print man, complete-bash, complete-zsh, complete-fish
    ///
    /// The man page and the shell completions, for an installation that lacks them.
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = ["man", "complete-bash", "complete-zsh", "complete-fish"],
        hide_possible_values = true,
        help_heading = INPUT_OUTPUT
    )]
    pub generate: Option<String>,

    /// Print help (-h: summary, --help: details)
    #[arg(short, long, action = ArgAction::Help, help_heading = INPUT_OUTPUT)]
    help: Option<bool>,

    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = INPUT_OUTPUT)]
    version: Option<bool>,
}

/// An ID that is safe in a URL and in a header.
///
/// # Errors
/// The rule that `text` breaks.
pub fn identifier(text: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("must be non-empty and contain only letters, digits, - and _");
    }
    Ok(text.into())
}

fn positive_integer(text: &str) -> Result<u64, String> {
    number(text, 1..=u64::MAX, "must be a positive integer")
}

fn fraction(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0, "must be a number from 0 to 1")
}

/// A number in `range`. Digits that are no number of its type are too many.
fn number<T>(text: &str, range: RangeInclusive<T>, rule: &str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let is_too_large = match text.parse() {
        Ok(number) if range.contains(&number) => return Ok(number),
        Ok(number) => number > *range.end(),
        Err(_) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let too_large = || format!("too large; must be at most {}", range.end());
    Err(if is_too_large { too_large() } else { rule.into() })
}

/// A time as timeout(1) takes it: `90`, `1.5m`, `2h`.
fn time(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected seconds, or a number with s, m, h or d";
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], HOUR),
        Some((at, 'd')) => (&text[..at], DAY),
        _ => (text, 1),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(EXPECTED);
    }
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    Ok(Duration::try_from_secs_f64(number * unit as f64).unwrap_or(Duration::MAX))
}

fn timeout(text: &str) -> Result<Duration, &'static str> {
    match time(text)? {
        timeout if timeout > Duration::from_secs(DAY) => Err("too large; must be at most one day"),
        Duration::ZERO => Err("must be above 0 and at most one day"),
        timeout => Ok(timeout),
    }
}

/// The gateway's documented bounds, in whole seconds.
fn cache_ttl(text: &str) -> Result<u64, &'static str> {
    match time(text)? {
        ttl if ttl > Duration::from_secs(31 * DAY) => Err("too large; must be at most 31 days"),
        ttl if ttl.subsec_nanos() == 0 && ttl.as_secs() >= 60 => Ok(ttl.as_secs()),
        _ => Err("must be whole seconds, from 60 seconds to 31 days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_as_timeout_1_takes_them() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("0.4", 400),
            (".5s", 500),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "s", ".", "30x", "1e3", "-1", "+1", "inf", "NaN", "1 s", "1ms", "1.2.3", "é"]
        {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(timeout("0").is_err() && timeout("86401").is_err() && timeout("1d").is_ok());
        assert_eq!(timeout(&"9".repeat(400)), Err("too large; must be at most one day"));
        assert_eq!(cache_ttl("1.5m"), Ok(90));
        assert!(
            cache_ttl("59").is_err() && cache_ttl("60.5").is_err() && cache_ttl("32d").is_err()
        );
    }
}
