//! Every option, exit status, variable and example, once: `--help`, man page and completions come from here.
//!
//! This file imports clap and std alone, so that a test can include it by path.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueHint};

/// What `max_tokens` is when nobody says otherwise: the most that the model's catalogue page allows.
pub const DEFAULT_MAX_TOKENS: u64 = 8192;

/// The only model this program was made for; an older or dated spelling is answered with 404.
pub const DEFAULT_MODEL: &str = "anthropic/claude-haiku-4.5";

/// How a call ends: exit status, what it means, what a script does about it.
pub const EXIT_STATUS: [(u8, &str, &str); 7] = [
    (0, "the reply is complete", "use it"),
    (1, "the output cannot be written", "look at this machine"),
    (
        2,
        "the call is wrong: an option, the prompt, an input file, a setting that is missing",
        "fix the call",
    ),
    (
        3,
        "refused, and would be again: token, credits, limits on spending, model, policy, certificate, redirect",
        "fix the account or the request",
    ),
    (
        4,
        "failed, but may work later: rate limit, overload, network, time-out, a reply cut off or garbled on its way",
        "try again",
    ),
    (5, "the reply came, but is not a finished answer", "decide"),
    (141, "the reader of standard output left", "nothing"),
];

/// The variables that are read, and what each is for.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    (
        "CLOUDFLARE_ACCOUNT_ID",
        "the account; --account-id beats it",
    ),
    (
        "CLOUDFLARE_API_TOKEN",
        "the token, which needs the permission Workers AI Read; --token-file beats it",
    ),
    (
        "CLOUDFLARE_API_TOKEN_FILE",
        "a file that holds the token, where CLOUDFLARE_API_TOKEN is not set",
    ),
    ("CLOUDFLARE_GATEWAY_ID", "the gateway; --gateway beats it"),
    (
        "CLOUDFLARE_API_BASE_URL",
        "where the API is; --base-url beats it",
    ),
];

const MODEL: &str = "Model parameters";
const CONNECTION: &str = "Gateway and connection";
const INPUT_OUTPUT: &str = "Input and output";

/// A Unix filter for Claude Haiku 4.5 on Cloudflare: a prompt goes in, the completion comes out.
///
/// The prompt is standard input, then an empty line, then the words of PROMPT; a word - says where standard
/// input goes, and that it must not be empty. Standard output gets the reply and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "haiku",
    version,
    override_usage = "haiku [OPTIONS] [PROMPT]...",
    after_long_help = after_help(),
    args_override_self = true
)]
pub struct Args {
    /// The prompt's words, joined by one blank; - is standard input
    pub prompt: Vec<OsString>,

    /// Model to ask [default: anthropic/claude-haiku-4.5]
    #[arg(short, long, value_name = "ID", value_parser = nonblank, help_heading = MODEL)]
    pub model: Option<String>,

    /// System message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = MODEL)]
    pub system: Option<OsString>,

    /// End the reply after N tokens [default: 8192]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = MODEL)]
    pub max_tokens: Option<u64>,

