//! Man page and completions: generated from the options, committed, and checked to be current.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::{CommandFactory, ValueHint};
use clap_complete::{Generator, Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::support::has;

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../src/cli/args.rs"]
mod args;

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../src/cli/help.rs"]
pub mod help;

/// When the man page last changed in more than its options. mandoc warns of a page without a date.
const DATE: &str = "2026-11-26";

const FILES: &str = "There is no configuration file, and nothing is kept between calls. While the FILE of --output is \
    replaced, a temporary file whose name begins with .haiku- exists beside it, readable by its owner alone. It then \
    takes FILE's name, owner, group and permissions, as far as the system allows; hard links to FILE keep the old content.";

const PRIVACY: &str = "haiku keeps nothing. The gateway logs prompts and replies unless told otherwise: \
    -H 'cf-aig-collect-log: false' turns logging off for the call, \
    -H 'cf-aig-collect-log-payload: false' only for its text.";

const SECURITY: [&str; 4] = [
    "The token is read from an environment variable or a file, never from an option. It is sent in one header of one \
     request, over TLS or to a loopback address, and appears in no message, no -v line and no --dry-run. If a server \
     sends it back in an error message, it is redacted, also if white space splits it; encoded forms, such as base64 \
     or HTML entities, are not recognized. A prompt that contains the token is not sent.",
    "Certificates are checked by rustls and webpki against the system's CA bundle, or SSL_CERT_FILE and SSL_CERT_DIR. A \
     certificate that says CA:FALSE is no trust anchor. The dates and the path length of a trust anchor, and whether a \
     certificate has been revoked, are not checked. Redirects are not followed. localhost is always the loopback address.",
    "Control characters and bidirectional overrides in a reply are made visible on a terminal, and always on standard \
     error. A pipe gets the exact bytes: whatever reads them must take care.",
    "A hostile server is bounded in memory (16 KB for the head, 32 MB for a reply, 16 MB for an event) and in time \
     (--timeout). Arguments are visible to every user of the machine; standard input and files are not.",
];

/// Where the script for bash knows the word to complete and the one before it.
const KNOWS_WORDS: &str = r#"    prev="$3"
"#;

/// Leaves the file of a redirection to bash, offers nothing once the prompt has begun, and finds the option whose value
/// is to be completed. bash breaks words at `=` and `:`.
const BEFORE_PROMPT: &str = r#"    if [[ "${prev}" == *[\<\>] ]]; then
        if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
            compopt -o default
        fi
        return 0
    fi
    local at=1 word option=""
    while (( at < COMP_CWORD )); do
        word="${COMP_WORDS[at]}"
        (( at += 1 ))
        case "${word}" in
            *[\<\>] | [=:]) (( at += 1 )); continue ;;
            -[!-]*) while [[ "${word}" == -[FLAGS]?* ]]; do word="-${word:2}"; done ;;
            --?*) ;;
            *) return 0 ;;
        esac
        if [[ " OPTIONS " == *" ${word} "* ]]; then
            [[ "${COMP_WORDS[at]}" == "=" && at -lt COMP_CWORD ]] && (( at += 1 ))
            if (( at >= COMP_CWORD )); then
                option="${word}"
            fi
            (( at += 1 ))
        fi
    done
    prev="${option}"
"#;

/// The same for fish, as a condition of every option.
const TAKES_OPTIONS: &str = r#"function __haiku_takes_options
    set -l is_value no
    for word in (commandline -poc)[2..]
        if test $is_value = yes
            set is_value no
        else if string match -qr -- '^(-[^-]|--.)' $word
            set word (string replace -r '^-[FLAGS]+(?=.)' - -- $word)
            contains -- $word OPTIONS
            and set is_value yes
        else
            return 1
        end
    end
    return 0
end

"#;

/// Compares a committed file with what it should contain. If they differ, the file is rewritten and
/// the test fails once, so that nobody commits one without the other.
#[track_caller]
fn is_current(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if fs::read_to_string(&path).unwrap_or_default() != expected {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
        panic!("{} was out of date and has been rewritten: commit it", path.display());
    }
}

fn man_page() -> String {
    let command =
        args::Args::command().about("send a prompt to Claude Haiku 4.5 and print the reply");
    let long_about = command.get_long_about().unwrap().to_string();
    let (_, description) = long_about.split_once("\n\n").unwrap();
    let command = command.long_about(description.to_owned());
    let mut page = Vec::new();
    Man::new(command).date(DATE).manual("User Commands").render(&mut page).unwrap();
    let mut page = String::from_utf8(page).unwrap();
    for heading in ["Model parameters", "Gateway and connection", "Input and output"] {
        let section = format!(".SH \"{}\"", heading.to_uppercase());
        assert!(page.contains(&section), "{section} in {page}");
        page = page.replace(&section, &format!(".SS \"{heading}\""));
    }
    page + &details().to_roff()
}

