//! What is retried, and after which delay: the rules of the official SDKs, as functions of what is known.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use crate::error::Retry;

const BASE_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(8);

/// The documented rate limit counts by the minute, which two short retries would not outlast.
const RATE_LIMIT_BASE_DELAY: Duration = Duration::from_secs(2);
const RATE_LIMIT_MAX_DELAY: Duration = Duration::from_secs(32);

/// The part of a delay that chance may take away, so that many callers do not come back at once.
const JITTER: f64 = 0.25;

/// What the headers of a response say about retrying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryHeaders {
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
    /// `retry-after-ms` or `retry-after`.
    pub delay: Option<Duration>,
}

impl RetryHeaders {
    /// Reads the headers. A value that cannot be read, and a delay of zero, count as absent. A date
    /// is judged by the server's own clock, if it tells it.
    pub fn new<'a>(header: impl Fn(&str) -> Option<&'a str>) -> RetryHeaders {
        let number = |text: &str, unit: f64| {
            let number: f64 = text.trim().parse().ok()?;
            Duration::try_from_secs_f64(number * unit).ok()
        };
        let date = |text: &str| httpdate::parse_http_date(text.trim()).ok();
        let until = |text: &str| {
            let now = header("date").and_then(date).unwrap_or_else(SystemTime::now);
            date(text)?.duration_since(now).ok()
        };
        let in_ms = header("retry-after-ms").and_then(|text| number(text, 0.001));
        let in_seconds =
            || header("retry-after").and_then(|text| number(text, 1.0).or_else(|| until(text)));
        RetryHeaders {
            should_retry: match header("x-should-retry").map(str::trim) {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
            delay: in_ms.or_else(in_seconds).filter(|delay| !delay.is_zero()),
        }
    }

    /// How an error is retried, if `is_temporary` or the server says so.
    pub fn retry(self, is_rate_limit: bool, is_temporary: bool) -> Retry {
        match (self.should_retry.unwrap_or(is_temporary), self.delay) {
            (false, _) => Retry::Never,
            (true, Some(delay)) => Retry::After(delay),
            (true, None) if is_rate_limit => Retry::RateLimitBackoff,
            (true, None) => Retry::Backoff,
        }
    }
}

/// The delay before retry number `count` (from 0), or none if there is to be no delay and no retry:
/// `left` is what remains of `--timeout`, and `chance` a number from 0 to 1.
pub fn delay(retry: Retry, count: u32, left: Duration, chance: f64) -> Option<Duration> {
    let backoff = |base: Duration, max: Duration| {
        let doubled = base.saturating_mul(1 << count.min(10));
        doubled.min(max).mul_f64(1.0 - JITTER * chance)
    };
    let delay = match retry {
        Retry::Never => return None,
        Retry::After(delay) => delay,
        Retry::Backoff => backoff(BASE_DELAY, MAX_DELAY),
        Retry::RateLimitBackoff => backoff(RATE_LIMIT_BASE_DELAY, RATE_LIMIT_MAX_DELAY),
    };
    (delay < left).then_some(delay)
}

/// A number from 0 to 1: the standard library seeds its hash maps from the system's random source.
pub fn chance() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// A duration as messages give it: whole seconds, or two decimals.
pub fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn delays_double_up_to_a_limit_less_jitter() {
        for (retry, count, left, chance, expected) in [
            (Retry::Never, 0, MINUTE, 0.0, None),
            (Retry::Backoff, 0, MINUTE, 0.0, Some(500)),
            (Retry::Backoff, 0, MINUTE, 1.0, Some(375)),
            (Retry::Backoff, 1, MINUTE, 0.0, Some(1000)),
            (Retry::Backoff, 1, MINUTE, 0.5, Some(875)),
            (Retry::Backoff, 3, MINUTE, 0.0, Some(4000)),
            (Retry::Backoff, 9, MINUTE, 0.0, Some(8000)),
            (Retry::Backoff, 9, MINUTE, 1.0, Some(6000)),
            (Retry::Backoff, 0, ms(500), 0.0, None),
            (Retry::RateLimitBackoff, 0, MINUTE, 0.0, Some(2000)),
            (Retry::RateLimitBackoff, 4, MINUTE, 0.0, Some(32_000)),
            (Retry::RateLimitBackoff, 9, MINUTE, 1.0, Some(24_000)),
            (Retry::After(ms(1500)), 3, MINUTE, 1.0, Some(1500)),
            (Retry::After(ms(1500)), 0, ms(1500), 0.0, None),
            (Retry::After(ms(1500)), 0, ms(1501), 0.0, Some(1500)),
        ] {
            assert_eq!(
                delay(retry, count, left, chance),
                expected.map(ms),
                "{retry:?} {count}, {left:?} left, {chance}"
            );
        }
    }

    fn headers(list: &[(&str, &'static str)]) -> RetryHeaders {
        RetryHeaders::new(|name| {
            list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        })
    }

    #[test]
    fn the_delay_that_the_server_asks_for() {
        const NOW: (&str, &str) = ("date", "Mon, 23 Nov 2026 07:00:00 GMT");
        for (list, expected) in [
            (&[][..], None),
            (&[("retry-after-ms", "250"), ("retry-after", "9")], Some(ms(250))),
            (&[("retry-after-ms", "x"), ("retry-after", "9")], Some(ms(9000))),
            (&[("retry-after", " 1.5 ")], Some(ms(1500))),
            (&[NOW, ("retry-after", "Mon, 23 Nov 2026 07:00:30 GMT")], Some(ms(30_000))),
            (&[NOW, ("retry-after", "Mon, 23 Nov 2026 06:00:00 GMT")], None),
            (&[("retry-after", "Mon, 23 Nov 2020 06:00:00 GMT")], None),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "1e300")], None),
            (&[("retry-after", "soon")], None),
        ] {
            assert_eq!(headers(list).delay, expected, "{list:?}");
        }
    }

    #[test]
    fn x_should_retry_decides_if_present() {
        for (list, is_rate_limit, is_temporary, expected) in [
            (&[][..], false, true, Retry::Backoff),
            (&[], true, true, Retry::RateLimitBackoff),
            (&[], false, false, Retry::Never),
            (&[("x-should-retry", "true")], false, false, Retry::Backoff),
            (&[("x-should-retry", "false")], false, true, Retry::Never),
            (&[("x-should-retry", "perhaps")], false, true, Retry::Backoff),
            (&[("retry-after", "2")], true, true, Retry::After(ms(2000))),
            (&[("retry-after", "2")], false, false, Retry::Never),
        ] {
            let found = headers(list).retry(is_rate_limit, is_temporary);
            assert_eq!(found, expected, "{list:?} {is_rate_limit} {is_temporary}");
        }
    }
}
