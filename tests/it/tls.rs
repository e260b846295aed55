//! Certificates: a TLS server on loopback and a CA that the test creates.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::mock_server::{JSON, Server, http, message, raw_http};
use crate::support::sandbox::{can_unshare, unshared};
use crate::support::test_ca::{TestCa, TlsServer, self_signed};
use crate::support::{Folder, TOKEN, check, haiku_at_url, has, one_line, process_at_url};

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
        ("SSL_CERT_FILE", format!("{}\r\n", ca.file().display()).into(), "--no-stream"),
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
    is_rejected(&TestCa::new(), TestCa::new().issue(|_| {}), "unknown issuer");
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
    is_rejected(&ca, future, "it is not valid yet; check the clock");
}

#[test]
fn a_certificate_for_clients_is_rejected() {
    let ca = TestCa::new();
    let config =
        ca.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    is_rejected(&ca, config, "extended key usage for server authentication");
}

#[test]
fn a_certificate_without_names_is_rejected() {
    let ca = TestCa::new();
    let config = ca.issue(|params| params.subject_alt_names.clear());
    is_rejected(&ca, config, "it is not valid for localhost");
}

#[test]
fn a_ca_certificate_of_a_server_is_rejected() {
    let ca = TestCa::new();
    let config = ca.issue(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    is_rejected(&ca, config, "CaUsedAsEndEntity");
}

/// The certificate of `ca` in a folder, under a hashed name.
fn hashed(ca: &TestCa) -> Folder {
    let folder = Folder::new();
    fs::copy(ca.file(), folder.path("0123abcd.0")).unwrap();
    folder
}

#[test]
fn a_certificate_that_says_it_is_no_ca_is_no_trust_anchor() {
    let ca = TestCa::with(|params| params.is_ca = IsCa::ExplicitNoCa);
    // CA:FALSE in so many words, not by default, and critical.
    let in_so_many_words = TestCa::with(|params| {
        params.is_ca = IsCa::NoCa;
        let mut extension =
            CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    for ca in [ca, in_so_many_words] {
        let server = Server::documented();
        let tls = ca.serve(&server);
        for (variable, path) in
            [("SSL_CERT_FILE", ca.file()), ("SSL_CERT_DIR", hashed(&ca).path(""))]
        {
            check(https(&tls).env(variable, path).arg("hi"))
                .code(3)
                .stderr(one_line(&["no CA certificates found in", variable]));
        }
        // Beside a certificate of another CA, it is passed over.
        let both = [&ca, &TestCa::new()].map(|ca| fs::read_to_string(ca.file()).unwrap());
        let folder = Folder::new();
        let file = folder.write("both.pem", both.concat());
        check(https(&tls).env("SSL_CERT_FILE", file).arg("hi"))
            .code(3)
            .stderr(one_line(&["unknown issuer"]));
        assert!(server.requests().is_empty());
    }
}

/// The result of a call to a server with a certificate of `ca`.
fn ask_with(ca: &TestCa, variables: &[(&str, PathBuf)]) -> Assert {
    let tls = ca.serve(&Server::documented());
    check(https(&tls).envs(variables.iter().cloned()).arg("hi"))
}

#[test]
fn a_ca_is_recognized_by_its_key_usage_alone() {
    let ca = TestCa::with(|params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    ask_with(&ca, &[("SSL_CERT_FILE", ca.file())]).success();
}

#[test]
fn a_renewed_ca_is_found_next_to_its_expired_certificate() {
    let ca = TestCa::new();
    let expired = TestCa::with(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let folder = Folder::new();
    let both = [&expired, &ca].map(|ca| fs::read_to_string(ca.file()).unwrap());
    let file = folder.write("both.pem", both.concat());
    ask_with(&ca, &[("SSL_CERT_FILE", file.into())]).success();
}

/// Calls a server with `config`, and `pem` as the only certificate in the store.
fn ask_with_store((config, pem): (ServerConfig, String)) -> (Assert, Server) {
    let folder = Folder::new();
    let store = folder.write("store.pem", pem);
    let server = Server::documented();
    let tls = TlsServer::new(config, server.port);
    (check(https(&tls).env("SSL_CERT_FILE", store).arg("hi")), server)
}

#[test]
fn a_self_signed_certificate_in_the_store_is_trusted() {
    let (result, server) = ask_with_store(self_signed(|_| {}));
    result.success().stdout("hi\n").stderr("");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_servers_own_certificate_is_still_checked() {
    for (identity, reason) in [
        (self_signed(|params| params.not_after = date_time_ymd(2020, 1, 1)), "it has expired"),
        (
            self_signed(|params| params.not_before = date_time_ymd(2090, 1, 1)),
            "it is not valid yet",
        ),
        (
            self_signed(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            "extended key usage for server authentication",
        ),
        (
            self_signed(|params| {
                *params = CertificateParams::new(vec!["example.com".into()]).unwrap();
            }),
            "it is not valid for localhost",
        ),
    ] {
        let (result, server) = ask_with_store(identity);
        result.code(3).stderr(one_line(&[reason]));
        assert!(server.requests().is_empty());
    }
}

#[test]
fn a_servers_own_certificate_is_not_trusted_for_another() {
    let ca = TestCa::new();
    let (_, pinned) = ca.issue_with_pem(|_| {});
    let (result, server) = ask_with_store((ca.issue(|_| {}), pinned));
    result.code(3).stderr(one_line(&["unknown issuer"]));
    assert!(server.requests().is_empty());
}

#[test]
fn an_empty_store_is_rejected_with_advice() {
    let ca = TestCa::new();
    let server = Server::documented();
    let tls = ca.serve(&server);
    let (file, folder) = (Folder::new(), Folder::new());
    let empty = file.write("empty.pem", "");
    let folder = folder.path("").into_os_string().into_string().unwrap();
    for (variable, path) in [("SSL_CERT_FILE", empty), ("SSL_CERT_DIR", folder)] {
        check(https(&tls).env(variable, &path).arg("hi")).code(3).stderr(one_line(&[
            "no CA certificates found in",
            &path,
            "install ca-certificates or set SSL_CERT_FILE",
        ]));
    }
    assert!(server.requests().is_empty());
}

#[test]
fn malformed_certificates_in_a_file_are_skipped() {
    let ca = TestCa::new();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let pem = fs::read_to_string(ca.file()).unwrap();
    let malformed = format!("comment\n{begin}\n!!\n{end}\n{begin}\nAAAA\n{end}\n");
    fs::write(ca.file(), format!("{malformed}{pem}{begin}\nAAAA\n")).unwrap();
    ask_with(&ca, &[("SSL_CERT_FILE", ca.file())]).success();
}

#[test]
fn an_unreadable_certificate_file_is_named() {
    ask_with(&TestCa::new(), &[("SSL_CERT_FILE", "/nonexistent/ca.pem".into())])
        .code(3)
        .stderr(one_line(&["cannot read SSL_CERT_FILE /nonexistent/ca.pem", "No such file"]))
        .stderr(contains("os error").not());
}

#[test]
fn empty_certificate_variables_count_as_absent() {
    let ca = TestCa::new();
    let folder = hashed(&ca);
    let absent = PathBuf::new();
    let file = [("SSL_CERT_FILE", ca.file()), ("SSL_CERT_DIR", absent.clone())];
    ask_with(&ca, &file).success();
    let in_folder = [("SSL_CERT_FILE", absent.clone()), ("SSL_CERT_DIR", folder.path(""))];
    ask_with(&ca, &in_folder).success();
    // With both empty the system's certificates count, which do not include this CA.
    ask_with(&ca, &[("SSL_CERT_FILE", absent.clone()), ("SSL_CERT_DIR", absent)]).code(3);
}

#[test]
fn the_systems_bundle_is_trusted_and_no_other_file_of_its_folder() {
    if !can_unshare("-m") || !Path::new("/etc/ssl/certs").exists() {
        return;
    }
    let (in_bundle, in_folder) = (TestCa::new(), TestCa::new());
    let folder = hashed(&in_folder);
    fs::copy(in_bundle.file(), folder.path("ca-certificates.crt")).unwrap();
    let mount = format!("mount --bind {} /etc/ssl/certs", folder.path("").display());
    for (ca, code) in [(&in_bundle, 0), (&in_folder, 3)] {
        let server = Server::documented();
        let mut command = process_at_url(&ca.serve(&server).url());
        command.args(["-n", "--retries", "0", "hi"]);
        let mut command = unshared("-m", &format!("{mount}; exec \"$@\""), &command);
        let result = check(&mut command).code(code);
        if code == 3 {
            result.stderr(one_line(&["unknown issuer"]));
        }
        assert_eq!(server.requests().len(), usize::from(code == 0));
    }
}

#[test]
fn several_certificate_folders_are_read() {
    let ca = TestCa::new();
    let folder = hashed(&ca);
    let list = format!("/nonexistent:{}", folder.path("").display());
    ask_with(&ca, &[("SSL_CERT_DIR", list.into())]).success();
}

fn fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn a_fifo_in_a_certificate_folder_is_ignored() {
    let ca = TestCa::new();
    let folder = hashed(&ca);
    fifo(&folder.path("fifo.pem"));
    let start = Instant::now();
    ask_with(&ca, &[("SSL_CERT_DIR", folder.path(""))]).success();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_fifo_may_deliver_certificates() {
    let ca = TestCa::new();
    let folder = Folder::new();
    let path = folder.path("fifo");
    fifo(&path);
    let (pem, writer) = (fs::read(ca.file()).unwrap(), path.clone());
    thread::spawn(move || fs::write(writer, pem).unwrap());
    ask_with(&ca, &[("SSL_CERT_FILE", path)]).success();
}

/// A CA on P-521 that signs with `digest`, and a server on the curve `leaf`, as PEM files in a folder.
fn p_521_chain(digest: &str, leaf: &str) -> Folder {
    let folder = Folder::new();
    folder.write("extensions", "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n");
    for arguments in [
        "ecparam -name secp521r1 -genkey -noout -out ca.key".to_owned(),
        format!("ecparam -name {leaf} -genkey -noout -out leaf.key"),
        format!("req -x509 -new -key ca.key -{digest} -subj /CN=ca -out ca.pem"),
        "req -new -key leaf.key -subj /CN=leaf -out leaf.csr".to_owned(),
        format!(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -{digest} -extfile extensions -out leaf.pem"
        ),
    ] {
        let mut openssl = process::Command::new("openssl");
        let openssl = openssl.args(arguments.split(' ')).current_dir(folder.path(""));
        assert!(openssl.output().unwrap().status.success(), "{arguments}");
    }
    folder
}

/// The result of a call to OpenSSL's server, which sends a reply to whoever connects.
fn ask_openssl(chain: &Folder, store: &Folder, options: &[&str]) -> Assert {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = process::Command::new("openssl")
        .args(["s_server", "-quiet", "-cert", "leaf.pem", "-key", "leaf.key", "-accept"])
        .arg(format!("127.0.0.1:{port}"))
        .args(options)
        .current_dir(chain.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let response = http(200, &[JSON], message("hi", "end_turn").to_string());
    server.stdin.as_mut().unwrap().write_all(&response).unwrap();
    let mut command = haiku_at_url(&format!("https://localhost:{port}"));
    command.env("SSL_CERT_FILE", store.path("ca.pem"));
    // Retries cover the time until the server listens.
    let result = check(command.args(["--retries", "6", "hi"]));
    server.kill().unwrap();
    server.wait().unwrap();
    result
}

#[test]
fn keys_on_p_521_are_verified() {
    if !has("openssl") {
        return;
    }
    for digest in ["sha256", "sha384", "sha512"] {
        let chain = p_521_chain(digest, "prime256v1");
        ask_openssl(&chain, &chain, &["-tls1_2"]).success().stdout("hi\n");
        let other = p_521_chain(digest, "prime256v1");
        ask_openssl(&chain, &other, &[]).code(3).stderr(one_line(&["is not trusted"]));
    }
    let chain = p_521_chain("sha512", "secp521r1");
    ask_openssl(&chain, &chain, &["-tls1_3"]).success().stdout("hi\n");
}

#[test]
fn what_tls_refuses_for_good_is_exit_3_and_named() {
    if !has("openssl") {
        return;
    }
    let chain = p_521_chain("sha512", "prime256v1");
    for (options, words) in [
        (&["-tls1_3", "-Verify", "1"][..], "requires a client certificate (certificate_required)"),
        (&["-tls1_2", "-Verify", "1"], "refuses the TLS handshake (handshake_failure)"),
        (&["-tls1_2", "-cipher", "AES128-SHA"], "refuses the TLS handshake (handshake_failure)"),
    ] {
        ask_openssl(&chain, &chain, options)
            .code(3)
            .stdout("")
            .stderr(one_line(&["cannot connect to localhost: the server", words]));
    }
}

#[test]
fn the_tls_alerts_that_are_final_are_exit_3_once() {
    for (alert, name, code) in [
        (40, "handshake_failure", 3),
        (70, "protocol_version", 3),
        (71, "insufficient_security", 3),
        (116, "certificate_required", 3),
        (42, "bad_certificate", 3),
        (48, "unknown_ca", 3),
        (49, "access_denied", 3),
        (112, "unrecognized_name", 3),
        (80, "TLS alert 80", 4),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _hello = client.read(&mut [0; 4096]);
                client.write_all(&[0x15, 3, 3, 0, 2, 2, alert]).unwrap();
            }
        });
        let ca = TestCa::new();
        let mut command = haiku_at_url(&format!("https://localhost:{port}"));
        command.env("SSL_CERT_FILE", ca.file()).args(["-v", "--retries", "1", "hi"]);
        check(&mut command)
            .code(code)
            .stderr(contains("cannot connect to localhost: "))
            .stderr(contains(name))
            .stderr(contains("retrying").count(usize::from(code == 4)));
    }
}

/// How a server closes the connection after its response.
#[derive(Clone, Copy)]
pub enum Close {
    WithNotify,
    WithoutNotify,
    WithReset,
}

/// The result of a call to a server that sends `response` over TLS and closes the connection.
pub fn ask_closing(response: Vec<u8>, close: Close) -> Assert {
    let ca = TestCa::new();
    let config = ca.issue(|_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut client = StreamOwned::new(connection, socket);
        let mut request = Vec::new();
        // A close with unread data would be a reset.
        while !request.ends_with(b"}") {
            let mut piece = [0; 4096];
            let length = client.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..length]);
        }
        client.write_all(&response).unwrap();
        match close {
            Close::WithNotify => client.conn.send_close_notify(),
            Close::WithoutNotify => {}
            Close::WithReset => {
                // The response arrives before the reset that would discard it.
                thread::sleep(Duration::from_millis(200));
                rustix::net::sockopt::set_socket_linger(&client.sock, Some(Duration::ZERO))
                    .unwrap();
            }
        }
        let _ = client.flush();
    });
    let mut command = haiku_at_url(&url);
    command.env("SSL_CERT_FILE", ca.file());
    check(command.args(["--retries", "0", "hi"]))
}

#[test]
fn a_server_may_ask_for_new_keys_within_its_response() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(config).unwrap();
        let mut client = StreamOwned::new(connection, socket);
        client.read_exact(&mut [0; 100]).unwrap();
        let response = http(200, &[JSON], message("hi", "end_turn").to_string());
        for piece in response.chunks(60) {
            client.write_all(piece).unwrap();
            client.conn.refresh_traffic_keys().unwrap();
            client.flush().unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut command = haiku_at_url(&url);
    command.env("SSL_CERT_FILE", ca.file());
    check(command.args(["--retries", "0", "hi"])).success().stdout("hi\n");
}

#[test]
fn a_complete_message_needs_no_close_notify_and_a_truncated_one_is_an_error() {
    let body = message("hi", "end_turn").to_string();
    let truncated = &body[..body.len() / 2];
    for close in [Close::WithNotify, Close::WithoutNotify, Close::WithReset] {
        ask_closing(http(200, &[JSON], &body), close).success().stdout("hi\n");
        ask_closing(raw_http(200, &[JSON], &body), close).success().stdout("hi\n");
        ask_closing(raw_http(200, &[JSON], truncated), close)
            .code(4)
            .stdout("")
            .stderr(one_line(&["truncated reply"]));
    }
}

#[test]
fn a_connection_closed_before_the_response_is_described_in_plain_words() {
    ask_closing(Vec::new(), Close::WithoutNotify)
        .code(4)
        .stderr(one_line(&["lost the connection to localhost: it was closed without a response"]))
        .stderr(contains("docs.rs").not());
}

/// Starts a CONNECT proxy that speaks TLS itself and connects one client to `target`. Returns its port.
fn tls_proxy(config: ServerConfig, target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut client = StreamOwned::new(connection, socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"CONNECT "));
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
        let turn = Some(Duration::from_millis(5));
        client.sock.set_read_timeout(turn).unwrap();
        server.set_read_timeout(turn).unwrap();
        while forward(&mut client, &mut server) && forward(&mut server, &mut client) {}
    });
    port
}

/// Forwards what has arrived, and returns whether more may follow.
fn forward(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut piece = [0; 4096];
    match from.read(&mut piece) {
        Ok(0) => false,
        Ok(length) => to.write_all(&piece[..length]).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn a_proxy_may_speak_tls_itself_if_its_certificate_is_trusted() {
    let ca = TestCa::new();
    let server = Server::documented();
    let tls = ca.serve(&server);
    let ask_through = |proxy: ServerConfig| {
        let port = tls_proxy(proxy, tls.port);
        let mut command = https(&tls);
        command
            .env("HTTPS_PROXY", format!("https://localhost:{port}"))
            .env("SSL_CERT_FILE", ca.file());
        check(command.arg("hi"))
    };
    ask_through(ca.issue(|_| {})).success().stdout("hi\n").stderr("");
    ask_through(TestCa::new().issue(|_| {})).code(3).stderr(one_line(&["unknown issuer"]));
    assert_eq!(server.requests().len(), 1);
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
