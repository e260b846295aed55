//! Help texts: the `-h` summary, and what `--help` and the man page add to the options.
//!
//! Imports clap and std alone, so that the test that generates the man page can include it by path.

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// The widest line of both helps, in columns.
const MAX_COLUMNS: usize = 80;

const USAGE: &str = "Usage: haiku [OPTIONS] [--] [PROMPT]...";

/// Exit status, what it means, what a script does about it.
pub const EXIT_STATUS: [(u8, &str, &str); 7] = [
    (0, "the reply is complete", "use it"),
    (1, "the output cannot be written", "check the path, permissions and disk space"),
    (2, "usage error: a bad option, prompt or input file, or a missing setting", "fix the command"),
    (
        3,
        "rejected, and retrying will not help: token, credits, spending limit, model, policy, certificate, redirect",
        "fix the account or the request",
    ),
    (
        4,
        "temporary failure: rate limit, overload, network, timeout, truncated or malformed reply",
        "try again later",
    ),
    (5, "a reply arrived but is not a finished answer", "decide"),
    (141, "the reader of standard output is gone", "ignore it"),
];

pub const ENVIRONMENT: [(&str, &str); 10] = [
    ("CLOUDFLARE_ACCOUNT_ID", "account ID; --account-id overrides it"),
    (
        "CLOUDFLARE_API_TOKEN",
        "API token with the permission Workers AI Read; --token-file overrides it",
    ),
    (
        "CLOUDFLARE_API_TOKEN_FILE",
        "file that holds the API token, if CLOUDFLARE_API_TOKEN is not set",
    ),
    ("CLOUDFLARE_GATEWAY_ID", "gateway; --gateway overrides it"),
    ("CLOUDFLARE_API_BASE_URL", "API base URL; --base-url overrides it"),
    ("HTTPS_PROXY, https_proxy", "proxy to use: http, https, socks4, socks4a, socks5 or socks5h"),
    ("ALL_PROXY, all_proxy", "proxy to use if HTTPS_PROXY is not set"),
    ("NO_PROXY, no_proxy", "hosts to connect to directly, separated by commas; * means all"),
    ("SSL_CERT_FILE", "file of certificates to trust instead of the system's"),
    ("SSL_CERT_DIR", "folders of certificates to trust instead of the system's"),
];

/// A command, and what it does.
pub const EXAMPLES: [(&str, &str); 9] = [
    (
        "git diff --cached | haiku - \"Write the commit message.\"",
        "Standard input comes first and the question last. With -, an empty diff is an error and costs nothing.",
    ),
    (
        "haiku -n \"What are the three laws of thermodynamics?\"",
        "Do not read standard input, in a loop, a hook or a daemon.",
    ),
    (
        "haiku -n -- \"Summarize:\" \"$title\"",
        "Text from elsewhere goes after --, where nothing is an option.",
    ),
    (
        "haiku --json \"Name three primes.\" | jq .usage",
        "The raw response, for programs that need more than the text.",
    ),
    (
        "haiku -a receipt.png --schema invoice.json \"Read this receipt.\" | jq .total",
        "An image as input and JSON as output.",
    ),
    ("haiku --messages chat.jsonl \"And what follows from that?\"", "Continue a conversation."),
    (
        "haiku -o SUMMARY.md \"Summarize.\" <report.txt",
        "SUMMARY.md is replaced once the reply is complete, or left untouched.",
    ),
    (
        "haiku -n --account-id ID --token-file /etc/haiku/token \"Good morning in verse.\"",
        "From cron: nothing comes from environment variables or standard input.",
    ),
    ("haiku --dry-run -t 0 \"Is it prime?\" <numbers.txt", "Print the request without sending it."),
];

/// What `-h` prints.
pub fn summary(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut help = format!("{about}\n\n{USAGE}\n");
    for (heading, args) in sections(command) {
        let rows: Vec<_> =
            args.into_iter().map(|arg| (syntax(arg), text(arg.get_help()))).collect();
        let option = rows.iter().map(|(option, _)| option.chars().count()).max().unwrap_or(0);
        let text = rows.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        let column = (option + 2).min(MAX_COLUMNS - 1 - text);
        help += &format!("\n{heading}:\n");
        help.extend(rows.iter().map(|(option, text)| format!("{option:column$}{text}\n")));
    }
    help
}

/// What `--help` prints.
pub fn reference(command: &Command) -> String {
    let mut help = paragraphs("", &text(command.get_long_about()));
    help += &format!("\n{USAGE}\n");
    for (heading, args) in sections(command) {
        help += &format!("\n{heading}:\n");
        for arg in args {
            let words = text(arg.get_long_help().or(arg.get_help()));
            help += &format!("{}\n{}\n", syntax(arg), paragraphs("          ", &words));
        }
        help.pop();
    }
    help += "\nExit status:\n";
    for (status, meaning, remedy) in EXIT_STATUS {
        help += &wrapped(&format!("{status:5}  "), &format!("{meaning}; {remedy}"));
    }
    help += "\nEnvironment:\n";
    for (name, meaning) in ENVIRONMENT {
        help += &wrapped(&format!("  {name:26} "), meaning);
    }
    help += "\nFiles:\n  There is no configuration file, and nothing is kept between calls.\n";
    help += "\nExamples:\n";
    for (call, what) in EXAMPLES {
        help += &format!("  {call}\n{}\n", wrapped("      ", what));
    }
    help.trim_end().to_owned() + "\n"
}

fn text(help: Option<&StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

/// The options under their headings, in the order in which they are declared.
fn sections(command: &Command) -> Vec<(&str, Vec<&Arg>)> {
    let mut sections: Vec<(&str, Vec<&Arg>)> = Vec::new();
    for arg in command.get_arguments() {
        let heading = arg.get_help_heading().unwrap_or("Arguments");
        match sections.last_mut() {
            Some((last, args)) if *last == heading => args.push(arg),
            _ => sections.push((heading, vec![arg])),
        }
    }
    sections
}

fn syntax(arg: &Arg) -> String {
    let Some(long) = arg.get_long() else {
        return "  [PROMPT]...".into();
    };
    let short = arg.get_short().map_or("    ".into(), |short| format!("-{short}, "));
    let value = match arg.get_value_names() {
        Some([name, ..]) if arg.get_action().takes_values() => format!(" <{name}>"),
        _ => String::new(),
    };
    format!("  {short}--{long}{value}")
}

/// Paragraphs with a blank line between them.
fn paragraphs(indent: &str, text: &str) -> String {
    let paragraphs: Vec<_> = text.split("\n\n").map(|text| wrapped(indent, text)).collect();
    paragraphs.join("\n")
}

/// `text` in lines of at most 80 columns, the first after `head`, the others indented as far.
fn wrapped(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut lines = head.to_owned();
    let mut width = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > indent && width + 1 + length > MAX_COLUMNS {
            lines += &format!("\n{:indent$}", "");
            width = indent;
        } else if width > indent {
            lines.push(' ');
            width += 1;
        }
        lines += word;
        width += length;
    }
    lines + "\n"
}