/// What the man page adds to the options.
fn details() -> Roff {
    let mut roff = Roff::new();
    let item = |roff: &mut Roff, name: &str, text: &str| {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    };
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning, remedy) in help::EXIT_STATUS {
        item(&mut roff, &status.to_string(), &format!("{meaning}; {remedy}"));
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in help::ENVIRONMENT {
        item(&mut roff, name, meaning);
    }
    for (heading, paragraphs) in
        [("FILES", &[FILES][..]), ("PRIVACY", &[PRIVACY]), ("SECURITY", &SECURITY)]
    {
        roff.control("SH", [heading]);
        for (i, paragraph) in paragraphs.iter().enumerate() {
            if i > 0 {
                roff.control("PP", []);
            }
            roff.text([roman(*paragraph)]);
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    for (call, what) in help::EXAMPLES {
        item(&mut roff, call, what);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("curl"),
        roman("(1), "),
        bold("git"),
        roman("(1), "),
        bold("jq"),
        roman("(1)"),
    ]);
    roff
}

/// Files are offered only for options that take files, and nothing for what belongs to the prompt.
fn completion(shell: impl Generator) -> String {
    let mut command = args::Args::command().mut_args(|arg| {
        let is_text =
            arg.get_action().takes_values() && arg.get_value_hint() != ValueHint::FilePath;
        if is_text { arg.value_hint(ValueHint::Other) } else { arg }
    });
    // zsh would take what follows a colon for the action to complete with.
    command = command.mut_arg("header", |arg| arg.value_name("HEADER"));
    let mut script = Vec::new();
    generate(shell, &mut command, "haiku", &mut script);
    String::from_utf8(script).unwrap()
}

fn bash_completion() -> String {
    let script = completion(Shell::Bash).replace(" -o bashdefault -o default", "");
    assert!(script.contains(KNOWS_WORDS), "{script}");
    script.replace(KNOWS_WORDS, &format!("{KNOWS_WORDS}{}", with_options(BEFORE_PROMPT)))
}

fn fish_completion() -> String {
    let script = completion(Shell::Fish);
    let script =
        script.replace("complete -c haiku ", "complete -c haiku -n __haiku_takes_options ");
    with_options(TAKES_OPTIONS) + &script + "complete -c haiku -f\n"
}

/// Fills in the options that take a value, and the letters of those that take none.
fn with_options(script: &str) -> String {
    let command = args::Args::command();
    let (valued, flags): (Vec<_>, Vec<_>) = command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .partition(|arg| arg.get_action().takes_values());
    let names = valued.iter().flat_map(|arg| {
        let short = arg.get_short().map(|letter| format!("-{letter}"));
        short.into_iter().chain(arg.get_long().map(|name| format!("--{name}")))
    });
    let names: Vec<_> = names.collect();
    let flags: String = flags.iter().filter_map(|arg| arg.get_short()).collect();
    script.replace("OPTIONS", &names.join(" ")).replace("FLAGS", &flags)
}

#[test]
fn the_man_page_is_current() {
    is_current("man/haiku.1", &man_page());
}

#[test]
fn the_completions_are_current() {
    is_current("completions/haiku.bash", &bash_completion());
    is_current("completions/_haiku", &completion(Shell::Zsh));
    is_current("completions/haiku.fish", &fish_completion());
}

/// What a tool prints on standard output, if it is there.
fn tool(command: &mut Command) -> Option<String> {
    if !has(command.get_program().to_str().unwrap()) {
        return None;
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn shipped(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_man_page_is_well_formed() {
    let page = shipped("man/haiku.1");
    if let Some(complaints) =
        tool(Command::new("mandoc").args(["-T", "lint", "-W", "warning", &page]))
    {
        assert_eq!(complaints, "");
    }
    if let Some(text) = tool(Command::new("mandoc").args(["-T", "ascii", &page])) {
        for part in
            ["EXIT STATUS", "--max-tokens", "Gateway and connection", "CLOUDFLARE_API_TOKEN"]
        {
            assert!(plain(&text).contains(part), "{part} in {text}");
        }
    }
}

/// Text without the backspaces that make letters bold.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop();
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Command lines, and the only thing to complete their last word with, if there is one.
const COMPLETIONS: [(&str, &str); 14] = [
    ("haiku --ret", "--retries"),
    ("haiku -t 0.5 --ret", "--retries"),
    ("haiku -nt 0.5 --ret", "--retries"),
    ("haiku --temperature=0.5 --ret", "--retries"),
    ("haiku --base-url https://x.example/v4 --ret", "--retries"),
    ("haiku -s 'Be brief.' --ret", "--retries"),
    ("haiku word --ret", ""),
    ("haiku - --ret", ""),
    ("haiku -- --ret", ""),
    ("haiku -n word word --ret", ""),
    ("haiku --output ch", "chat.jsonl"),
    ("haiku --output=ch", "chat.jsonl"),
    ("haiku -no ch", "chat.jsonl"),
    ("haiku -n word ch", ""),
];

#[test]
fn bash_completes_options_before_the_prompt_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    for (line, expected) in COMPLETIONS {
        // As bash breaks words, except in quotes.
        let words = line.replace('=', " = ").replace(':', " : ");
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); \
             _haiku haiku \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s' \"${{COMPREPLY[@]}}\"",
            shipped("completions/haiku.bash")
        );
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", &script]).current_dir(&folder);
        if let Some(words) = tool(&mut command) {
            assert_eq!(words, expected, "{line}");
        }
    }
}

#[test]
fn bash_completes_files_only_for_options_that_take_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    for (option, expected) in [
        ("--messages", "chat.jsonl"),
        ("--attach", "chat.jsonl"),
        ("--system-file", "chat.jsonl"),
        ("--schema", "chat.jsonl"),
        ("--body", "chat.jsonl"),
        ("--token-file", "chat.jsonl"),
        ("--output", "chat.jsonl"),
        ("--model", "ch"),
        ("--system", "ch"),
        ("--param", "ch"),
        ("--header", "ch"),
        ("--base-url", "ch"),
    ] {
        let script = format!(
            "source '{}'; COMP_WORDS=(haiku {option} ch); COMP_CWORD=2; _haiku haiku ch {option}; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            shipped("completions/haiku.bash")
        );
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", &script]).current_dir(&folder);
        if let Some(words) = tool(&mut command) {
            assert_eq!(words, format!("{expected}\n"), "{option}");
        }
    }
}

