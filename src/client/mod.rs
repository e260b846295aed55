//! The HTTP client: sends the request, retries what may succeed later, and hands over the response.

pub mod endpoint;
pub mod proxy;
mod retry;
mod status;
pub mod token;
mod transport;

use std::thread;

use ureq::tls::TlsConfig;

use crate::error::{Error, ExitStatus, Retry};
use crate::network::certificates;
use crate::network::watch::Watch;
use crate::output::stderr::Reporter;
use crate::request::Request;
use endpoint::Endpoint;
pub use retry::RetryHeaders;
use status::Status;
pub use transport::{Head, Limits, Response};

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
    let tls = if endpoint.is_https { certificates::tls_config()? } else { TlsConfig::default() };
    let status = Status::new(&endpoint.host, request.body.len(), limits.started);
    let shown = status.clone();
    reporter.progress.start(move || shown.line());
    let mut retries = 0;
    loop {
        let watch = Watch::new(limits.deadline());
        status.attempt(&watch);
        let result = transport::send(endpoint, request, limits, &watch, &tls).and_then(&mut read);
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
    if let Some(advice) = error.token_advice {
        error = error.advice(format!("check the token in {}{advice}", endpoint.token.source));
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
