//! A relay on the loopback interface: haiku talks plain HTTP to it, it talks to the service, and keeps what came.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use ureq::http::Uri;

/// How long one direction keeps the connection to the service from the other.
const TURN: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 256 * 1024;
/// How long the service may take none of a request.
const MAX_STALL: Duration = Duration::from_secs(20);
/// As much of a request as anyone looks at.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// What the relay does to a call on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    #[default]
    None,
    /// The connection breaks when the response begins.
    Cut,
    /// The body gets this many spaces at its end.
    Pad(usize),
}

/// One request and what came back.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The beginning of the body.
    pub request: Vec<u8>,
    pub request_bytes: usize,
    /// How much of the body had been sent when the response began.
    pub sent_before_response: usize,
    /// Head and body, byte for byte.
    pub response: Vec<u8>,
}

impl Exchange {
    /// The JSON that haiku sent.
    pub fn sent(&self) -> Value {
        serde_json::from_slice(&self.request).unwrap_or_default()
    }

    /// The status of the response, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.head().split(' ').nth(1)?.parse().ok()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.head();
        let mut headers = lines.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }

    fn head_length(&self) -> usize {
        find(&self.response, b"\r\n\r\n").map_or(self.response.len(), |at| at + 4)
    }

    fn head(&self) -> String {
        String::from_utf8_lossy(&self.response[..self.head_length()]).into_owned()
    }

    /// The body without the framing of its chunks.
    pub fn body(&self) -> String {
        let mut rest = &self.response[self.head_length()..];
        if self.header("transfer-encoding").is_none_or(|value| value != "chunked") {
            return String::from_utf8_lossy(rest).into_owned();
        }
        let mut body = Vec::new();
        while let Some(at) = find(rest, b"\r\n") {
            let line = String::from_utf8_lossy(&rest[..at]);
            let digits = line.split(';').next().unwrap_or_default();
            let Ok(length @ 1..) = usize::from_str_radix(digits.trim(), 16) else {
                break;
            };
            let chunk = &rest[at + 2..];
            body.extend_from_slice(&chunk[..length.min(chunk.len())]);
            rest = chunk.get(length + 2..).unwrap_or_default();
        }
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The same with an `x` for each byte of a secret or a cookie. A response in which a secret is still to be found,
    /// because two chunks share it, is left out.
    pub fn without(&self, secrets: &[&[u8]]) -> Exchange {
        let mut exchange = self.clone();
        let response = &mut exchange.response;
        for secret in secrets {
            while let Some(at) = find(response, secret) {
                response[at..at + secret.len()].fill(b'x');
            }
        }
        let mut at = 0;
        for line in self.head().split_inclusive("\r\n") {
            let cookie = line.get(..11).filter(|name| name.eq_ignore_ascii_case("set-cookie:"));
            if cookie.is_some() {
                response[at + 11..at + line.len() - 2].fill(b'x');
            }
            at += line.len();
        }
        let body = exchange.body();
        if secrets.iter().any(|secret| find(body.as_bytes(), secret).is_some()) {
            exchange.response.clear();
        }
        exchange
    }
}

/// Where `part` begins, which is not empty.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

type Upstream = Arc<Mutex<Box<dyn Duplex>>>;

pub struct Relay {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    host: String,
    address: String,
    tls: Option<Arc<ClientConfig>>,
    treatment: Mutex<Treatment>,
    exchanges: Mutex<Vec<Exchange>>,
    accepted: AtomicUsize,
    finished: AtomicUsize,
}

impl Relay {
    /// Starts a relay to the host of `base_url`.
    pub fn new(base_url: &Uri, ca_file: Option<&Path>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let host = base_url.host().expect("a host").to_owned();
        let is_tls = base_url.scheme_str() == Some("https");
        assert!(is_tls || ["127.0.0.1", "localhost"].contains(&host.as_str()), "not in the clear");
        let upstream_port = base_url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let shared = Arc::new(Shared {
            address: format!("{host}:{upstream_port}"),
            host,
            tls: is_tls.then(|| tls(ca_file)),
            treatment: Mutex::default(),
            exchanges: Mutex::default(),
            accepted: AtomicUsize::default(),
            finished: AtomicUsize::default(),
        });
        let relay = Relay { port, shared: shared.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut exchange = Exchange::default();
                    // What went wrong shows in what came.
                    let _ = shared.serve(&client, &mut exchange);
                    shared.exchanges.lock().expect("exchanges").push(exchange);
                    shared.finished.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        relay
    }

    pub fn treat(&self, treatment: Treatment) {
        *self.shared.treatment.lock().expect("treatment") = treatment;
    }

    /// The last exchange since the last call of this function.
    pub fn take(&self) -> Option<Exchange> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let counts =
            || [&self.shared.accepted, &self.shared.finished].map(|n| n.load(Ordering::SeqCst));
        while counts()[0] != counts()[1] && Instant::now() < deadline {
            thread::sleep(TURN);
        }
        self.shared.exchanges.lock().expect("exchanges").drain(..).next_back()
    }
}

