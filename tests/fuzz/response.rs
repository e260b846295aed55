//! Any response is a reply or an error, and nothing is printed of what fails at once.

#![no_main]
#![allow(dead_code)]

include!("modules.rs");

use std::path::Path;

use libfuzzer_sys::fuzz_target;

use client::{Head, Response};
use error::{ExitStatus, hide};
use output::progress::Progress;
use output::{Output, OutputFormat};
use response::{Reading, Reply};

const SECRET: &str = "t0ken-that-nothing-may-show";

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, status, body) = input;
    let formats = [OutputFormat::Text, OutputFormat::Json, OutputFormat::JsonLines];
    let format = formats[usize::from(kind % 3)];
    let content_type = ["application/json", "text/event-stream"][usize::from(kind / 3 % 2)];
    let head = Head {
        status: if kind & 0x80 == 0 { 200 } else { status },
        content_type: content_type.into(),
        ..Head::default()
    };
    let response = Response { head, body };
    hide(SECRET);
    let reading = Reading { format, stream: kind & 0x20 != 0 };
    let mut output = Output::open(Some(Path::new("/dev/null")), Progress::default()).unwrap();
    let mut reply = Reply::new(kind & 0x40 != 0);
    match response::read(response, reading, &mut output, &mut reply) {
        Ok(()) => {
            let verdict = reply.verdict(format, b"{}");
            output.finish(verdict.is_ok()).unwrap();
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && line.chars().count() < 1000, "{line}");
            assert!(!line.contains(SECRET), "{line}");
            assert!(matches!(error.status, ExitStatus::Rejected | ExitStatus::Temporary));
            if content_type == "application/json" {
                assert!(!output.has_output());
            }
        }
    }
});
