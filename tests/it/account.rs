//! Where the request goes and what it carries; what is missing or must not be there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::server::Server;
use crate::{TOKEN, ask, at, bare, run};

#[test]
fn the_request_carries_these_headers() {
    let server = Server::documented();
    let args = [
        "-g",
        "mine",
        "--cache-ttl",
        "3600",
        "--skip-cache",
        "-H",
        "cf-aig-collect-log: false",
        "-H",
        "X-A: b c",
        "hi",
    ];
    ask(&server, &args).ends(0);
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
        let values: Vec<_> = request
            .headers
            .iter()
            .filter(|(known, _)| known == name)
            .collect();
        assert_eq!(values, [&(name.to_owned(), value.to_owned())]);
    }
    ask(&server, &["--stream", "hi"]).ends(0);
    let streamed = &server.requests()[1];
    assert_eq!(streamed.header("accept-encoding"), Some("identity"));
    assert_eq!(streamed.header("cf-aig-gateway-id"), Some("default"));
    assert_eq!(streamed.header("cf-aig-skip-cache"), None);
}

#[test]
fn a_long_header_is_sent_whole() {
    let server = Server::documented();
    let long = "a".repeat(100_000);
    ask(&server, &["-H", &format!("X-A: {long}"), "hi"]).ends(0);
    assert_eq!(server.request().header("x-a"), Some(long.as_str()));
}

#[test]
fn what_is_missing_is_named() {
    let without = |name: &str| {
        let server = Server::documented();
        let mut command = at(&server);
        command.env_remove(name).arg("hi");
        run(&mut command).ends(2).prints("").says(&[name]);
        run(command.env(name, "")).ends(2).prints("").says(&[name]);
        assert!(server.requests().is_empty());
    };
    without("CLOUDFLARE_ACCOUNT_ID");
    without("CLOUDFLARE_API_TOKEN");
    run(bare().arg("hi"))
        .ends(2)
        .says(&["CLOUDFLARE_ACCOUNT_ID", "--account-id"]);
}

#[test]
fn options_beat_variables_and_variables_count() {
    let server = Server::documented();
    let elsewhere = Server::documented();
    let mut command = at(&elsewhere);
    command.env("CLOUDFLARE_GATEWAY_ID", "variable").args([
        "--base-url",
        &server.url(),
        "--account-id",
        "option",
    ]);
    run(command.arg("hi")).ends(0);
    run(command.args(["-g", "option"])).ends(0);
    let requests = server.requests();
    assert!(elsewhere.requests().is_empty());
    assert_eq!(
        requests[0].line,
        "POST /client/v4/accounts/option/ai/v1/messages HTTP/1.1"
    );
    assert_eq!(requests[0].header("cf-aig-gateway-id"), Some("variable"));
    assert_eq!(requests[1].header("cf-aig-gateway-id"), Some("option"));
    run(at(&server).env("CLOUDFLARE_GATEWAY_ID", "a b").arg("hi"))
        .ends(2)
        .says(&["CLOUDFLARE_GATEWAY_ID"]);
}

#[test]
fn a_token_comes_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\r\n")).unwrap();
    let bearer = format!("Bearer {TOKEN}");

    let server = Server::documented();
    run(at(&server)
        .env("CLOUDFLARE_API_TOKEN", "other")
        .arg("--token-file")
        .arg(&file)
        .arg("hi"))
    .ends(0);
    assert_eq!(
        server.request().header("authorization"),
        Some(bearer.as_str())
    );

    let server = Server::documented();
    run(at(&server)
        .env("CLOUDFLARE_API_TOKEN", "")
        .env("CLOUDFLARE_API_TOKEN_FILE", &file)
        .arg("hi"))
    .ends(0);
    assert_eq!(
        server.request().header("authorization"),
        Some(bearer.as_str())
    );

    let server = Server::documented();
    run(at(&server)
        .env("CLOUDFLARE_API_TOKEN_FILE", "/nowhere")
        .arg("hi"))
    .ends(0);
    assert_eq!(
        server.request().header("authorization"),
        Some(bearer.as_str())
    );

    for (text, says) in [
        ("", "holds no token"),
        ("\n", "holds no token"),
        ("two words", "character"),
        ("a\nb", "character"),
    ] {
        fs::write(&file, text).unwrap();
        let server = Server::documented();
        let run = run(at(&server).arg("--token-file").arg(&file).arg("hi"))
            .ends(2)
            .says(&["--token-file", says]);
        assert!(!run.err.contains("two words"));
        assert!(server.requests().is_empty());
    }
    let server = Server::documented();
    ask(&server, &["--token-file", "/nowhere", "hi"])
        .ends(2)
        .says(&["--token-file /nowhere: No such file"]);
}