fn tls(ca_file: Option<&Path>) -> Arc<ClientConfig> {
    let found = match ca_file {
        Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None),
        None => rustls_native_certs::load_native_certs(),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl Shared {
    fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        let socket = TcpStream::connect(&self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TURN))?;
        socket.set_write_timeout(Some(TURN))?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(socket));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(tls, socket)))
    }

    /// Passes one request on, and its response back.
    fn serve(&self, client: &TcpStream, exchange: &mut Exchange) -> io::Result<()> {
        let treatment = *self.treatment.lock().expect("treatment");
        let padding = if let Treatment::Pad(bytes) = treatment { bytes } else { 0 };
        let (head, length) = self.head(&read_head(client)?, padding);
        let upstream: Upstream = Arc::new(Mutex::new(self.connect()?));
        let (sent, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let kept = Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = send(client, &upstream, &head, length, padding, &sent, &kept);
                // haiku closes when it has what it wants, or has given up.
                let _ = io::copy(&mut { client }, &mut io::sink());
                is_over.store(true, Ordering::SeqCst);
            });
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Some(n) = patiently(&is_over, || lock(&upstream).read(&mut buffer))
                && n > 0
            {
                if exchange.response.is_empty() {
                    exchange.sent_before_response = sent.load(Ordering::SeqCst);
                }
                if treatment == Treatment::Cut {
                    break;
                }
                exchange.response.extend_from_slice(&buffer[..n]);
                if { client }.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            // What is still on its way from haiku would otherwise reset the connection.
            let half = if treatment == Treatment::Cut { Shutdown::Both } else { Shutdown::Write };
            let _ = client.shutdown(half);
            let _ = client.set_read_timeout(Some(Duration::from_secs(10)));
        });
        exchange.request = kept.into_inner().expect("request");
        exchange.request_bytes = length + padding;
        Ok(())
    }

    /// The request's head as the service gets it, and the length of the body that haiku sends.
    fn head(&self, head: &str, padding: usize) -> (String, usize) {
        let mut length = 0;
        let mut lines = Vec::new();
        for line in head.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.to_ascii_lowercase().as_str() {
                "host" | "accept-encoding" | "connection" => {}
                "content-length" => length = value.trim().parse().expect("a length"),
                _ => lines.push(line.to_owned()),
            }
        }
        lines.push(format!("host: {}", self.host));
        // Recordings are to be read, and one connection carries one call.
        lines.extend(["accept-encoding: identity".into(), "connection: close".into()]);
        lines.push(format!("content-length: {}", length + padding));
        (lines.join("\r\n") + "\r\n\r\n", length)
    }
}

fn lock(upstream: &Upstream) -> MutexGuard<'_, Box<dyn Duplex>> {
    upstream.lock().expect("the connection")
}

/// Tries again until there is something, the connection fails, or nobody waits for it any more.
fn patiently(
    is_over: &AtomicBool,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> Option<usize> {
    while !is_over.load(Ordering::SeqCst) {
        match attempt() {
            Ok(n) => return Some(n),
            Err(error) if is_early(&error) => thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

fn is_early(error: &io::Error) -> bool {
    [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind())
}

fn read_head(mut client: &TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Sends head, body and padding, as fast as the service takes them.
fn send(
    mut client: &TcpStream,
    upstream: &Upstream,
    head: &str,
    length: usize,
    padding: usize,
    sent: &AtomicUsize,
    kept: &Mutex<Vec<u8>>,
) -> io::Result<()> {
    write(upstream, head.as_bytes(), &AtomicUsize::new(0))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = length;
    while left > 0 {
        let n = client.read(&mut buffer[..left.min(CHUNK_BYTES)])?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        left -= n;
        let mut kept = kept.lock().expect("request");
        let room = MAX_KEPT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..n.min(room)]);
        drop(kept);
        write(upstream, &buffer[..n], sent)?;
    }
    let spaces = vec![b' '; CHUNK_BYTES];
    let mut left = padding;
    while left > 0 {
        let n = left.min(CHUNK_BYTES);
        write(upstream, &spaces[..n], sent)?;
        left -= n;
    }
    Ok(())
}

fn write(upstream: &Upstream, mut bytes: &[u8], sent: &AtomicUsize) -> io::Result<()> {
    let mut progress = Instant::now();
    while !bytes.is_empty() {
        let result = lock(upstream).write(bytes);
        match result {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                progress = Instant::now();
                sent.fetch_add(n, Ordering::SeqCst);
            }
            Err(error) if is_early(&error) && progress.elapsed() < MAX_STALL => {}
            Err(error) => return Err(error),
        }
        // The other direction gets its turn.
        thread::sleep(Duration::from_millis(1));
    }
    // TLS keeps what the socket did not take.
    loop {
        match { lock(upstream) }.flush() {
            Err(error) if is_early(&error) && progress.elapsed() < MAX_STALL => {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}
