//! Certificates, checked against a server on loopback and a CA that the test makes.

use std::fs;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::ServerConfig;

use crate::authority::{Authority, Front};
use crate::server::Server;
use crate::{TOKEN, bare, run};

fn https(front: &Front) -> assert_cmd::Command {
    let mut command = bare();
    command
        .env("CLOUDFLARE_API_BASE_URL", front.url())
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", TOKEN)
        .args(["--retries", "0", "hi"]);
    command
}

#[test]
fn ssl_cert_file_and_dir_are_honoured() {
    let authority = Authority::new();
    let server = Server::documented();
    let front = authority.serve(&server);
    run(https(&front).env("SSL_CERT_FILE", authority.file()))
        .ends(0)
        .quiet()
        .prints("hi\n");
    run(https(&front)
        .env("SSL_CERT_FILE", authority.file())
        .arg("--stream"))
    .ends(0)
    .quiet()
    .prints("hi\n");
    // A folder is looked up by hash in OpenSSL, and read whole here: either way its name has one.
    let hashed = authority.folder.path().join("01234567.0");
    fs::copy(authority.file(), hashed).unwrap();
    run(https(&front).env("SSL_CERT_DIR", authority.folder.path()))
        .ends(0)
        .quiet()
        .prints("hi\n");
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some(bearer.as_str())
    );
}

/// Nothing of the request may have been sent.
#[track_caller]
fn is_refused(authority: &Authority, config: ServerConfig, says: &str) {
    let server = Server::documented();
    let front = Front::new(config, server.port);
    run(https(&front).env("SSL_CERT_FILE", authority.file()))
        .ends(3)
        .prints("")
        .says(&["the certificate of localhost is not trusted", says]);
    assert!(server.requests().is_empty());
    // The other side learns of it a moment later.
    while front.handshakes.lock().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        *front.handshakes.lock().unwrap(),
        [false],
        "and it is not tried again"
    );
}

#[test]
fn an_unknown_issuer_is_refused() {
    let stranger = Authority::new();
    is_refused(
        &Authority::new(),
        stranger.issue(|_| {}),
        "its issuer is unknown",
    );
}

#[test]
fn another_host_name_is_refused() {
    let authority = Authority::new();
    let config = authority.issue(|params| {
        *params = CertificateParams::new(vec!["example.com".into()]).unwrap();
    });
    is_refused(&authority, config, "another host name");
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let config = authority.issue(|params| params.not_after = date_time_ymd(2020, 1, 1));
    is_refused(&authority, config, "it has expired");
    let config = authority.issue(|params| params.not_before = date_time_ymd(2090, 1, 1));
    is_refused(&authority, config, "it is not valid yet");
}

#[test]
fn no_certificates_at_all_are_refused_with_advice() {
    let authority = Authority::new();
    let server = Server::documented();
    let front = authority.serve(&server);
    let empty = tempfile::tempdir().unwrap();
    let file = empty.path().join("none.pem");
    fs::write(&file, "").unwrap();
    run(https(&front).env("SSL_CERT_FILE", &file))
        .ends(3)
        .prints("")
        .says(&["certificate", "install ca-certificates"]);
    assert!(server.requests().is_empty());
}

#[test]
fn what_is_no_tls_is_a_passing_failure() {
    let server = Server::sending("HTTP/1.1 400 Bad Request\r\n\r\n");
    let authority = Authority::new();
    let mut command = bare();
    command
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", TOKEN)
        .env("SSL_CERT_FILE", authority.file())
        .args([
            "--retries",
            "0",
            "--base-url",
            &format!("https://localhost:{}", server.port),
            "hi",
        ]);
    run(&mut command).ends(4).prints("").says(&["localhost"]);
}
