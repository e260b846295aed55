//! The body to a response: one attempt over HTTP. The only user of ureq and of the clock.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustls::CertificateError;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, BodyReader, Error, Timeout};

use crate::account::Account;
use crate::error::{Again, Exit, Failure};
use crate::response::Answer;
use crate::retry::Hints;

/// The longest that looking up a name, and then connecting, may each take.
const CONNECT: Duration = Duration::from_secs(10);

/// The most that the head of a response may take, and that of the request without the user's own
/// headers, in bytes: many times what they do take. Buffers that hold little more are made in no
/// time.
const HEADER_LIMIT: usize = 16 * 1024;

/// The most of the request's body that is sent at once, in bytes.
const LARGEST_PIECE: usize = 128 * 1024;

const USER_AGENT: &str = concat!("haiku/", env!("CARGO_PKG_VERSION"));

/// The moment at which everything has to be done.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    seconds: f64,
}

impl Deadline {
    /// So many seconds from now.
    pub fn after(seconds: f64) -> Deadline {
        Deadline {
            started: Instant::now(),
            seconds,
        }
    }

    /// When the time began to run.
    pub fn started(self) -> Instant {
        self.started
    }

    /// What remains.
    pub fn left(self) -> Duration {
        Duration::from_secs_f64(self.seconds).saturating_sub(self.started.elapsed())
    }
}

/// The body of a response, as it arrives.
pub struct Body {
    reader: BodyReader<'static>,
    host: String,
    deadline: Deadline,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            let why = match Error::from(error) {
                Error::Timeout(_) => format!(
                    "timed out after {} s, waiting for the rest of the reply from {}",
                    self.deadline.seconds, self.host
                ),
                Error::Decompress(..) => "the reply is garbled: its compression is broken".into(),
                Error::Io(error) if error.kind() == io::ErrorKind::Interrupted => return error,
                Error::Io(_) | Error::BodyStalled => format!(
                    "the reply was cut off on its way: {} closed the connection",
                    self.host
                ),
                other => format!("the reply is garbled: {other}"),
            };
            io::Error::other(why)
        })
    }
}

/// Sends the request once and waits for the head of the response, whatever its status.
///
/// # Errors
/// Exit status 3 for a certificate that is not trusted, 4 for everything else that keeps a
/// response from coming.
pub fn send(
    account: &Account,
    body: &[u8],
    stream: bool,
    deadline: Deadline,
) -> Result<Answer<Body>, Failure> {
    let patience = CONNECT.min(deadline.left());
    let mut request = agent(account, body.len(), deadline)
        .post(&account.url)
        .header("Authorization", account.token.bearer())
        .header("Content-Type", "application/json");
    if stream {
        // A compressed stream would come in blocks, not as it is written.
        request = request.header("Accept-Encoding", "identity");
    }
    for (name, value) in &account.headers {
        request = request.header(name, value);
    }
    let response = request
        .send(body)
        .map_err(|error| no_response(error, &account.route(), patience, deadline))?;
    let (head, body) = response.into_parts();
    let text = |name: &str| head.headers.get(name)?.to_str().ok();
    Ok(Answer {
        status: head.status.as_u16(),
        content_type: text("content-type").unwrap_or_default().into(),
        hints: Hints::new(
            text("x-should-retry"),
            text("retry-after-ms"),
            text("retry-after"),
            SystemTime::now(),
        ),
        cache: text("cf-aig-cache-status").map(|text| account.token.blot(text)),
        log: text("cf-aig-log-id").map(|text| account.token.blot(text)),
        body: Body {
            reader: body.into_reader(),
            host: account.host.clone(),
            deadline,
        },
    })
}

/// Waits between two attempts.
pub fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// One connection for one attempt, so that a retry never meets a connection gone stale.
fn agent(account: &Account, body_length: usize, deadline: Deadline) -> Agent {
    let proxy = account.proxy.as_ref().map(|proxy| proxy.address.clone());
    let sizes = account
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let headers: usize = sizes.sum();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(USER_AGENT)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .max_response_header_size(HEADER_LIMIT)
        .input_buffer_size(2 * HEADER_LIMIT)
        .output_buffer_size(headers + body_length.clamp(HEADER_LIMIT, LARGEST_PIECE))
        .timeout_global(Some(deadline.left()))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .build()
        .into()
}

/// What it means that no response came; `patience` is how long connecting was allowed to take.
fn no_response(error: Error, host: &str, patience: Duration, deadline: Deadline) -> Failure {
    let transient = |what: String| Failure::new(Exit::Transient, what);
    let out_of_time = || {
        let seconds = deadline.seconds;
        transient(format!(
            "timed out after {seconds} s, waiting for an answer from {host}"
        ))
    };
    match error {
        Error::Timeout(Timeout::Resolve | Timeout::Connect) if patience == CONNECT => {
            let seconds = CONNECT.as_secs();
            transient(format!("timed out after {seconds} s, connecting to {host}"))
                .again(Again::Backoff)
        }
        Error::Timeout(_) => out_of_time(),
        _ if deadline.left().is_zero() => out_of_time(),
        Error::Io(error) => match tls_error(&error) {
            Some(error) => untrusted(error, host),
            None => transient(format!(
                "no connection to {host}: {}",
                crate::input::plain(&error)
            ))
            .again(Again::Backoff),
        },
        Error::Rustls(error) => untrusted(&error, host),
        Error::HostNotFound => {
            transient(format!("no connection to {host}: its name has no address"))
                .again(Again::Backoff)
        }
        Error::ConnectProxyFailed(why) if why.contains("407") => Failure::new(
            Exit::Refused,
            format!("no connection to {host}: the proxy wants a name and a password"),
        )
        .advice("put them into the proxy's address, http://name:password@host:port"),
        Error::ConnectProxyFailed(why) => {
            transient(format!("no connection to {host}: {why}")).again(Again::Backoff)
        }
        other => transient(format!("no usable answer from {host}: {other}")),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A failed handshake: a certificate is refused for good, anything else is a lost connection.
fn untrusted(error: &rustls::Error, host: &str) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(why) => {
            let why = distrust(why);
            Failure::new(
                Exit::Refused,
                format!("the certificate of {host} is not trusted: {why}"),
            )
            .advice("if it is your own, SSL_CERT_FILE names the certificate of its issuer")
        }
        rustls::Error::General(why) => Failure::new(
            Exit::Refused,
            format!("no certificate can be checked: {why}"),
        )
        .advice("install ca-certificates"),
        other => Failure::new(Exit::Transient, format!("no connection to {host}: {other}"))
            .again(Again::Backoff),
    }
}

fn distrust(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "its issuer is unknown here".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name".into()
        }
        other => other.to_string(),
    }
}
