//! One attempt: the request goes out over HTTP, and the head of the response comes back.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::endpoint::{Endpoint, USER_AGENT, accept_encoding};
use super::proxy::Proxy;
use super::retry::RetryHeaders;
use crate::error::{Error, Retry, reason, words_of_page};
use crate::network::resolver::Resolver;
use crate::network::watch::{CONNECT_TIMEOUT, Phase, Watch};
use crate::network::{certificates, connection};
use crate::request::Request;

/// How long the body of an error is waited for: its status is known, and decides.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most that the head of a response may take, 16 KB: many times what it does take.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The most that is read at once. A smaller buffer is made sooner, a larger one reads a long stream faster.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Room for the rest of the request's head: small buffers are made in no time.
const MIN_WRITE_BYTES: usize = 4 * 1024;

/// The most of the request's body that is sent at once.
const MAX_WRITE_BYTES: usize = 128 * 1024;

/// What a call may cost in time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub started: Instant,
    /// `--timeout`, over everything.
    pub timeout: Duration,
    /// `--retries`.
    pub retries: u32,
}

/// What is known of a response before its body.
#[derive(Debug, Default)]
pub struct Head {
    pub status: u16,
    /// Empty if the server does not say.
    pub content_type: String,
    /// A Content-Encoding that is left to decode, because it was not asked for.
    pub unknown_encoding: Option<String>,
    pub retry_headers: RetryHeaders,
    /// `cf-aig-cache-status`.
    pub cache_status: Option<String>,
    /// `cf-aig-log-id`.
    pub log_id: Option<String>,
    /// `cf-ray`.
    pub ray: Option<String>,
    /// `request-id`, the provider's.
    pub request_id: Option<String>,
    /// `cf-mitigated`: it is not the API that answers.
    pub is_challenge: bool,
}

#[derive(Debug)]
pub struct Response<R> {
    pub head: Head,
    /// A read that fails says why in words for the user. InvalidData means that what has come is not
    /// what was sent.
    pub body: R,
}

impl Limits {
    pub fn deadline(&self) -> Instant {
        self.started + self.timeout
    }

    pub fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }
}

/// The body of a response, as it arrives and decompressed.
pub struct Body {
    reader: Box<dyn Read>,
    host: String,
    limits: Limits,
    watch: Arc<Watch>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            let host = &self.host;
            io::Error::other(match ureq::Error::from(error) {
                ureq::Error::Timeout(_) => timed_out(self.limits, &self.watch, host),
                ureq::Error::Io(error) => match error.kind() {
                    ErrorKind::Interrupted => return error,
                    // What gzip or TLS finds wrong.
                    ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                        let why = format!("malformed reply: {error}");
                        return io::Error::new(ErrorKind::InvalidData, why);
                    }
                    ErrorKind::TimedOut | ErrorKind::HostUnreachable => {
                        let reason = reason(&error);
                        format!("truncated reply: lost the connection to {host}: {reason}")
                    }
                    _ => format!("truncated reply: {host} closed the connection"),
                },
                ureq::Error::BodyStalled => {
                    format!("truncated reply: {host} closed the connection")
                }
                // The other error is ours: a full buffer.
                ureq::Error::Protocol(_) | ureq::Error::Other(_) => {
                    "malformed reply: invalid chunked encoding".into()
                }
                other => format!("malformed reply: {other}"),
            })
        })
    }
}

/// Sends the request once and waits for the head of the response, whatever its status.
///
/// # Errors
/// Exit status 3 for a certificate that is not trusted and for what a proxy or TLS refuses, 4 for
/// everything else that keeps a response from coming.
pub fn send(
    endpoint: &Endpoint,
    request: &Request,
    limits: Limits,
    watch: &Arc<Watch>,
    tls: &TlsConfig,
) -> Result<Response<Body>, Error> {
    let mut post = agent(endpoint, request.body.len(), limits, watch, tls)
        .post(&endpoint.url)
        .header("Authorization", endpoint.token.bearer())
        .header("Accept-Encoding", accept_encoding(request.stream));
    for (name, value) in &endpoint.headers {
        post = post.header(name, value);
    }
    let response = post
        .send(&request.body[..])
        .map_err(|error| no_response(error, endpoint, limits, watch))?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        watch.limit_to(Instant::now() + ERROR_BODY_TIMEOUT);
    }
    let text = |name: &str| head.headers.get(name)?.to_str().ok();
    let encoding = text("content-encoding").unwrap_or_default();
    // RFC 9110, 8.4.1: names of content codings are case-insensitive, and x-gzip is gzip.
    let is = |names: &[&str]| names.iter().any(|name| encoding.eq_ignore_ascii_case(name));
    let reader = body.into_reader();
    let is_gzip = is(&["gzip", "x-gzip"]);
    let reader: Box<dyn Read> =
        if is_gzip { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    let is_known = is_gzip || is(&["", "identity"]);
    let head = Head {
        status: head.status.as_u16(),
        content_type: text("content-type").unwrap_or_default().into(),
        unknown_encoding: (!is_known).then(|| encoding.into()),
        retry_headers: RetryHeaders::new(text),
        cache_status: text("cf-aig-cache-status").map(Into::into),
        log_id: text("cf-aig-log-id").map(Into::into),
        ray: text("cf-ray").map(Into::into),
        request_id: text("request-id").map(Into::into),
        is_challenge: text("cf-mitigated").is_some(),
    };
    let body = Body { reader, host: endpoint.host.clone(), limits, watch: watch.clone() };
    Ok(Response { head, body })
}

