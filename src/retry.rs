//! What is tried again, and when: the rules of the official SDKs, as functions of what is known.

use std::time::{Duration, SystemTime};

use crate::error::{Again, Failure};

/// The first pause of our own choosing; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause of our own choosing.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The part of a pause that chance may take away, so that many callers do not come back at once.
const JITTER: f64 = 0.25;

/// What is done after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this pause.
    Wait(Duration),
    /// It ends here.
    GiveUp,
}

/// What the headers of a response say about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
    /// `retry-after-ms` or `retry-after`.
    pub pause: Option<Duration>,
}

impl Hints {
    /// Reads the three headers. A value that cannot be read, and a pause of nothing, count as
    /// absent.
    pub fn new(
        should_retry: Option<&str>,
        after_ms: Option<&str>,
        after: Option<&str>,
        now: SystemTime,
    ) -> Hints {
        let seconds = |text: &str, unit: f64| {
            let number: f64 = text.trim().parse().ok()?;
            Duration::try_from_secs_f64(number * unit).ok()
        };
        let date = |text: &str| {
            httpdate::parse_http_date(text.trim())
                .ok()?
                .duration_since(now)
                .ok()
        };
        let pause = after_ms
            .and_then(|text| seconds(text, 0.001))
            .or_else(|| after.and_then(|text| seconds(text, 1.0).or_else(|| date(text))))
            .filter(|pause| !pause.is_zero());
        Hints {
            should_retry: match should_retry.map(str::trim) {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            },
            pause,
        }
    }

    /// Whether a refusal is tried again; `transient` is whether its kind passes by itself.
    pub fn again(self, transient: bool) -> Again {
        match (self.should_retry.unwrap_or(transient), self.pause) {
            (false, _) => Again::Never,
            (true, Some(pause)) => Again::After(pause),
            (true, None) => Again::Backoff,
        }
    }
}

/// Decides after an attempt that failed: `tried_again` counts the retries so far, `allowed` is
/// `--retries`, `left` what remains of `--timeout`, and `chance` a random number from 0 to 1.
pub fn next(again: Again, tried_again: u32, allowed: u32, left: Duration, chance: f64) -> Next {
    let pause = match again {
        Again::Never => return Next::GiveUp,
        Again::After(pause) => pause,
        Again::Backoff => {
            let doubled = FIRST_PAUSE.saturating_mul(1 << tried_again.min(10));
            doubled.min(LONGEST_PAUSE).mul_f64(1.0 - JITTER * chance)
        }
    };
    if tried_again >= allowed || pause >= left {
        return Next::GiveUp;
    }
    Next::Wait(pause)
}

/// Names the pause that the server asked for, where the failure is final.
pub fn name_pause(failure: Failure, left: Duration) -> Failure {
    let Again::After(pause) = failure.again else {
        return failure;
    };
    let too_long = if pause >= left {
        ", longer than --timeout leaves"
    } else {
        ""
    };
    failure.advice(format!(
        "the server asks to wait {}{too_long}",
        in_seconds(pause)
    ))
}

/// A duration as a message gives it: whole seconds, or two decimals.
pub fn in_seconds(duration: Duration) -> String {
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
    fn the_table() {
        let after = Again::After(ms(1500));
        for (again, tried_again, allowed, left, chance, expected) in [
            (Again::Never, 0, 2, MINUTE, 0.0, Next::GiveUp),
            (Again::Backoff, 0, 0, MINUTE, 0.0, Next::GiveUp),
            (Again::Backoff, 2, 2, MINUTE, 0.0, Next::GiveUp),
            (Again::Backoff, 0, 2, MINUTE, 0.0, Next::Wait(ms(500))),
            (Again::Backoff, 0, 2, MINUTE, 1.0, Next::Wait(ms(375))),
            (Again::Backoff, 1, 2, MINUTE, 0.0, Next::Wait(ms(1000))),
            (Again::Backoff, 1, 2, MINUTE, 0.5, Next::Wait(ms(875))),
            (Again::Backoff, 3, 10, MINUTE, 0.0, Next::Wait(ms(4000))),
            (Again::Backoff, 9, 10, MINUTE, 0.0, Next::Wait(ms(8000))),
            (Again::Backoff, 9, 10, MINUTE, 1.0, Next::Wait(ms(6000))),
            (Again::Backoff, 0, 2, ms(500), 0.0, Next::GiveUp),
            (after, 0, 2, MINUTE, 1.0, Next::Wait(ms(1500))),
            (after, 2, 2, MINUTE, 0.0, Next::GiveUp),
            (after, 0, 2, ms(1500), 0.0, Next::GiveUp),
            (after, 0, 2, ms(1501), 0.0, Next::Wait(ms(1500))),
        ] {
            assert_eq!(
                next(again, tried_again, allowed, left, chance),
                expected,
                "{again:?} {tried_again} of {allowed}, {left:?} left, {chance}"
            );
        }
    }

    #[test]
    fn pauses_the_server_asks_for() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 07:00:00 GMT").unwrap();
        for (after_ms, after, expected) in [
            (None, None, None),
            (Some("250"), Some("9"), Some(ms(250))),
            (Some("x"), Some("9"), Some(ms(9000))),
            (None, Some(" 1.5 "), Some(ms(1500))),
            (
                None,
                Some("Mon, 23 Nov 2026 07:00:30 GMT"),
                Some(ms(30_000)),
            ),
            (None, Some("Mon, 23 Nov 2026 06:00:00 GMT"), None),
            (None, Some("0"), None),
            (None, Some("-1"), None),
            (None, Some("NaN"), None),
            (None, Some("1e300"), None),
            (None, Some("soon"), None),
        ] {
            let hints = Hints::new(None, after_ms, after, now);
            assert_eq!(hints.pause, expected, "{after_ms:?} {after:?}");
        }
    }

    #[test]
    fn a_final_failure_names_the_pause() {
        let named = |pause, left| {
            let failure = Failure::usage("x").again(Again::After(ms(pause)));
            name_pause(failure, ms(left)).to_string()
        };
        assert_eq!(named(2000, 3000), "x; the server asks to wait 2 s");
        assert_eq!(
            named(1250, 1250),
            "x; the server asks to wait 1.25 s, longer than --timeout leaves"
        );
        assert_eq!(name_pause(Failure::usage("x"), ms(0)).to_string(), "x");
    }

    #[test]
    fn x_should_retry_decides_where_present() {
        let now = SystemTime::UNIX_EPOCH;
        for (header, transient, expected) in [
            (None, true, Again::Backoff),
            (None, false, Again::Never),
            (Some("true"), false, Again::Backoff),
            (Some("false"), true, Again::Never),
            (Some("perhaps"), true, Again::Backoff),
        ] {
            let hints = Hints::new(header, None, None, now);
            assert_eq!(hints.again(transient), expected, "{header:?} {transient}");
        }
        let hints = Hints::new(None, None, Some("2"), now);
        assert_eq!(hints.again(true), Again::After(ms(2000)));
        assert_eq!(hints.again(false), Again::Never);
    }
}
