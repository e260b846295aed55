//! Every option, exit status, variable and example, once: `--help`, man page and completions come from here.
//!
//! This file imports clap and std alone, so that a test can include it by path.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueHint};

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
pub const ENVIRONMENT: [(&str, &str); 10] = [
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
    (
        "HTTPS_PROXY, https_proxy",
        "the proxy to go through: http, https, socks4, socks4a, socks5, socks5h",
    ),
    (
        "ALL_PROXY, all_proxy",
        "the proxy to go through where HTTPS_PROXY is not set",
    ),
    (
        "NO_PROXY, no_proxy",
        "hosts to reach without a proxy, separated by commas; * is every host",
    ),
    (
        "SSL_CERT_FILE",
        "certificates to trust instead of the system's, in one file",
    ),
    (
        "SSL_CERT_DIR",
        "certificates to trust instead of the system's, in folders",
    ),
];

/// Calls as they are made, and what each does.
pub const EXAMPLES: [(&str, &str); 8] = [
    (
        "git diff --cached | haiku - \"Write the commit message.\"",
        "Standard input first and the question last. The - makes an empty diff an error, which buys nothing.",
    ),
    (
        "haiku -n \"What are the three laws of thermodynamics?\"",
        "In a loop, a hook or a daemon: -n leaves standard input to whom it belongs.",
    ),
    (
        "haiku --json \"Name three primes.\" | jq .usage",
        "The response as it came, for a program that wants more than text.",
    ),
    (
        "haiku -a receipt.png --schema invoice.json \"Read this receipt.\" | jq .total",
        "An image, and a reply that is JSON or exit status 5.",
    ),
    (
        "haiku --messages chat.jsonl \"And what follows from that?\"",
        "A conversation so far, and the next question.",
    ),
    (
        "haiku -o SUMMARY.md \"Summarize.\" <report.txt",
        "SUMMARY.md is replaced once the reply is complete, or stays as it was.",
    ),
    (
        "haiku -n --token-file /etc/haiku/token --timeout 60 \"Wish me a good morning.\"",
        "From cron: no variables, no standard input, and an end after a minute.",
    ),
    (
        "haiku --dry-run -t 0 \"Is it prime?\" <numbers.txt",
        "What would be sent, without an account.",
    ),
];

const MODEL: &str = "Model parameters";
const CONNECTION: &str = "Gateway and connection";
const INPUT_OUTPUT: &str = "Input and output";

