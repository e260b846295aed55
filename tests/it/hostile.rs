//! Hostile servers: each ends in exit status 4, in bounded memory, without a panic.

use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::mock_server::{
    JSON, Server, Step, chunk, delta, event, event_stream, event_stream_head, events, http,
    json_response, message, raw_http,
};
use crate::support::{Folder, MALFORMED, TRUNCATED, ask, check, one_line, peak_kilobytes, process};

/// Far above what the program needs, far below what each of these servers sends.
const MAX_KILOBYTES: u64 = 150_000;

const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// How the error names an event without an end.
const ENDLESS_EVENT: &str = "event";

/// Asserts that the call fails as a temporary error, with `part` in its message and little memory.
#[track_caller]
fn survives(server: &Server, options: &[&str], part: &str) {
    let mut child = process(server)
        .args(["-n", "--retries", "0", "--timeout", "30"])
        .args(options)
        .arg("hi")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_kilobytes(child.id()).unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
    check(child.wait_with_output().unwrap()).code(4).stdout("").stderr(one_line(&[part]));
    assert!(peak < MAX_KILOBYTES, "{peak} kB");
}

/// Sends `start`, then `piece` again and again.
fn endless(start: Vec<u8>, piece: Vec<u8>) -> Server {
    Server::always(vec![Step::Send(start), Step::Repeat(piece)])
}

#[test]
fn endless_headers_end_the_call() {
    let long = b"HTTP/1.1 200 OK\r\nx-long: ".to_vec();
    survives(&endless(long, vec![b'a'; 8192]), &[], "header");
    let many = b"HTTP/1.1 200 OK\r\n".to_vec();
    survives(&endless(many, b"x-many: y\r\n".repeat(100)), &[], "header");
}

#[test]
fn an_endless_line_in_a_stream_ends_the_call() {
    for start in ["data:  ", " ", ":  "] {
        let start = [event_stream_head(), chunk(start)].concat();
        let server = endless(start, chunk(vec![b'a'; 60_000]));
        survives(&server, &["--stream"], ENDLESS_EVENT);
    }
}

#[test]
fn an_event_with_endless_lines_ends_the_call() {
    let line = chunk([&b"data: "[..], &vec![b'a'; 60_000], b"\n"].concat());
    for options in [&["--stream"][..], &["--stream", "--json"]] {
        let server = endless(event_stream_head(), line.clone());
        survives(&server, options, ENDLESS_EVENT);
    }
}

#[test]
fn an_endless_stream_of_pings_times_out() {
    // With --json, events before the first text are kept in memory for a while.
    let ping = chunk("event: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(1000));
    let options = ["--stream", "--json", "--timeout", "1"];
    survives(&endless(event_stream_head(), ping), &options, "timed out after 1 s");
}

#[test]
fn an_endless_reply_is_kept_up_to_32_mb() {
    let folder = Folder::new();
    let schema = folder.write("schema.json", "{}");
    let file = folder.path("reply.txt");
    let file = file.to_str().unwrap();
    let start = [event_stream_head(), chunk(events(&[], "end_turn")[..3].concat())].concat();
    let text = chunk(event(&delta(&"x".repeat(50_000))));
    for options in [
        &["--stream", "-o", file][..],
        &["--stream", "--json", "-o", file],
        &["--stream", "--schema", &schema],
        // A stream that was not asked for.
        &[],
        &["--json"],
        &["-o", file],
    ] {
        survives(&endless(start.clone(), text.clone()), options, "larger than 32 MB");
    }
    assert_eq!(folder.names(), ["schema.json"]);
}

#[test]
fn endless_events_before_the_first_text_are_kept_up_to_32_mb() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let server = endless(event_stream_head(), chunk(ping.repeat(10_000)));
    survives(&server, &["--json"], "larger than 32 MB");
}

#[test]
fn a_body_that_announces_a_gigabyte_is_not_buffered() {
    let announce = |length| raw_http(200, &[JSON, ("content-length", length)], "{\"content\":[");
    survives(&Server::sending(announce("1000000000")), &[], TRUNCATED);
    survives(&endless(announce("1000000000"), vec![b' '; 100_000]), &[], "32 MB");
    survives(&Server::sending(announce("99999999999999999999999")), &[], "127.0.0.1");
}

