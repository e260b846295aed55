//! Certificates, checked against a server on loopback and a CA that the test makes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::server::Server;
use crate::{TOKEN, bare, run};

/// A CA with its certificate in a file, and what it issues.
pub struct Authority {
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two authorities of one name would be told apart by their signatures alone.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{:?}", key.public_key_raw()));
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params =
            CertificateParams::new(vec!["localhost".into(), "api.test".into()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// The stand-in server behind TLS, with a certificate for localhost and api.test.
    pub fn serve(&self, server: &Server) -> Front {
        Front::new(self.issue(|_| {}), server)
    }
}

/// TLS in front of the stand-in server.
pub struct Front {
    pub port: u16,
    /// How each handshake ended.
    pub handshakes: Arc<Mutex<Vec<bool>>>,
}

impl Front {
    fn new(config: ServerConfig, server: &Server) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = Front {
            port: listener.local_addr().unwrap().port(),
            handshakes: Arc::default(),
        };
        let (config, handshakes, behind) =
            (Arc::new(config), front.handshakes.clone(), server.port);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, handshakes) = (config.clone(), handshakes.clone());
                thread::spawn(move || relay(client, config, &handshakes, behind));
            }
        });
        front
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/client/v4", self.port)
    }
}

fn relay(
    mut client: TcpStream,
    config: Arc<ServerConfig>,
    handshakes: &Mutex<Vec<bool>>,
    behind: u16,
) {
    let mut connection = ServerConnection::new(config).unwrap();
    let greeted = connection.complete_io(&mut client).is_ok() && !connection.is_handshaking();
    handshakes.lock().unwrap().push(greeted);
    if !greeted {
        return;
    }
    let mut client = StreamOwned::new(connection, client);
    let mut server = TcpStream::connect(("127.0.0.1", behind)).unwrap();
    // The head, and as much of the body as it says.
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !is_whole(&request) {
        match client.read(&mut piece) {
            Ok(length) if length > 0 => request.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    server.write_all(&request).unwrap();
    let mut response = Vec::new();
    server.read_to_end(&mut response).unwrap();
    let _ = client.write_all(&response);
    client.conn.send_close_notify();
    let _ = client.flush();
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

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
    let front = Front::new(config, &server);
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
