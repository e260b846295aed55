//! A certificate authority of the tests' own, and TLS in front of the stand-in server.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::server::Server;

/// A CA with its certificate in a file, and what it issues.
pub struct Authority {
    /// The folder that its certificate lies in.
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, unknown to everybody.
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

    /// Its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What a server with a certificate for localhost and api.test needs, but for `change`.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
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
        Front::new(self.issue(|_| {}), server.port)
    }
}

/// TLS in front of the stand-in server.
pub struct Front {
    /// The port on localhost.
    pub port: u16,
    /// How each handshake ended.
    pub handshakes: Arc<Mutex<Vec<bool>>>,
}

impl Front {
    /// TLS with `config` in front of `server`.
    pub fn new(config: ServerConfig, server: u16) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = Front {
            port: listener.local_addr().unwrap().port(),
            handshakes: Arc::default(),
        };
        let (config, handshakes) = (Arc::new(config), front.handshakes.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, handshakes) = (config.clone(), handshakes.clone());
                thread::spawn(move || relay(client, config, &handshakes, server));
            }
        });
        front
    }

    /// Where `--base-url` has to point.
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