#[test]
fn deeply_nested_json_does_not_overflow_the_stack() {
    let deep = "[".repeat(1_000_000);
    for body in [
        deep.clone(),
        format!("{{\"a\":{deep}"),
        format!("{{\"content\":{deep}"),
        format!("{{\"content\":[{{\"type\":\"x\",\"a\":{deep}"),
        format!("{{\"errors\":{deep}{}}}", "]".repeat(1_000_000)),
        "{\"result\":".repeat(1_000_000),
        format!("{}1{}", "{\"result\":".repeat(10_000), "}".repeat(10_000)),
    ] {
        survives(&Server::json(200, body), &[], "haiku: ");
    }
    let event = format!("data: {{\"type\":\"error\",\"error\":{deep}\n\n");
    survives(&Server::sending(event_stream(&[event])), &["--stream"], "haiku: ");
    ask(&Server::json(400, format!("{{\"error\":{deep}")), &["hi"]).code(3);
}

#[test]
fn millions_of_small_values_take_bounded_memory() {
    let blocks = vec!["{\"type\":\"x\"}"; 500_000].join(",");
    let body = format!("{{\"content\":[{blocks}]}} ");
    let truncated = &json_response(200, body)[..5_000_000];
    survives(&Server::sending(truncated), &[], TRUNCATED);
    let errors = format!("{{\"errors\":[{}]}}", vec!["0"; 2_000_000].join(","));
    survives(&Server::json(200, errors), &[], "haiku: ");
    let numbers = format!("{{\"content\":[{}]}}", vec!["1"; 10_000_000].join(","));
    survives(&Server::json(200, numbers), &[], "10000000 content blocks");
    let properties: Vec<_> = (0..1_500_000).map(|n| format!("\"{n:x}\":1")).collect();
    let body = format!("{{{}}}", properties.join(","));
    survives(&Server::json(200, body), &[], "without a message");
}

#[test]
fn json_of_an_odd_shape_is_described_in_plain_words() {
    const SHAPE: &str = "haiku: malformed reply: JSON of an unexpected shape (line 1, column";
    let content = |block: &str| format!("{{\"content\":[{block}],\"stop_reason\":\"end_turn\"}}");
    let text = r#"{"type":"text","text":7}"#;
    survives(&Server::json(200, content(text)), &[], SHAPE);
    let delta = text.replace("\"text\",", "\"text_delta\",");
    let event = format!("event: content_block_delta\ndata: {{\"delta\":{delta}}}\n\n");
    survives(&Server::sending(event_stream(&[event])), &["--stream"], SHAPE);
}

#[test]
fn bodies_that_are_not_utf8_are_temporary_failures() {
    let replace = |text: String, from: &[u8]| {
        let mut bytes = text.into_bytes();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at + 1] = 0xff;
        bytes
    };
    let body = replace(message("x", "end_turn").to_string(), b"\"x\"");
    let stream = replace(events(&["a", "b"], "end_turn").concat(), b"\"a\"");
    let binary = vec![0xff; 1000];
    for (response, option, part) in [
        (json_response(200, body), "-n", MALFORMED),
        (json_response(200, &binary), "-n", "haiku: "),
        (json_response(503, &binary), "-n", "HTTP 503"),
        (http(200, &[EVENTS], stream), "--stream", MALFORMED),
    ] {
        survives(&Server::sending(response), &[option], part);
    }
}

#[test]
fn a_gzip_bomb_takes_bounded_memory() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..100 {
        bomb.write_all(&piece).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    for (status, content_type, option, part) in [
        (200, JSON, "-n", "32 MB"),
        (500, JSON, "-n", "HTTP 500"),
        (200, EVENTS, "--stream", ENDLESS_EVENT),
    ] {
        let response = http(status, &[content_type, GZIP], &bomb);
        survives(&Server::sending(response), &[option], part);
    }
}
