//! Connections that fail, and servers that do not speak HTTP.

use std::net::TcpListener;

use predicates::str::contains;

use crate::support::mock_server::Server;
use crate::support::{ask, check, haiku_at_url, one_line};

/// The URL of a loopback port that nothing listens on.
fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_failed_connection_is_temporary_and_names_the_host() {
    for (url, parts) in [
        (unused_url().as_str(), &["127.0.0.1", "Connection refused"][..]),
        ("https://no-such-host.invalid", &["no-such-host.invalid"]),
    ] {
        check(haiku_at_url(url).args(["--retries", "0", "hi"]))
            .code(4)
            .stdout("")
            .stderr(one_line(parts));
    }
}

#[test]
fn a_failed_connection_is_retried() {
    check(haiku_at_url(&unused_url()).args(["-v", "--retries", "1", "hi"]))
        .code(4)
        .stderr(contains("Connection refused").count(2));
}

#[test]
fn a_response_that_is_not_http_is_temporary() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "\0\0\0\0",
    ] {
        ask(&Server::sending(bytes), &["--retries", "0", "hi"])
            .code(4)
            .stdout("")
            .stderr(one_line(&["127.0.0.1"]));
    }
}
