//! The command line itself: help, version, unknown options, and the form of errors.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;

use crate::support::mock_server::Server;
use crate::support::{Folder, TOKEN, check, haiku, haiku_at, one_line};

/// Of errors, in bytes, whatever they quote.
const MAX_ERROR_BYTES: usize = 500;

#[test]
fn short_help_fits_one_screen() {
    let expected = include_str!("../data/help.txt");
    assert!(expected.lines().count() <= 48);
    assert!(expected.lines().all(|line| line.chars().count() <= 80));
    for args in [&["-h"][..], &["-nh", "prompt"], &["--stream", "-h", "--", "-x"]] {
        check(haiku().args(args)).success().stdout(expected).stderr("");
    }
}

#[test]
fn long_help_documents_exit_statuses_and_variables() {
    check(haiku().arg("--help"))
        .success()
        .stdout(contains("Exit status"))
        .stdout(contains("141"))
        .stdout(contains("CLOUDFLARE_API_TOKEN_FILE"))
        .stderr("");
}

#[test]
fn the_version_is_the_package_version() {
    for option in ["--version", "-V"] {
        check(haiku().arg(option))
            .success()
            .stdout(concat!("haiku ", env!("CARGO_PKG_VERSION"), "\n"))
            .stderr("");
    }
}

#[test]
fn unknown_and_malformed_options_are_rejected() {
    for (args, part) in [
        (&["--no-such-option", "hi"][..], "--no-such-option"),
        (&["-x", "hi"], "-x"),
        (&["--stream=yes", "hi"], "--stream"),
        (&["--model"], "--model"),
        (&["--messages"], "--messages needs a value"),
        (&["-q", "-a"], "--attach needs a value"),
        (&["-m", "-n", "hi"], "--model needs a value"),
        (&["--param", "-x=1", "hi"], "--param expects KEY=JSON"),
        (&["--metadata", "-1", "hi"], "--metadata must be a JSON object"),
        (&["--max-tokens", "99999999999999999999", "hi"], "too large; must be at most"),
        (&["--top-k", "99999999999999999999", "hi"], "too large; must be at most"),
        (&["--retries", "11", "hi"], "too large; must be at most 10"),
        (&["--timeout", "2d", "hi"], "too large; must be at most one day"),
        (&["--cache-ttl", "32d", "hi"], "too large; must be at most 31 days"),
        (&["--no", "hi"], "'--no'"),
        (&["-nx", "hi"], "'-x'"),
        (&["---"], "'---'"),
        (&["--\n\u{1b}[31m", "hi"], "'--^J^[[31m'"),
        (&["hi", "-n"], "'-n' after the first prompt word; put options first"),
        (&["hi", "--base-url=https://x.example"], "'--base-url=https://x.example' after"),
        (&["-n", "hi", "--", "ho"], "'--' after the first prompt word"),
        (&["-", "hi", "-q"], "'-q' after the first prompt word"),
    ] {
        check(haiku().args(args)).code(2).stderr(one_line(&[part]));
    }
}

#[test]
fn files_may_begin_with_a_dash_and_options_after_them_count() {
    let folder = Folder::new();
    folder.write("-notes.md", "notes");
    folder.write("-chat", r#"{"role":"user","content":"a"}"#);
    folder.write("-json", "{}");
    folder.write("-body", r#"{"model":"m","max_tokens":1,"messages":[]}"#);
    folder.write("--body", r#"{"model":"m","max_tokens":2,"messages":[]}"#);
    for (args, part) in [
        (&["-a", "-notes.md", "-t", "0", "hi"][..], r#""title":"-notes.md""#),
        (&["-na", "-notes.md", "-t", "0", "hi"], r#""temperature":0"#),
        (&["--messages", "-chat", "-t", "0"], r#""content":"a""#),
        (&["--system-file", "-notes.md", "-t", "0", "hi"], r#""system":"notes","temperature":0"#),
        (&["-s", "-n", "-t", "0", "hi"], r#""system":"-n","temperature":0"#),
        (&["--schema", "-json", "-t", "0", "hi"], r#""schema":{}"#),
        (&["--param", "x=@-json", "-t", "0", "hi"], r#""x":{}"#),
        (&["--body", "-body"], r#""max_tokens":1"#),
        (&["--body", "--body"], r#""max_tokens":2"#),
    ] {
        let mut command = haiku();
        command.arg("--dry-run").args(args).current_dir(folder.path(""));
        check(&mut command).success().stdout(contains(part)).stderr("");
    }
    let mut command = haiku();
    command.args(["--dry-run", "-o", "-out.md", "--", "hi"]).current_dir(folder.path(""));
    check(&mut command).success().stdout("");
    assert!(folder.read("-out.md").contains("hi"));
    let server = Server::documented();
    folder.write("-token", TOKEN);
    let mut command = haiku_at(&server);
    command.env("CLOUDFLARE_API_TOKEN", "").current_dir(folder.path(""));
    check(command.args(["--token-file", "-token", "-q", "hi"])).success().stdout("hi\n");
}

#[test]
fn invalid_utf8_is_reported_with_its_offset_and_a_remedy() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let bad = OsStr::from_bytes(b"ab\xff");
    let iconv = "iconv -f WINDOWS-1252 -t UTF-8";
    for (args, name) in [
        (&["-n".as_ref(), "ok".as_ref(), bad][..], "word 2"),
        (&["-s".as_ref(), bad], "--system"),
        (&["--param".as_ref(), bad], "--param"),
        (&["-H".as_ref(), bad], "--header"),
        (&["-m".as_ref(), bad], "argument 2"),
    ] {
        check(haiku().args(args)).code(2).stderr(one_line(&[name, "offset 2", iconv]));
    }
}

#[test]
fn errors_quote_long_values_in_part_only() {
    let long = "x".repeat(100_000);
    let short = || predicate::function(|line: &str| line.len() < MAX_ERROR_BYTES);
    check(haiku().args(["-t", &long, "hi"])).code(2).stderr(short());
    let messages = json!([{"role": long, "content": "x"}]).to_string();
    check(haiku().args(["--dry-run", "--messages", "-"]).write_stdin(messages))
        .code(2)
        .stderr(one_line(&["message 1"]))
        .stderr(short());
    let reply = Server::json(200, json!({"content": long}));
    check(haiku_at(&reply).arg("hi")).code(4).stderr(short());
}

#[test]
fn errors_are_one_line_even_with_backtraces_enabled() {
    let server = Server::json(500, "{}");
    let backtraces = [("RUST_BACKTRACE", "full"), ("RUST_LIB_BACKTRACE", "1")];
    for (args, code, part) in
        [(["--retries", "0"], 4, "HTTP 500"), (["--no-such-option", "-n"], 2, "--no-such-option")]
    {
        let mut command = haiku_at(&server);
        command.envs(backtraces).args(args).arg("hi");
        check(&mut command).code(code).stdout("").stderr(one_line(&[part]));
    }
}

#[test]
fn generate_prints_the_files_that_are_shipped() {
    let shipped = [
        ("man", include_str!("../../man/haiku.1")),
        ("complete-bash", include_str!("../../completions/haiku.bash")),
        ("complete-zsh", include_str!("../../completions/_haiku")),
        ("complete-fish", include_str!("../../completions/haiku.fish")),
    ];
    for (what, expected) in shipped {
        check(haiku().args(["--generate", what])).success().stdout(expected).stderr("");
    }
    check(haiku().arg("--generate=x")).code(2).stderr(one_line(&shipped.map(|(what, _)| what)));
}