/// A Unix filter for Claude Haiku 4.5 on Cloudflare: a prompt goes in, the completion comes out
///
/// The prompt is standard input, then an empty line, then the words of PROMPT. Either may be
/// missing. Standard output gets the text of the reply and one final newline, and nothing else;
/// what went wrong is one line on standard error, and the exit status says what to do about it.
///
/// A call has one request, which is tried again only where that may help and costs nothing twice.
#[derive(Debug, Parser)]
#[command(
    name = "haiku",
    version,
    verbatim_doc_comment,
    override_usage = "haiku [OPTIONS] [PROMPT]...",
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Args {
    /// The prompt's words, joined by one blank; - is standard input
    ///
    /// A word - says where standard input goes, an empty line between it and the words on
    /// either side, and that it must not be blank. It is then waited for, also at a terminal.
    /// Without a - standard input is read unless it is a terminal, and goes first. After -- a
    /// word can begin with a dash.
    #[arg(verbatim_doc_comment)]
    pub prompt: Vec<OsString>,

    /// Model to ask [default: anthropic/claude-haiku-4.5]
    #[arg(short, long, value_name = "ID", value_parser = nonblank, help_heading = MODEL)]
    pub model: Option<String>,

    /// System message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = MODEL)]
    pub system: Option<OsString>,

    /// End the reply after N tokens [default: 8192]
    ///
    /// A reply that ends there is written, and exit status 5 says that it is not finished.
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = MODEL)]
    pub max_tokens: Option<u64>,

    /// Randomness, from 0 to 1; not together with --top-p
    #[arg(
        short,
        long,
        value_name = "X",
        value_parser = fraction,
        allow_negative_numbers = true,
        conflicts_with = "top_p",
        help_heading = MODEL
    )]
    pub temperature: Option<f64>,

    /// Nucleus sampling, from 0 to 1; not together with --temperature
    #[arg(long, value_name = "X", value_parser = fraction, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_p: Option<f64>,

    /// Sample from the N likeliest tokens
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = MODEL)]
    pub top_k: Option<u64>,

    /// Write the reply as it comes [default: only text to a terminal]
    ///
    /// Should the stream break off, what had come is written, and exit status 4 says that the
    /// rest is missing. With --json each event's data is written on a line of its own.
    #[arg(long, overrides_with = "no_stream", verbatim_doc_comment, help_heading = MODEL)]
    pub stream: bool,

    /// Write the reply once it is whole [default: but for text to a terminal]
    #[arg(long, overrides_with = "stream", help_heading = MODEL)]
    pub no_stream: bool,

    /// Conversation so far, a JSON array or JSON Lines; - is standard input
    ///
    /// Each message is an object with role and content. PROMPT, if any, follows as the user's
    /// last turn. Without PROMPT standard input is left alone.
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        verbatim_doc_comment,
        help_heading = MODEL
    )]
    pub messages: Option<PathBuf>,

    /// Any other property of the request (repeatable)
    ///
    /// For what has no option of its own: stop_sequences, metadata, tools, thinking. The
    /// value is JSON, and reaches the request as it is spelled: --param
    /// 'stop_sequences=["END"]'
    #[arg(long, value_name = "KEY=JSON", verbatim_doc_comment, help_heading = MODEL)]
    pub param: Vec<OsString>,

    /// Image (png, jpeg, gif, webp) or pdf to send before the text (repeatable)
    ///
    /// Told by its first bytes, whatever its name. An image may have 5 MB, the whole request
    /// 32 MB.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub attach: Vec<PathBuf>,

    /// Have the reply be JSON of the JSON Schema in FILE
    ///
    /// A reply that is no JSON is written, and exit status 5 says so.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = MODEL)]
    pub schema: Option<PathBuf>,

    /// Gateway to go through [default: default]
    ///
    /// Only the gateway called default makes itself; any other has to be there.
    #[arg(short, long, value_name = "ID", value_parser = identifier, help_heading = CONNECTION)]
    pub gateway: Option<String>,

    /// Let the gateway keep the reply in its cache so long
    ///
    /// From 60 to 2678400, a month.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = cache_seconds,
        allow_negative_numbers = true,
        help_heading = CONNECTION
    )]
    pub cache_ttl: Option<u64>,

    /// Never take the reply from the gateway's cache
    #[arg(long, help_heading = CONNECTION)]
    pub skip_cache: bool,

    /// Send this header too (repeatable)
    ///
    /// Not one that haiku sets itself, and none that carries a credential, for every user of
    /// the machine can see arguments.
    #[arg(short = 'H', long, value_name = "NAME: VALUE", verbatim_doc_comment, help_heading = CONNECTION)]
    pub header: Vec<OsString>,

    /// Cloudflare account
    #[arg(long, value_name = "ID", value_parser = identifier, help_heading = CONNECTION)]
    pub account_id: Option<String>,

    /// File that holds the API token
    ///
    /// No option takes the token itself, for every user of the machine can see arguments.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = CONNECTION)]
    pub token_file: Option<PathBuf>,

    /// Where the API is
    #[arg(
        long,
        value_name = "URL",
        value_hint = ValueHint::Url,
        help = "Where the API is [default: https://api.cloudflare.com/client/v4]",
        long_help = "Where the API is [default: https://api.cloudflare.com/client/v4]\n\n\
                     Plain http is taken for a loopback address alone.",
        help_heading = CONNECTION
    )]
    pub base_url: Option<String>,

    /// Give up after so long [default: 600]
    ///
    /// From the end of the input to the end of the reply, over everything: connecting (10
    /// seconds at most), an answer that does not come or stalls half way, all retries and
    /// their waits. A standard input that nobody demanded with a - and that stays silent so
    /// long is given up too, with exit status 2. Fractions are taken, and 86400 at most.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = timeout_seconds,
        allow_negative_numbers = true,
        default_value = "600",
        hide_default_value = true,
        verbatim_doc_comment,
        help_heading = CONNECTION
    )]
    pub timeout: f64,

    /// Try again so often where that may help [default: 2]
    ///
    /// After a lost connection, a rate limit, an overload or another failure of the server's,
    /// with the wait that the server asks for, else half a second, doubled each time up to 8
    /// seconds, less a random part. A reply that has begun is paid for, and never asked for
    /// again. From 0 to 10.
    #[arg(
        long,
        value_name = "N",
        value_parser = retries,
        allow_negative_numbers = true,
        default_value = "2",
        hide_default_value = true,
        verbatim_doc_comment,
        help_heading = CONNECTION
    )]
    pub retries: u32,

    /// Leave standard input alone, in loops, hooks and daemons
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub no_stdin: bool,

    /// Write the response as it came, not its text
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub json: bool,

    /// Write the reply to FILE, whole or not at all; - is standard output
    ///
    /// FILE is replaced in one step once the reply is complete, and otherwise stays as it
    /// was. A reply that came but is not finished (exit status 5) goes to standard output.
    /// Its mode is kept, and a symbolic link stays one; its owner, its access control list
    /// and its hard links may change. A device or a FIFO is simply written to.
    #[arg(
        short,
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        verbatim_doc_comment,
        help_heading = INPUT_OUTPUT
    )]
    pub output: Option<PathBuf>,

    /// Print the request's body and stop: no account, no network
    #[arg(long, help_heading = INPUT_OUTPUT)]
    pub dry_run: bool,

    /// Say on standard error what happened
    ///
    /// A line for each retry, and one at the end: tokens, times, the gateway's cache and log.
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub verbose: bool,

    /// No hints and no warnings; errors remain
    #[arg(short, long, help_heading = INPUT_OUTPUT)]
    pub quiet: bool,

    /// Print a short help with -h, a long one with --help
    #[arg(short, long, action = ArgAction::Help, help_heading = INPUT_OUTPUT)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = INPUT_OUTPUT)]
    version: Option<bool>,
}

