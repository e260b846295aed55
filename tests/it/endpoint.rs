//! Where a request goes and what it carries: account, token, base URL, gateway and headers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::mock_server::Server;
use crate::support::{
    Folder, TOKEN, ask, check, error_line, haiku, haiku_at, haiku_at_url, one_line,
};

#[test]
fn every_header_is_sent_once() {
    let server = Server::documented();
    let mut command = haiku_at(&server);
    command.args(["-g", "mine", "--cache-ttl", "3600", "--skip-cache"]).args([
        "-H",
        "cf-aig-collect-log: false",
        "-H",
        "X-A: b c",
        "hi",
    ]);
    check(&mut command).success();
    let request = server.request();
    let version = format!("haiku/{}", env!("CARGO_PKG_VERSION"));
    let bearer = format!("Bearer {TOKEN}");
    for (name, value) in [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("user-agent", &version),
        ("cf-aig-gateway-id", "mine"),
        ("cf-aig-cache-ttl", "3600"),
        ("cf-aig-skip-cache", "true"),
        ("cf-aig-collect-log", "false"),
        ("x-a", "b c"),
        ("accept-encoding", "gzip"),
    ] {
        let sent = request.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<_> = sent.map(|(_, value)| value).collect();
        assert_eq!(values, [value], "{name}");
    }
}