    /// Randomness, from 0 to 1
    #[arg(short, long, value_name = "X", value_parser = fraction, allow_negative_numbers = true,
          conflicts_with = "top_p", help_heading = MODEL)]
    pub temperature: Option<f64>,

    /// Nucleus sampling, from 0 to 1; not together with --temperature
    #[arg(long, value_name = "X", value_parser = fraction, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_p: Option<f64>,

    /// Sample from the N likeliest tokens
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_k: Option<u64>,

    /// Write the reply as it comes [default: only to a terminal]
    #[arg(long, overrides_with = "no_stream", help_heading = MODEL)]
    pub stream: bool,

    /// Write the reply once it is whole [default: not to a terminal]
    #[arg(long, overrides_with = "stream", help_heading = MODEL)]
    pub no_stream: bool,

    /// Conversation so far, a JSON array or JSON Lines; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub messages: Option<PathBuf>,

    /// Any other property of the request (repeatable)
    #[arg(long, value_name = "KEY=JSON", help_heading = MODEL)]
    pub param: Vec<OsString>,

    /// Image (png, jpeg, gif, webp) or pdf to send before the text (repeatable)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub attach: Vec<PathBuf>,

    /// Have the reply be JSON of this JSON Schema
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub schema: Option<PathBuf>,

    /// Gateway to go through [default: default]
    #[arg(short, long, value_name = "ID", value_parser = identifier, help_heading = CONNECTION)]
    pub gateway: Option<String>,

    /// Let the gateway keep the reply in its cache so long
    #[arg(long, value_name = "SECONDS", value_parser = cache_seconds, allow_negative_numbers = true,
          help_heading = CONNECTION)]
    pub cache_ttl: Option<u64>,

    /// Never take the reply from the gateway's cache
    #[arg(long, help_heading = CONNECTION)]
    pub skip_cache: bool,

    /// Send this header too (repeatable)
    #[arg(short = 'H', long, value_name = "NAME: VALUE", help_heading = CONNECTION)]
    pub header: Vec<OsString>,

    /// Cloudflare account
    #[arg(long, value_name = "ID", value_parser = identifier, help_heading = CONNECTION)]
    pub account_id: Option<String>,

    /// File that holds the API token
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = CONNECTION)]
    pub token_file: Option<PathBuf>,

    /// Where the API is
    #[arg(long, help = "Where the API is [default: https://api.cloudflare.com/client/v4]", value_name = "URL", value_hint = ValueHint::Url, help_heading = CONNECTION)]
    pub base_url: Option<String>,

    /// Give up after so long [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = timeout_seconds, allow_negative_numbers = true,
          default_value = "600", hide_default_value = true, help_heading = CONNECTION)]
    pub timeout: f64,

    /// Try again so often where that may help [default: 2]
    #[arg(long, value_name = "N", value_parser = retries, allow_negative_numbers = true,
          default_value = "2", hide_default_value = true, help_heading = CONNECTION)]
    pub retries: u32,

    /// Leave standard input alone
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub no_stdin: bool,

    /// Write the response as it came, not its text
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub json: bool,

    /// Write the reply to FILE, whole or not at all; - is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = INPUT_OUTPUT)]
    pub output: Option<PathBuf>,

    /// Print the request's body and stop: no account, no network
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub dry_run: bool,

    /// Say on standard error what happened
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub verbose: bool,

    /// No hints and no warnings; errors remain
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub quiet: bool,
}

/// Exit statuses and variables, as `--help` lists them.
fn after_help() -> String {
    let mut help = "Exit status:\n".to_owned();
    for (status, meaning, remedy) in EXIT_STATUS {
        help += &format!("  {status:3}  {meaning}; {remedy}\n");
    }
    help += "\nEnvironment:\n";
    for (name, meaning) in ENVIRONMENT {
        help += &format!("  {name:26} {meaning}\n");
    }
    help
}

/// A name that is safe in a URL and in a header: letters, digits, `-` and `_`.
///
/// # Errors
/// Says what the rule is.
pub fn identifier(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("only letters, digits, - and _ are allowed, and at least one".into());
    }
    Ok(text.into())
}

fn nonblank(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".into());
    }
    Ok(text.into())
}

fn positive(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("must be a whole number above 0".into()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    number_in(text, |x| (0.0..=1.0).contains(&x)).ok_or("must be a number from 0 to 1".into())
}

fn timeout_seconds(text: &str) -> Result<f64, String> {
    number_in(text, |x| x > 0.0 && x <= 86400.0)
        .ok_or("must be a number of seconds above 0, at most 86400".into())
}

/// The gateway's documented bounds: a minute to a month.
fn cache_seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds) if (60..=31 * 86400).contains(&seconds) => Ok(seconds),
        _ => Err("must be a whole number of seconds from 60 to 2678400, a month".into()),
    }
}

fn retries(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number <= 10 => Ok(number),
        _ => Err("must be a whole number from 0 to 10".into()),
    }
}

/// NaN and the infinities are in no range, so `within` turns them away too.
fn number_in(text: &str, within: impl Fn(f64) -> bool) -> Option<f64> {
    text.parse().ok().filter(|number| within(*number))
}