#[test]
fn no_option_takes_the_token_and_none_shows_it() {
    let server = Server::documented();
    for args in [
        vec!["--token".to_owned(), TOKEN.into()],
        vec![format!("--token={TOKEN}")],
        vec![format!("--api-key={TOKEN}")],
        vec![format!("-H=Authorization: Bearer {TOKEN}")],
        vec!["-H".into(), format!("Authorization: Bearer {TOKEN}")],
        vec!["-H".into(), format!("x-api-key: {TOKEN}")],
        vec!["-H".into(), format!("cf-aig-authorization: Bearer {TOKEN}")],
        vec!["-H".into(), format!("Bearer {TOKEN}")],
        vec!["-H".into(), format!("X-A: b\r\nX-B: {TOKEN}")],
        vec![
            "--base-url".into(),
            format!("https://user:{TOKEN}@example.com"),
        ],
    ] {
        // `run` itself looks for the token.
        run(at(&server).args(&args).arg("hi"))
            .ends(2)
            .prints("")
            .says(&["haiku: "]);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn headers_of_ours_cannot_be_set() {
    let server = Server::documented();
    for header in [
        "Host: x",
        "Content-Length: 1",
        "content-type: x",
        "Transfer-Encoding: chunked",
        "User-Agent: x",
        "cf-aig-gateway-id: x",
        "cf-aig-cache-ttl: 60",
        "cf-aig-skip-cache: true",
        "no colon",
        ": x",
        "a b: c",
    ] {
        ask(&server, &["-H", header, "hi"])
            .ends(2)
            .prints("")
            .says(&["--header"]);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn plain_http_goes_to_loopback_only() {
    for url in [
        "http://example.com",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "nonsense",
    ] {
        let server = Server::documented();
        ask(&server, &["--base-url", url, "hi"])
            .ends(2)
            .prints("")
            .says(&["--base-url: "]);
        run(at(&server).env("CLOUDFLARE_API_BASE_URL", url).arg("hi"))
            .ends(2)
            .says(&["CLOUDFLARE_API_BASE_URL: "]);
    }
    let server = Server::documented();
    let url = format!("http://localhost:{}/client/v4/", server.port);
    ask(&server, &["--base-url", &url, "hi"])
        .ends(0)
        .prints("hi\n");
}

#[test]
fn plain_http_goes_through_no_proxy() {
    let server = Server::documented();
    let proxy = Server::documented();
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let mut command = at(&server);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env(name, &url);
    }
    run(command.arg("hi")).ends(0).prints("hi\n");
    assert!(proxy.requests().is_empty());
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKEN).unwrap();
    let server = Server::documented();
    let with_mode = |mode, args: &[&str]| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        run(at(&server)
            .arg("--token-file")
            .arg(&file)
            .args(args)
            .arg("hi"))
        .ends(0)
        .prints("hi\n")
    };
    with_mode(0o644, &[]).says(&["warning: ", "mode 0644", "chmod 600"]);
    with_mode(0o640, &[]).says(&["mode 0640"]);
    with_mode(0o644, &["-q"]).quiet();
    with_mode(0o600, &[]).quiet();
    with_mode(0o400, &[]).quiet();
}