#[test]
fn unset_headers_have_defaults_or_are_absent() {
    let server = Server::documented();
    ask(&server, &["--stream", "hi"]).success();
    let request = server.request();
    for (name, value) in [
        ("accept-encoding", Some("identity")),
        ("cf-aig-gateway-id", Some("default")),
        ("cf-aig-skip-cache", None),
        ("cf-aig-cache-ttl", None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
}

#[test]
fn a_long_header_is_sent_whole() {
    let server = Server::documented();
    let long = "a".repeat(100_000);
    ask(&server, &["-H", &format!("X-A: {long}"), "hi"]).success();
    assert_eq!(server.request().header("x-a"), Some(long.as_str()));
}

#[test]
fn missing_settings_are_named() {
    let server = Server::documented();
    for name in ["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"] {
        let mut absent = haiku_at(&server);
        absent.env_remove(name).arg("hi");
        let mut empty = haiku_at(&server);
        empty.env(name, "").arg("hi");
        for command in [&mut absent, &mut empty] {
            check(command).code(2).stderr(one_line(&[name]));
        }
    }
    assert!(server.requests().is_empty());
    let parts = ["CLOUDFLARE_ACCOUNT_ID", "--account-id"];
    check(haiku().arg("hi")).code(2).stderr(one_line(&parts));
}

#[test]
fn line_breaks_at_the_end_of_a_variable_are_dropped() {
    let folder = Folder::new();
    let file = folder.write("token", TOKEN);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let server = Server::documented();
    for end in ["\n", "\r\n", "\r", "\n\n"] {
        let mut command = haiku_at(&server);
        command.env("CLOUDFLARE_API_BASE_URL", server.url() + end).envs([
            ("CLOUDFLARE_ACCOUNT_ID", format!("acc{end}")),
            ("CLOUDFLARE_GATEWAY_ID", format!("mine{end}")),
            ("CLOUDFLARE_API_TOKEN", end.to_owned()),
            ("CLOUDFLARE_API_TOKEN_FILE", format!("{file}{end}")),
            ("HTTPS_PROXY", end.to_owned()),
        ]);
        check(command.arg("hi")).success().stderr("");
        check(command.env("CLOUDFLARE_API_TOKEN", format!("{TOKEN}{end}"))).success().stderr("");
    }
    let bearer = format!("Bearer {TOKEN}");
    for request in server.requests() {
        assert!(request.line.contains("/accounts/acc/ai/"), "{}", request.line);
        assert_eq!(request.header("cf-aig-gateway-id"), Some("mine"));
        assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    }
    // Only at the end.
    check(haiku_at(&server).env("CLOUDFLARE_ACCOUNT_ID", "\nacc").arg("hi"))
        .code(2)
        .stderr(one_line(&["CLOUDFLARE_ACCOUNT_ID"]));
}

#[test]
fn a_proxy_variable_may_end_in_a_line_break() {
    let mut command = haiku_at_url("https://api.example/client/v4");
    command.env("HTTPS_PROXY", "http://127.0.0.1:1\r\n").args(["--retries", "0", "hi"]);
    check(&mut command).code(4).stderr(one_line(&["127.0.0.1:1"]));
}

#[test]
fn a_cached_stream_causes_a_warning() {
    let warning = "haiku: warning: --cache-ttl has no effect: the gateway does not cache streams\n";
    let folder = Folder::new();
    let body = |stream| {
        let text = format!(r#"{{"model":"m","max_tokens":1,"messages":[],"stream":{stream}}}"#);
        folder.write(&format!("{stream}"), text)
    };
    let (streamed, whole) = (body(true), body(false));
    for (args, expected) in [
        (&["--stream", "hi"][..], warning),
        (&["--body", &streamed], warning),
        (&["-q", "--stream", "hi"], ""),
        (&["--stream", "--no-stream", "hi"], ""),
        (&["hi"], ""),
        (&["--body", &whole], ""),
    ] {
        check(haiku().args(["--dry-run", "--cache-ttl", "60"]).args(args))
            .success()
            .stderr(expected);
    }
}

#[test]
fn options_override_environment_variables() {
    let server = Server::documented();
    let unused = Server::documented();
    let mut command = haiku_at(&unused);
    command.env("CLOUDFLARE_GATEWAY_ID", "variable").args([
        "--base-url",
        &server.url(),
        "--account-id",
        "option",
    ]);
    check(command.args(["-g", "option", "hi"])).success();
    let request = server.request();
    assert!(unused.requests().is_empty());
    let line = "POST /client/v4/accounts/option/ai/v1/messages HTTP/1.1";
    assert_eq!(request.line, line);
    assert_eq!(request.header("cf-aig-gateway-id"), Some("option"));
}

#[test]
fn the_gateway_is_read_from_the_environment() {
    let server = Server::documented();
    let mut command = haiku_at(&server);
    command.arg("hi");
    check(command.env("CLOUDFLARE_GATEWAY_ID", "mine")).success();
    let sent = server.request();
    assert_eq!(sent.header("cf-aig-gateway-id"), Some("mine"));
    check(command.env("CLOUDFLARE_GATEWAY_ID", "a b"))
        .code(2)
        .stderr(one_line(&["CLOUDFLARE_GATEWAY_ID"]));
}

#[test]
fn token_file_option_overrides_token_variable_which_overrides_token_file_variable() {
    let folder = Folder::new();
    let file = folder.write("token", format!("{TOKEN}\r\n"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    for (token, file_variable, option) in
        [("other", "/missing", Some(&file)), ("", file.as_str(), None), (TOKEN, "/missing", None)]
    {
        let server = Server::documented();
        let mut command = haiku_at(&server);
        command
            .env("CLOUDFLARE_API_TOKEN", token)
            .env("CLOUDFLARE_API_TOKEN_FILE", file_variable)
            .args(option.map(|file| format!("--token-file={file}")));
        check(command.arg("hi")).success().stderr("");
        let bearer = format!("Bearer {TOKEN}");
        let request = server.request();
        assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    }
}

#[test]
fn invalid_token_files_are_rejected_without_showing_their_content() {
    let folder = Folder::new();
    let server = Server::documented();
    let empty = folder.write("empty", "\n");
    let words = folder.write("words", "two words");
    for (file, part) in [
        (empty.as_str(), "no token"),
        (&words, "character"),
        ("/missing", "No such file"),
        ("-", "names no file"),
    ] {
        ask(&server, &["--token-file", file, "hi"])
            .code(2)
            .stderr(one_line(&["--token-file", file, part]))
            .stderr(contains("two words").not());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn token_files_accessible_to_others_cause_a_warning() {
    let folder = Folder::new();
    let file = folder.write("token", TOKEN);
    let server = Server::documented();
    for (mode, option, part) in [
        (0o644, "-n", "mode 0644"),
        (0o644, "-n", "chmod 600"),
        (0o640, "-n", "warning: "),
        (0o622, "-n", "mode 0622"),
        (0o602, "-n", "mode 0602"),
        (0o644, "-q", ""),
        (0o600, "-n", ""),
        (0o400, "-n", ""),
    ] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        check(haiku_at(&server).args(["--token-file", &file, option, "hi"]))
            .success()
            .stdout("hi\n")
            .stderr(error_line(part));
    }
}

#[test]
fn tokens_on_the_command_line_are_rejected_and_not_shown() {
    let server = Server::documented();
    for (option, value) in [
        ("--token", TOKEN.to_owned()),
        ("--api-key", TOKEN.to_owned()),
        ("-H", format!("Authorization: Bearer {TOKEN}")),
        ("-H", format!("cf-aig-authorization: Bearer {TOKEN}")),
        ("-H", format!("X-A: b\r\nX-B: {TOKEN}")),
        ("--base-url", format!("https://user:{TOKEN}@example.com")),
    ] {
        // `check` looks for the token.
        let joined = format!("{option}={value}");
        ask(&server, &[&joined, "hi"]).code(2).stderr(one_line(&[]));
        ask(&server, &[option, &value, "hi"]).code(2).stderr(one_line(&[]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn headers_set_by_haiku_are_rejected() {
    let server = Server::documented();
    for header in [
        "Host: x",
        "Content-Length: 1",
        "cf-aig-cache-ttl: 60",
        "cf-aig-skip-cache: true",
        "no colon",
    ] {
        ask(&server, &["-H", header, "hi"]).code(2).stderr(one_line(&["--header"]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn plain_http_to_another_host_is_rejected() {
    let server = Server::documented();
    let url = "http://localhost.evil.example";
    ask(&server, &["--base-url", url, "hi"]).code(2).stderr(one_line(&["--base-url"]));
    check(haiku_at(&server).env("CLOUDFLARE_API_BASE_URL", url).arg("hi"))
        .code(2)
        .stderr(one_line(&["CLOUDFLARE_API_BASE_URL"]));
    assert!(server.requests().is_empty());
}

#[test]
fn plain_http_to_localhost_is_allowed() {
    let server = Server::documented();
    let url = format!("http://localhost:{}/client/v4/", server.port);
    ask(&server, &["--base-url", &url, "hi"]).success().stdout("hi\n");
    let line = server.request().line;
    assert!(line.starts_with("POST /client/v4/accounts/"), "{line}");
}
