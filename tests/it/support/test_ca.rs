//! A certificate authority for tests, and a TLS server in front of the mock server.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::mock_server::Server;

pub struct TestCa {
    /// Contains the CA's certificate, `ca.pem`.
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub fn new() -> TestCa {
        TestCa::with(|_| {})
    }

    /// Creates a CA after `change` to the parameters of its own certificate.
    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> TestCa {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        // Without a name of its own, it would differ from another CA in its signatures only.
        params.distinguished_name.push(DnType::CommonName, format!("{:?}", key.public_key_raw()));
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        TestCa { folder, issuer: Issuer::new(params, key) }
    }

    /// The value for `SSL_CERT_FILE`.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for localhost and api.test, after `change` to its parameters.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        self.issue_with_pem(change).0
    }

    /// The same, and the certificate itself.
    pub fn issue_with_pem(
        &self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (ServerConfig, String) {
        let (params, key) = server_params(change);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (server_config(&certificate, &key), certificate.pem())
    }

    /// Starts a TLS server with a valid certificate in front of `server`.
    pub fn serve(&self, server: &Server) -> TlsServer {
        TlsServer::new(self.issue(|_| {}), server.port)
    }
}

/// Creates a certificate as [`TestCa::issue`] does, but signed by its own key. Also returns the certificate itself.
pub fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (ServerConfig, String) {
    let (params, key) = server_params(change);
    let certificate = params.self_signed(&key).unwrap();
    (server_config(&certificate, &key), certificate.pem())
}

fn server_params(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec!["localhost".into(), "api.test".into()]).unwrap();
    change(&mut params);
    (params, KeyPair::generate().unwrap())
}

fn server_config(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// Terminates TLS and forwards to a plain server.
pub struct TlsServer {
    /// On 127.0.0.1.
    pub port: u16,
    /// For each handshake, whether it succeeded.
    pub handshakes: Arc<Mutex<Vec<bool>>>,
}

impl TlsServer {
    pub fn new(config: ServerConfig, backend_port: u16) -> TlsServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls =
            TlsServer { port: listener.local_addr().unwrap().port(), handshakes: Arc::default() };
        let (config, handshakes) = (Arc::new(config), tls.handshakes.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, handshakes) = (config.clone(), handshakes.clone());
                thread::spawn(move || relay(client, config, &handshakes, backend_port));
            }
        });
        tls
    }

    /// The value for `--base-url`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/client/v4", self.port)
    }
}

fn relay(
    mut client: TcpStream,
    config: Arc<ServerConfig>,
    handshakes: &Mutex<Vec<bool>>,
    backend_port: u16,
) {
    let mut connection = ServerConnection::new(config).unwrap();
    let succeeded = connection.complete_io(&mut client).is_ok() && !connection.is_handshaking();
    handshakes.lock().unwrap().push(succeeded);
    if !succeeded {
        return;
    }
    let mut client = StreamOwned::new(connection, client);
    let mut server = TcpStream::connect(("127.0.0.1", backend_port)).unwrap();
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !is_complete(&request) {
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

/// Whether the head and as much of the body as it announces has arrived.
fn is_complete(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) =
        (String::from_utf8_lossy(&request[..end]).to_lowercase(), &request[end + 4..]);
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}
