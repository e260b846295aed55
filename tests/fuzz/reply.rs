//! Any response at all gives a reply or a failure, and nothing is written of what fails at once.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/body.rs"]
mod body;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/input.rs"]
mod input;
#[path = "../../src/output.rs"]
mod output;
#[path = "../../src/random.rs"]
mod random;
#[path = "../../src/refusal.rs"]
mod refusal;
#[path = "../../src/replace.rs"]
mod replace;
#[path = "../../src/response.rs"]
mod response;
#[path = "../../src/retry.rs"]
mod retry;
#[path = "../../src/sse.rs"]
mod sse;
#[path = "../../src/stream.rs"]
mod stream;

use std::path::Path;

use libfuzzer_sys::fuzz_target;

use response::{Answer, Asked, Form, Reply};

const CONTEXT: refusal::Context<'_> = refusal::Context {
    model: "anthropic/claude-haiku-4.5",
    token_source: "CLOUDFLARE_API_TOKEN",
};

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, status, body) = input;
    let form = [Form::Text, Form::Json, Form::JsonLines][usize::from(kind % 3)];
    let content_type = ["application/json", "text/event-stream"][usize::from(kind / 3 % 2)];
    let answer = Answer {
        status: if kind & 0x80 == 0 { 200 } else { status },
        content_type: content_type.into(),
        hints: retry::Hints::default(),
        cache: None,
        log: None,
        body,
    };
    let asked = Asked {
        form,
        judges_json: kind & 0x40 != 0,
        context: CONTEXT,
    };
    let Ok(mut output) = output::Output::new(Some(Path::new("/dev/null"))) else {
        return;
    };
    let mut reply = Reply::default();
    match response::read(answer, asked, &mut output, &mut reply) {
        Ok(()) => {
            let verdict = reply.verdict(form);
            let _ = output.finish(verdict.is_ok());
        }
        Err(failure) => {
            let line = failure.to_string();
            assert!(!line.is_empty() && line.chars().count() < 1000, "{line}");
            assert!(matches!(failure.exit, error::Exit::Refused | error::Exit::Transient));
            if content_type == "application/json" {
                assert!(!output.has_begun());
            }
        }
    }
});