#[test]
fn bash_completes_files_after_a_redirection() {
    for (operator, expected) in [("<", "-o default\n"), (">>", "-o default\n"), ("word", "")] {
        let script = format!(
            "source '{}'; compopt() {{ echo \"$@\"; }}; COMP_WORDS=(haiku - word '{operator}' ch); COMP_CWORD=4; \
             _haiku haiku ch '{operator}'; printf '%s' \"${{COMPREPLY[@]}}\"",
            shipped("completions/haiku.bash")
        );
        if let Some(calls) = tool(Command::new("bash").args(["--norc", "-c", &script])) {
            assert_eq!(calls, expected, "{operator}");
        }
    }
}

#[test]
fn fish_completes_options_before_the_prompt_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    for (line, expected) in COMPLETIONS {
        let script =
            format!("source '{}'; complete -C \"{line}\"", shipped("completions/haiku.fish"));
        let mut command = Command::new("fish");
        command
            .args(["--no-config", "-c", &script])
            .current_dir(&folder)
            .env("HOME", folder.path());
        if let Some(offered) = tool(&mut command) {
            let offered = offered.split('\t').next().unwrap().trim_end();
            // fish completes the whole word.
            let offered = offered.strip_prefix("--output=").unwrap_or(offered);
            assert_eq!(offered, expected, "{line}");
        }
    }
}

#[test]
fn zsh_completes_from_the_shipped_file() {
    // Completion in zsh needs its line editor, and that a terminal: one of zsh's own. Each read
    // waits until the pattern has come; what never comes ends with the time limit.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chat.jsonl"), "").unwrap();
    let script = format!(
        r#"
        zmodload zsh/zpty
        zpty -b z zsh -f -i
        zpty -w z "fpath=({} \$fpath); autoload -Uz compinit; compinit -u -d ./dump; PS1='RE''ADY '"
        zpty -r -m z line '*READY *'
        zpty -w -n z $'haiku --ret\t'
        zpty -r -m z line '*--retries*'
        zpty -w -n z $'\C-uhaiku --messages ch\t'
        zpty -r -m z line '*chat.jsonl*'
        print BOTH
        "#,
        shipped("completions")
    );
    let mut command = Command::new("timeout");
    command.args(["20", "zsh", "-f", "-c", &script]).current_dir(&folder).env("TERM", "dumb");
    if has("zsh") {
        assert_eq!(tool(&mut command).unwrap(), "BOTH\n");
    }
}
