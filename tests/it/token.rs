//! The API token: files that deliver it, and ways on which it could leak.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::mock_server::Server;
use crate::support::sandbox::{NOBODY, can_switch_user, set_mode, tool};
use crate::support::{Folder, TOKEN, ask, check, error_line, haiku_at, has, one_line, process};

/// Writes a file that only its owner can read.
fn private(folder: &Folder, name: &str, content: impl AsRef<[u8]>) -> String {
    let file = folder.write(name, content);
    set_mode(&file, 0o600);
    file
}

#[test]
fn a_token_file_is_waited_for_before_the_time_limit_runs() {
    let folder = Folder::new();
    tool("mkfifo", &[], &folder.path("fifo"));
    let server = Server::documented();
    let fifo = folder.path("fifo");
    let writer = fifo.clone();
    // As `--token-file <(pass …)` does, which asks for a passphrase first.
    thread::spawn(move || {
        let mut fifo = File::create(writer).unwrap();
        thread::sleep(Duration::from_millis(2500));
        fifo.write_all(TOKEN.as_bytes()).unwrap();
    });
    ask(&server, &["--timeout", "2", "--token-file", fifo.to_str().unwrap(), "hi"])
        .success()
        .stdout("hi\n")
        .stderr("");
}

#[test]
fn a_token_file_that_is_standard_input_is_rejected() {
    let folder = Folder::new();
    let file = private(&folder, "token", TOKEN);
    let (symbolic, hard) = (folder.path("symbolic"), folder.path("hard"));
    symlink(&file, &symbolic).unwrap();
    fs::hard_link(&file, &hard).unwrap();
    let (symbolic, hard) = (symbolic.to_str().unwrap(), hard.to_str().unwrap());
    let server = Server::documented();
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", &file, symbolic, hard] {
        for args in [&["hi"][..], &["-"], &["-n", "hi"], &["--messages", "-"]] {
            let mut by_option = process(&server);
            by_option.args(["--token-file", path]);
            let mut by_variable = process(&server);
            by_variable.env("CLOUDFLARE_API_TOKEN", "").env("CLOUDFLARE_API_TOKEN_FILE", path);
            for mut command in [by_option, by_variable] {
                command.args(args).stdin(File::open(&file).unwrap());
                check(&mut command).code(2).stderr(one_line(&[path, "is standard input"]));
            }
        }
    }
    let mut piped = haiku_at(&server);
    piped.args(["--token-file", "/dev/stdin", "hi"]).write_stdin(TOKEN);
    check(&mut piped).code(2).stderr(one_line(&["is standard input"]));
    assert!(server.requests().is_empty());
}