/// One connection for one attempt, so that a retry never meets a stale one.
fn agent(
    endpoint: &Endpoint,
    body_length: usize,
    limits: Limits,
    watch: &Arc<Watch>,
    tls: &TlsConfig,
) -> Agent {
    let sizes = endpoint.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let own_head = endpoint.url.len() + endpoint.token.bearer().len() + sizes.sum::<usize>();
    let config = Agent::config_builder()
        .proxy(endpoint.proxy.as_ref().map(|proxy| proxy.address.clone()))
        // For a CONNECT request, which has no other headers.
        .user_agent(USER_AGENT)
        .tls_config(tls.clone())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEAD_BYTES)
        .input_buffer_size(MAX_READ_BYTES)
        .output_buffer_size(own_head + body_length.clamp(MIN_WRITE_BYTES, MAX_WRITE_BYTES))
        // For a SOCKS proxy, whose connection is not ours; all others end by the watch.
        .timeout_global(Some(limits.left()))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .build();
    let connector = connection::connector(watch, endpoint.proxy.is_some());
    Agent::with_parts(config, connector, Resolver(watch.clone()))
}

fn timed_out(limits: Limits, watch: &Watch, host: &str) -> String {
    let seconds = limits.timeout.as_secs_f64();
    let phase = match watch.phase() {
        Phase::Connecting => "connecting to",
        Phase::Sending => "sending to",
        Phase::Waiting => "waiting for",
        Phase::Receiving => "receiving from",
    };
    format!("timed out after {seconds} s while {phase} {host}; raise --timeout")
}

/// What it means that no response came.
fn no_response(error: ureq::Error, endpoint: &Endpoint, limits: Limits, watch: &Watch) -> Error {
    use ureq::Error as E;
    let host = &endpoint.route();
    let proxy = endpoint.proxy.as_ref();
    let name = proxy.map_or("", |proxy| &proxy.name);
    let is_connecting = watch.phase() == Phase::Connecting;
    let lost = |why: &str| {
        let what = if is_connecting { "cannot connect to" } else { "lost the connection to" };
        Error::temporary(format!("{what} {host}: {why}")).retry(Retry::Backoff)
    };
    let malformed = |why: &str| Error::temporary(format!("malformed response from {host}: {why}"));
    if let E::Io(error) = &error
        && let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref())
    {
        return certificates::handshake_failed(error, host);
    }
    match error {
        _ if limits.left().is_zero() => Error::temporary(timed_out(limits, watch, host)),
        E::Timeout(_) if is_connecting => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            Error::temporary(format!("timed out after {seconds} s while connecting to {host}"))
                .retry(Retry::Backoff)
        }
        E::Timeout(_) => Error::temporary(timed_out(limits, watch, host)),
        E::Io(error) => match socks_refusal(&error).filter(|_| is_connecting) {
            Some(why) => {
                Error::rejected(format!("the proxy {name} {}", why.replace("HOST", &endpoint.host)))
            }
            None => lost(&connection_lost(&error)),
        },
        E::HostNotFound => lost("host not found"),
        // ureq says "proxy server responded 407/407", or that it did not.
        E::ConnectProxyFailed(why) => match why.rsplit_once('/') {
            None => lost("the proxy did not answer"),
            Some((_, "407")) if proxy.is_some_and(Proxy::has_credentials) => Error::rejected(
                format!("the proxy {name} rejected the user name or password (HTTP 407)"),
            ),
            Some((_, "407")) => Error::rejected(format!(
                "cannot connect to {host}: the proxy requires authentication"
            ))
            .advice(
                "put the user name and password into the proxy URL, http://name:password@host:port",
            ),
            Some((_, status))
                if !status.starts_with('4') || ["408", "425", "429"].contains(&status) =>
            {
                lost(&format!("the proxy answered HTTP {status}"))
            }
            Some((_, status)) => {
                let message =
                    format!("the proxy {name} does not allow {} (HTTP {status})", endpoint.host);
                let error = Error::rejected(message);
                let answer = watch.proxy_answer();
                let words = answer.split_once("\r\n\r\n").map(|(_, page)| words_of_page(page));
                match words.filter(|words| !words.trim().is_empty()) {
                    Some(words) => error.server_message(words),
                    None => error,
                }
            }
        },
        E::Protocol(_) => malformed("invalid HTTP header"),
        E::LargeResponseHeader(..) => malformed("its HTTP header is larger than 16 KB"),
        other => malformed(&other.to_string()),
    }
}

/// The system's words, where the standard library hides them behind its own.
fn connection_lost(error: &io::Error) -> String {
    let reason = reason(error);
    match reason.strip_prefix("failed to lookup address information: ") {
        Some(words) if words.contains("Temporary") => words.into(),
        Some(_) => "host not found".into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it was closed without a response".into()
        }
        None => reason,
    }
}

/// What a SOCKS proxy will not do at the next attempt either, by ureq's words for it.
fn socks_refusal(error: &io::Error) -> Option<&'static str> {
    const REFUSALS: [(&str, &str); 5] = [
        ("password authentication failed", "rejected the user name or password"),
        ("no acceptable auth methods", "accepts none of the authentication methods offered"),
        ("unknown auth method", "accepts none of the authentication methods offered"),
        ("connection not allowed by ruleset", "does not allow HOST"),
        ("invalid response version", "does not speak this version of SOCKS"),
    ];
    let words = error.get_ref()?.to_string();
    REFUSALS.iter().find(|(known, _)| *known == words).map(|(_, why)| *why)
}
