//! What a call is doing, in the words of the progress line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::network::watch::{Phase, Watch};

/// Shared between the call and the progress line.
#[derive(Debug)]
pub struct Status {
    host: String,
    body_bytes: usize,
    started: Instant,
    activity: Mutex<Activity>,
}

#[derive(Debug)]
enum Activity {
    Attempting(Arc<Watch>),
    Retrying(Instant),
}

impl Status {
    pub fn new(host: &str, body_bytes: usize, started: Instant) -> Arc<Status> {
        Arc::new(Status {
            host: host.into(),
            body_bytes,
            started,
            activity: Mutex::new(Activity::Retrying(started)),
        })
    }

    pub fn attempt(&self, watch: &Arc<Watch>) {
        self.set(Activity::Attempting(watch.clone()));
    }

    pub fn retry_in(&self, delay: Duration) {
        self.set(Activity::Retrying(Instant::now() + delay));
    }

    fn set(&self, activity: Activity) {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }

    /// What is happening now.
    pub fn line(&self) -> String {
        let now = Instant::now();
        match &*self.activity.lock().unwrap_or_else(PoisonError::into_inner) {
            Activity::Attempting(watch) => {
                self.attempting(watch.phase(), watch.bytes(), now - self.started)
            }
            Activity::Retrying(until) => {
                let left = until.saturating_duration_since(now);
                format!("retrying in {} s", left.as_secs_f64().ceil())
            }
        }
    }

    fn attempting(&self, phase: Phase, bytes: usize, elapsed: Duration) -> String {
        let (host, seconds) = (&self.host, elapsed.as_secs());
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        match phase {
            Phase::Connecting => format!("connecting to {host}, {seconds} s"),
            Phase::Sending => format!(
                "sending {:.1} of {:.1} MB",
                megabytes(bytes.min(self.body_bytes)),
                megabytes(self.body_bytes)
            ),
            Phase::Waiting => format!("waiting for {host}, {seconds} s"),
            Phase::Receiving if bytes < 1_000_000 => {
                format!("receiving, {} KB, {seconds} s", bytes.div_ceil(1000))
            }
            Phase::Receiving => format!("receiving, {:.1} MB, {seconds} s", megabytes(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_words() {
        let status = Status::new("api.test", 27_123_456, Instant::now());
        for (phase, bytes, expected) in [
            (Phase::Connecting, 0, "connecting to api.test, 12 s"),
            (Phase::Sending, 12_345_678, "sending 12.3 of 27.1 MB"),
            (Phase::Sending, 27_123_999, "sending 27.1 of 27.1 MB"),
            (Phase::Waiting, 9, "waiting for api.test, 12 s"),
            (Phase::Receiving, 47_001, "receiving, 48 KB, 12 s"),
            (Phase::Receiving, 2_000_000, "receiving, 2.0 MB, 12 s"),
        ] {
            let elapsed = Duration::from_millis(12_900);
            assert_eq!(status.attempting(phase, bytes, elapsed), expected);
        }
        status.retry_in(Duration::from_millis(2100));
        assert_eq!(status.line(), "retrying in 3 s");
    }
}