#[test]
fn a_request_that_contains_the_token_is_rejected() {
    let folder = Folder::new();
    let text = folder.write("text.txt", format!("TOKEN={TOKEN}\n"));
    let message = format!(r#"{{"role":"user","content":"use {TOKEN}"}}"#);
    let messages = folder.write("messages.jsonl", &message);
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{message}]}}"#);
    let body = folder.write("body.json", body);
    let schema = folder.write("schema.json", format!(r#"{{"const":"{TOKEN}"}}"#));
    let metadata = format!(r#"{{"user_id":"{TOKEN}"}}"#);
    let server = Server::documented();
    for args in [
        &["my token is", TOKEN][..],
        &["-s", TOKEN, "hi"],
        &["--system-file", &text, "hi"],
        &["--messages", &messages],
        &["-a", &text, "hi"],
        &["--schema", &schema, "hi"],
        &["--metadata", &metadata, "hi"],
        &["--param", &format!("tools={metadata}"), "hi"],
        &["--body", &body],
    ] {
        ask(&server, args).code(2).stderr(one_line(&["contains the API token"]));
    }
    let mut piped = haiku_at(&server);
    piped.arg("hi").write_stdin(format!("a log\nAuthorization: Bearer {TOKEN}\n"));
    check(&mut piped).code(2).stderr(one_line(&["contains the API token"]));
    // As JSON spells it.
    let quoted = r#"t0ken-"with"-\quotes"#;
    let mut command = haiku_at(&server);
    command.env("CLOUDFLARE_API_TOKEN", quoted).args(["--", quoted]);
    check(&mut command).code(2).stderr(one_line(&["contains the API token"]));
    assert!(server.requests().is_empty());
}

#[test]
fn headers_that_carry_credentials_are_rejected_without_showing_them() {
    let server = Server::documented();
    for name in [
        "Authorization",
        "Proxy-Authorization",
        "cf-aig-authorization",
        "Cookie",
        "Set-Cookie",
        "X-Auth-Key",
        "api-key",
        "CF-Access-Client-Secret",
        "CF-Access-Token",
        "X-CUSTOM-SECRET",
    ] {
        ask(&server, &["-H", &format!("{name}: hidden-value"), "hi"])
            .code(2)
            .stderr(one_line(&["--header", &name.to_lowercase()]))
            .stderr(contains("hidden-value").not());
    }
    assert!(server.requests().is_empty());
    ask(&server, &["-H", "cf-aig-cache-key: mine", "hi"]).success();
    assert_eq!(server.request().header("cf-aig-cache-key"), Some("mine"));
}

#[test]
fn a_token_file_over_64_kb_is_rejected_and_not_cut() {
    let folder = Folder::new();
    let server = Server::documented();
    for content in ["a".repeat(65_537), TOKEN.to_owned() + &"\n".repeat(65_537)] {
        let file = private(&folder, "token", content);
        ask(&server, &["--token-file", &file, "hi"]).code(2).stderr(one_line(&["64 KB"]));
    }
    ask(&server, &["--token-file", "/dev/zero", "hi"]).code(2).stderr(one_line(&["64 KB"]));
    assert!(server.requests().is_empty());
}

#[test]
fn a_byte_order_mark_in_a_token_file_is_dropped() {
    let folder = Folder::new();
    let file = private(&folder, "token", format!("\u{feff}{TOKEN}\r\n"));
    let server = Server::documented();
    let mut command = haiku_at(&server);
    command.env("CLOUDFLARE_API_TOKEN", "").args(["--token-file", &file, "hi"]);
    check(&mut command).success().stderr("");
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(server.request().header("authorization"), Some(bearer.as_str()));
}

#[test]
fn a_token_given_in_place_of_its_file_is_not_repeated() {
    let server = Server::documented();
    let mut command = haiku_at(&server);
    command.env_remove("CLOUDFLARE_API_TOKEN").env("CLOUDFLARE_API_TOKEN_FILE", "aB3-secret_9");
    check(command.arg("hi"))
        .code(2)
        .stderr(one_line(&["CLOUDFLARE_API_TOKEN_FILE", "No such file"]))
        .stderr(contains("aB3").not());
}

#[test]
fn quotes_and_a_name_before_a_token_are_pointed_out_without_repeating_it() {
    let folder = Folder::new();
    let server = Server::documented();
    for (text, part) in [
        (format!("\"{TOKEN}\""), "remove the quotes around it"),
        (format!("'{TOKEN}'\n"), "remove the quotes around it"),
        (format!("CLOUDFLARE_API_TOKEN={TOKEN}"), "remove the NAME= before it"),
        (format!("token=\"{TOKEN}\""), "remove the NAME= before it"),
        (format!("export CLOUDFLARE_API_TOKEN={TOKEN}\n"), "remove the NAME= before it"),
    ] {
        let file = private(&folder, "token", &text);
        let mut by_variable = haiku_at(&server);
        by_variable.env("CLOUDFLARE_API_TOKEN", &text).arg("hi");
        check(&mut by_variable)
            .code(2)
            .stderr(format!("haiku: invalid token in CLOUDFLARE_API_TOKEN: {part}\n"));
        let line = format!("haiku: invalid token in --token-file {file}: {part}\n");
        ask(&server, &["--token-file", &file, "hi"]).code(2).stderr(line);
    }
    assert!(server.requests().is_empty());
    for padded in ["dG9rZW4gdG9rZW4=", "dG9rZW4gdG9rZQ=="] {
        check(haiku_at(&server).env("CLOUDFLARE_API_TOKEN", padded).arg("hi")).success();
    }
}

#[test]
fn no_line_repeats_the_token() {
    let folder = Folder::new();
    let file = private(&folder, "token", format!("{TOKEN}\n"));
    let long = "x".repeat(50) + TOKEN;
    let header = format!("x-note: {TOKEN}");
    let server = Server::documented();
    for args in [
        &["--retries", TOKEN, "hi"][..],
        &["--retries", &long, "hi"],
        &[&format!("--{TOKEN}"), "hi"],
        &["hi", &format!("-{TOKEN}")],
        &["-o", &format!("/missing/{TOKEN}"), "hi"],
        &["-a", TOKEN, "hi"],
        &["-H", &format!("{TOKEN} {TOKEN}: x"), "hi"],
        &["--dry-run", "-v", "-H", &header, "hi"],
        &["--account-id", &format!("cfut_{TOKEN}"), "hi"],
    ] {
        let by_variable = haiku_at(&server);
        let mut by_file = haiku_at(&server);
        by_file.env("CLOUDFLARE_API_TOKEN", "").args(["--token-file", &file]);
        let mut by_named_file = haiku_at(&server);
        by_named_file.env("CLOUDFLARE_API_TOKEN", "").env("CLOUDFLARE_API_TOKEN_FILE", &file);
        for mut command in [by_variable, by_file, by_named_file] {
            check(command.args(args))
                .code(vec![0, 1, 2])
                .stderr(predicate::str::is_empty().not())
                .stderr(contains(&TOKEN[..8]).not());
        }
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_token_in_place_of_the_account_id_is_rejected_and_not_repeated() {
    let server = Server::documented();
    for token in ["cfut_aB3secret9", "cfat_aB3secret9", "cfk_aB3secret9", "cfut_aB3/secret9"] {
        for preview in [&["hi"][..], &["--dry-run", "hi"]] {
            let mut by_option = haiku_at(&server);
            by_option.args(["--account-id", token]).args(preview);
            let mut by_variable = haiku_at(&server);
            by_variable.env("CLOUDFLARE_ACCOUNT_ID", token).args(preview);
            for (mut command, name) in
                [(by_option, "--account-id"), (by_variable, "CLOUDFLARE_ACCOUNT_ID")]
            {
                check(&mut command)
                    .code(2)
                    .stderr(format!("haiku: {name} holds an API token, not an account ID\n"));
            }
        }
    }
    assert!(server.requests().is_empty());
}

#[test]
fn the_entries_of_an_access_control_list_are_judged_and_not_its_mask() {
    if !can_switch_user() || !has("setfacl") {
        return;
    }
    let server = Server::documented();
    for (acl, is_warned_of) in [
        // As systemd gives a credential to the user of a service.
        ("u:65534:r,g::-,m::r", false),
        ("u:65534:rw,g::-,m::rw", false),
        ("u:65534:r,g::r,m::r", true),
        ("u:65534:r,g:1:r,g::-,m::r", true),
        ("u:65534:r,g::-,m::r,o::r", true),
        ("u:65534:r,u:1:r,u:2:r,g::-,m::r", true),
        ("u:65534:r,u:1:rw,g::-,m::rw", true),
        ("u:65534:r,u:1:w,g::-,m::r", false),
    ] {
        let folder = Folder::new();
        set_mode(folder.path(""), 0o755);
        let file = private(&folder, "token", TOKEN);
        tool("setfacl", &["-m", acl], file.as_ref());
        let mut command = process(&server);
        command.uid(NOBODY).gid(NOBODY).args(["-n", "--token-file", &file, "hi"]);
        let warning = error_line(if is_warned_of { "accessible to other users" } else { "" });
        check(&mut command).success().stderr(warning);
    }
}
