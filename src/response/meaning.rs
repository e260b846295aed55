//! What an error that a server reports means: one table, wherever the error stood.

use std::ops::RangeInclusive;

use super::api_error::ApiError;
use crate::client::RetryHeaders;
use crate::error::{Error, ExitStatus, Retry};

/// What a row goes by.
#[derive(Clone, Debug)]
enum By {
    Anything,
    Code(RangeInclusive<i64>),
    /// This code, with an HTTP status of 5xx.
    CodeAt5xx(i64),
    /// Anthropic's `type`.
    Type(&'static str),
    /// The HTTP status, unless it is 2xx: that one says nothing of the error inside.
    Status(RangeInclusive<u16>),
    /// This HTTP status, and no words.
    Wordless(u16),
    /// The header `cf-mitigated`.
    Challenge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Final, whatever `x-should-retry` says.
    Final,
    /// Final, unless `x-should-retry` says otherwise.
    Rejected,
    /// Retried, unless the response had begun as a success.
    Temporary,
    /// Retried even then, as long as nothing of the reply has come.
    Overload,
    /// The same, with longer delays.
    RateLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    Nothing,
    Do(&'static str),
    /// To check the token; the text follows its source.
    Token(&'static str),
}

use Advice::{Do, Nothing, Token};
use By::{Anything, Challenge, Code, CodeAt5xx, Status, Type, Wordless};
use Class::{Final, Overload, RateLimit, Rejected, Temporary};

const PERMISSION: Advice = Token(": it needs the permission Workers AI Read");
const GATEWAY: Advice = Do(
    "check --gateway or CLOUDFLARE_GATEWAY_ID; only the gateway named \"default\" is created automatically",
);
const PROVIDER_KEY: Advice =
    Do("check the provider key stored in the gateway, or the gateway's own authentication");
const NO_CREDENTIAL: Advice = Do("load credits, or store a provider key in the gateway");
const CREDITS: Advice =
    Do("load credits at dash.cloudflare.com under AI > AI Gateway > Credits Available > Manage");
const SPENDING: Advice = Do("raise the limit at dash.cloudflare.com under AI > AI Gateway");
const ACCOUNT: Advice = Do("check the account ID");
const MODEL: Advice = Do("check --model");
const RETIRED: Advice = Do("choose another --model");
const SIZE: Advice = Do("send less: the API's limit is 32 MB");
const BLOCKED: Advice = Do("Cloudflare blocked this client or network, whatever the token");

/// The first row that fits decides, so that of several codes a final one counts before a temporary
/// one. A row with words fits only if the message has them.
#[rustfmt::skip]
const TABLE: &[(By, &str, Class, Advice)] = &[
    (Anything,                     "spending limit",   Final,     SPENDING),
    (Anything,                     "spend limit",      Final,     SPENDING),
    (Code(2041..=2041),            "",                 Final,     SPENDING),
    (Code(2045..=2045),            "",                 Final,     SPENDING),
    (Code(6003..=6003),            "",                 Rejected,  Token("")),
    (Code(6100..=6111),            "",                 Rejected,  Token("")),
    (Code(9106..=9106),            "",                 Rejected,  PERMISSION),
    (Code(9109..=9109),            "",                 Rejected,  PERMISSION),
    (Code(10000..=10000),          "",                 Rejected,  PERMISSION),
    (Code(2001..=2001),            "",                 Rejected,  GATEWAY),
    // Cloudflare's own credential was rejected, not the caller's.
    (CodeAt5xx(2009),              "",                 Temporary, Nothing),
    (Code(2009..=2009),            "",                 Rejected,  PROVIDER_KEY),
    (Code(2021..=2021),            "rate limit",       RateLimit, Nothing),
    (Code(2021..=2021),            "",                 Rejected,  CREDITS),
    (Code(7000..=7000),            "",                 Rejected,  ACCOUNT),
    (Code(7003..=7003),            "",                 Rejected,  ACCOUNT),
    (Code(7010..=7010),            "",                 Rejected,  RETIRED),
    (Code(1010..=1010),            "",                 Rejected,  BLOCKED),
    (Code(2016..=2017),            "",                 Rejected,  Nothing),
    (Code(2003..=2003),            "",                 RateLimit, Nothing),
    (Code(2018..=2018),            "",                 RateLimit, Nothing),
    (Code(7013..=7013),            "",                 Temporary, Nothing),

    (Type("authentication_error"), "",                 Rejected,  NO_CREDENTIAL),
    (Type("permission_error"),     "",                 Rejected,  Nothing),
    (Type("billing_error"),        "rate limit",       RateLimit, Nothing),
    (Type("billing_error"),        "",                 Rejected,  CREDITS),
    (Type("not_found_error"),      "",                 Rejected,  MODEL),
    (Type("invalid_request_error"), "credentials",     Rejected,  NO_CREDENTIAL),
    (Type("invalid_request_error"), "",                Rejected,  Nothing),
    (Type("request_too_large"),    "",                 Rejected,  SIZE),
    (Type("rate_limit_error"),     "",                 RateLimit, Nothing),
    (Type("overloaded_error"),     "",                 Overload,  Nothing),
    (Type("api_error"),            "",                 Temporary, Nothing),
    (Type("timeout_error"),        "",                 Temporary, Nothing),

    (Challenge,                    "",                 Rejected,  BLOCKED),
    (Status(400..=599),            "just a moment...", Rejected,  BLOCKED),
    (Status(400..=599),            "error code: 1010", Rejected,  BLOCKED),
    (Status(400..=400),            "credentials",      Rejected,  NO_CREDENTIAL),
    (Status(401..=401),            "",                 Rejected,  PERMISSION),
    (Status(402..=402),            "rate limit",       RateLimit, Nothing),
    (Status(402..=402),            "",                 Rejected,  CREDITS),
    (Wordless(403),                "",                 Rejected,  PERMISSION),
    (Status(404..=404),            "model not found",  Rejected,  MODEL),
    (Status(404..=404),            "",                 Rejected,  Do("check --model and the account ID")),
    (Status(408..=409),            "",                 Temporary, Nothing),
    (Status(410..=410),            "",                 Rejected,  RETIRED),
    (Status(413..=413),            "",                 Rejected,  SIZE),
    (Status(429..=429),            "",                 RateLimit, Nothing),
    (Status(400..=499),            "",                 Rejected,  Nothing),
    (Anything,                     "",                 Temporary, Nothing),
];

impl ApiError {
    fn fits(&self, by: &By, status: u16) -> bool {
        match by {
            Anything => true,
            Code(codes) => self.codes.iter().any(|code| codes.contains(code)),
            CodeAt5xx(code) => self.codes.contains(code) && (500..600).contains(&status),
            Type(kind) => self.kinds.iter().any(|known| known == kind),
            Status(statuses) => statuses.contains(&status),
            Wordless(only) => *only == status && self.is_wordless,
            Challenge => self.is_challenge,
        }
    }

    /// The error that was reported in a response of this HTTP status; `what` begins its line.
    pub fn into_error(self, what: impl Into<String>, status: u16, headers: RetryHeaders) -> Error {
        let words = self.words();
        let lower = words.to_lowercase();
        let row =
            TABLE.iter().find(|(by, words, ..)| self.fits(by, status) && lower.contains(words));
        let (class, advice) =
            row.map_or((Temporary, Nothing), |(_, _, class, advice)| (*class, *advice));
        let has_begun = status < 400;
        let retry = match class {
            Final => Retry::Never,
            Rejected | Temporary if has_begun => Retry::Never,
            Rejected => headers.retry(false, false),
            Temporary | Overload => headers.retry(status == 429, true),
            RateLimit => headers.retry(true, true),
        };
        let exit = match class {
            Final | Rejected => ExitStatus::Rejected,
            Temporary | Overload | RateLimit => ExitStatus::Temporary,
        };
        let mut error = Error::new(exit, what).server_message(words).retry(retry);
        match advice {
            Nothing => {}
            Do(advice) => return error.advice(advice),
            Token(advice) => error.token_advice = Some(advice),
        }
        error
    }
}
