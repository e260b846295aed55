//! Certificates: a TLS server on loopback and a CA that the test creates.

use std::fs;
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use rcgen::{CertificateParams, date_time_ymd};
use rustls::ServerConfig;

use crate::support::mock_server::Server;
use crate::support::test_ca::{TestCa, TlsServer};
use crate::support::{Folder, TOKEN, check, haiku_at_url, one_line};

fn https(tls: &TlsServer) -> Command {
    let mut command = haiku_at_url(&tls.url());
    command.args(["--retries", "0"]);
    command
}

#[test]
fn ssl_cert_file_and_ssl_cert_dir_are_used() {
    let ca = TestCa::new();
    let server = Server::documented();
    let tls = ca.serve(&server);
    // OpenSSL finds a certificate in a folder by a name with its hash, so it needs such a name.
    fs::copy(ca.file(), ca.folder.path().join("01234567.0")).unwrap();
    for (variable, path, option) in [
        ("SSL_CERT_FILE", ca.file(), "--no-stream"),
        ("SSL_CERT_FILE", ca.file(), "--stream"),
        ("SSL_CERT_DIR", ca.folder.path().to_owned(), "--no-stream"),
    ] {
        check(https(&tls).env(variable, path).args([option, "hi"]))
            .success()
            .stdout("hi\n")
            .stderr("");
    }
    let bearer = format!("Bearer {TOKEN}");
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some(bearer.as_str()));
}

/// Asserts that the certificate is rejected before anything of the request is sent.
#[track_caller]
fn is_rejected(ca: &TestCa, config: ServerConfig, reason: &str) {
    let server = Server::documented();
    let tls = TlsServer::new(config, server.port);
    let mut command = haiku_at_url(&tls.url());
    check(command.env("SSL_CERT_FILE", ca.file()).arg("hi")).code(3).stderr(one_line(&[
        "certificate",
        "localhost",
        reason,
    ]));
    assert!(server.requests().is_empty());
    // The server notices a moment later.
    while tls.handshakes.lock().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let handshakes = tls.handshakes.lock().unwrap();
    assert_eq!(*handshakes, [false], "one attempt without a retry");
}

#[test]
fn a_certificate_of_an_unknown_issuer_is_rejected() {
    is_rejected(&TestCa::new(), TestCa::new().issue(|_| {}), "issuer");
}

#[test]
fn a_certificate_for_another_host_name_is_rejected() {
    let ca = TestCa::new();
    let config = ca.issue(|params| {
        *params = CertificateParams::new(vec!["example.com".into()]).unwrap();
    });
    is_rejected(&ca, config, "not valid for localhost");
}

#[test]
fn a_certificate_outside_its_validity_is_rejected() {
    let ca = TestCa::new();
    let expired = ca.issue(|params| params.not_after = date_time_ymd(2020, 1, 1));
    is_rejected(&ca, expired, "expired");
    let future = ca.issue(|params| params.not_before = date_time_ymd(2090, 1, 1));
    is_rejected(&ca, future, "not valid yet");
}

#[test]
fn an_empty_certificate_store_is_reported_with_advice() {
    let ca = TestCa::new();
    let server = Server::documented();
    let folder = Folder::new();
    let empty = folder.write("empty.pem", "");
    check(https(&ca.serve(&server)).env("SSL_CERT_FILE", empty).arg("hi"))
        .code(3)
        .stderr(one_line(&["certificate", "install ca-certificates"]));
    assert!(server.requests().is_empty());
}

#[test]
fn a_server_without_tls_is_a_temporary_failure() {
    let server = Server::sending("HTTP/1.1 400 Bad Request\r\n\r\n");
    let ca = TestCa::new();
    let mut command = haiku_at_url(&format!("https://localhost:{}", server.port));
    command.env("SSL_CERT_FILE", ca.file());
    check(command.args(["--retries", "0", "hi"]))
        .code(4)
        .stdout("")
        .stderr(one_line(&["localhost"]));
}
