//! The HTTP client: sends the request, retries what may succeed later, and hands over the response.

mod bounded_file;
mod connection;
pub mod endpoint;
pub mod proxy;
mod resolver;
mod retry;
mod socket;
mod status;
mod tls;
pub mod token;
mod transport;
mod trust;

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ExitStatus, Retry};
use crate::output::stderr::Reporter;
use crate::request::Request;
use connection::Watch;
use endpoint::Endpoint;
pub use retry::RetryHeaders;
use status::Status;

/// What a call may cost in time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub started: Instant,
    /// `--timeout`, over everything.
    pub timeout: Duration,
    /// `--retries`.
    pub retries: u32,
}

/// A response: what is known before its body, and the body.
#[derive(Debug)]
pub struct Response<R> {
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

/// Sends the request until `read` has made something of a response, or an error is final.
///
/// # Errors
/// The error of the last attempt.
pub fn call<T>(
    endpoint: &Endpoint,
    request: &Request,
    limits: Limits,
    reporter: &Reporter,
    mut read: impl FnMut(Response<transport::Body>) -> Result<T, Error>,
) -> Result<T, Error> {
    let status = Status::new(&endpoint.host, request.body.len(), limits.started);
    let shown = status.clone();
    reporter.progress.start(move || shown.line());
    let mut retries = 0;
    loop {
        let watch = Watch::new(limits.deadline());
        status.attempt(&watch);
        let result = transport::send(endpoint, request, limits, &watch).and_then(&mut read);
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let delay = retry::delay(error.retry, retries, limits.left(), retry::chance());
        let Some(delay) = delay.filter(|_| retries < limits.retries) else {
            return Err(explain(error, endpoint, retries, limits));
        };
        retries += 1;
        reporter.retry(&format!(
            "{error}; retrying in {} ({retries} of {})",
            retry::seconds(delay),
            limits.retries
        ));
        status.retry_in(delay);
        thread::sleep(delay);
    }
}

/// Adds what is only known, or only worth saying, once the error is final.
fn explain(mut error: Error, endpoint: &Endpoint, retries: u32, limits: Limits) -> Error {
    if error.is_about_token {
        let source = &endpoint.token.source;
        error = error.advice(format!(
            "check the token in {source}: it needs the permission Workers AI Read"
        ));
    }
    if let Retry::After(delay) = error.retry {
        let too_long = if delay >= limits.left() { ", longer than --timeout leaves" } else { "" };
        error =
            error.advice(format!("the server asks to wait {}{too_long}", retry::seconds(delay)));
    }
    match (error.status, retries) {
        (ExitStatus::Rejected | ExitStatus::Temporary, 1) => error.advice("gave up after 1 retry"),
        (ExitStatus::Rejected | ExitStatus::Temporary, 2..) => {
            error.advice(format!("gave up after {retries} retries"))
        }
        _ => error,
    }
}