/// Exit statuses, variables and examples, as they end `--help`. Made only there: no other call has
/// to wait for it.
pub fn after_help() -> String {
    let mut help = "Exit status:\n".to_owned();
    for (status, meaning, remedy) in EXIT_STATUS {
        help += &wrapped(&format!("{status:5}  "), &format!("{meaning}; {remedy}"));
    }
    help += "\nEnvironment:\n";
    for (name, meaning) in ENVIRONMENT {
        help += &wrapped(&format!("  {name:26} "), meaning);
    }
    help += "\nExamples:\n";
    for (call, what) in EXAMPLES {
        help += &format!("  {call}\n{}\n", wrapped("      ", what));
    }
    help.trim_end().to_owned() + "\n"
}

/// `text` in lines of at most 96 characters, the first after `head`, the others indented as far.
fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut lines = head.to_owned();
    let mut width = indent;
    for word in text.split(' ') {
        if width + word.len() > 96 {
            lines.truncate(lines.trim_end().len());
            lines += &format!("\n{:indent$}", "");
            width = indent;
        }
        lines += word;
        lines.push(' ');
        width += word.chars().count() + 1;
    }
    lines.trim_end().to_owned() + "\n"
}

/// A name that is safe in a URL and in a header: letters, digits, `-` and `_`.
///
/// # Errors Says what the rule is.
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
