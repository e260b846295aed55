//! Where one attempt stands, and the moment at which every wait of its connection ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// The longest that it may take to resolve a name and connect, TLS and proxies included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Resolving a name, connecting, or agreeing with a proxy or on TLS.
    Connecting,
    Sending,
    /// The request is sent, and no byte of the response has arrived.
    Waiting,
    Receiving,
}

/// The progress of one attempt, and the moment at which every wait of its connection ends.
#[derive(Debug)]
pub struct Watch {
    deadline: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Instant,
    phase: Phase,
    sent: usize,
    received: usize,
    proxy_answer: String,
}

impl Watch {
    /// Starts connecting, for which [`CONNECT_TIMEOUT`] counts as well as the deadline.
    pub fn new(deadline: Instant) -> Arc<Watch> {
        Arc::new(Watch {
            deadline,
            state: Mutex::new(State {
                limit: deadline.min(Instant::now() + CONNECT_TIMEOUT),
                phase: Phase::Connecting,
                sent: 0,
                received: 0,
                proxy_answer: String::new(),
            }),
        })
    }

    /// When every wait ends.
    pub fn limit(&self) -> Instant {
        self.state().limit
    }

    /// Brings the limit forward.
    pub fn limit_to(&self, limit: Instant) {
        let mut state = self.state();
        state.limit = state.limit.min(limit);
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The bytes of the request that have been sent, or of the response that have arrived once some have,
    /// the heads included, without TLS.
    pub fn bytes(&self) -> usize {
        let state = self.state();
        if state.phase == Phase::Receiving { state.received } else { state.sent }
    }

    pub fn connected(&self) {
        let mut state = self.state();
        state.limit = self.deadline;
        state.phase = Phase::Sending;
    }

    pub fn add_sent(&self, length: usize) {
        self.state().sent += length;
    }

    pub fn request_is_sent(&self) {
        let mut state = self.state();
        if state.phase == Phase::Sending {
            state.phase = Phase::Waiting;
        }
    }

    pub fn add_received(&self, length: usize) {
        let mut state = self.state();
        state.received += length;
        state.phase = Phase::Receiving;
    }

    /// Keeps what a proxy has answered so far.
    pub fn proxy_answered(&self, answer: &[u8]) {
        self.state().proxy_answer = String::from_utf8_lossy(answer).into();
    }

    /// The head and the body of what a proxy has answered, as far as they came together.
    pub fn proxy_answer(&self) -> String {
        self.state().proxy_answer.clone()
    }

    /// The sooner of `timeout` and the limit.
    pub fn shorten(&self, timeout: NextTimeout) -> Result<NextTimeout, Error> {
        let state = self.state();
        let left = state.limit.saturating_duration_since(Instant::now());
        let is_connecting = state.phase == Phase::Connecting;
        let reason = if is_connecting { Timeout::Connect } else { Timeout::Global };
        if left.is_zero() {
            return Err(Error::Timeout(reason));
        }
        if *timeout.after <= left {
            return Ok(timeout);
        }
        Ok(NextTimeout { after: left.into(), reason, ..timeout })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_sooner_limit_counts() {
        let watch = Watch::new(Instant::now() + MINUTE);
        let shortened = watch.shorten(NextTimeout::default()).unwrap();
        assert!(*shortened.after <= CONNECT_TIMEOUT);
        assert_eq!(shortened.reason, Timeout::Connect);

        watch.connected();
        let soon = NextTimeout { after: Duration::from_millis(1).into(), ..NextTimeout::default() };
        assert_eq!(watch.shorten(soon).unwrap(), soon);

        watch.limit_to(Instant::now());
        watch.limit_to(Instant::now() + MINUTE);
        let result = watch.shorten(soon);
        assert!(matches!(result, Err(Error::Timeout(Timeout::Global))));
    }
}
