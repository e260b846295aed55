//! Servers that mean harm: each ends with exit status 4, in bounded memory, without a panic.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::server::{
    Server, Step, chunk, event_stream_head, events, head, http, json_response, message,
};
use crate::{ask, process};

/// Far above what the program needs, far below what each of these servers would have it keep.
const MOST_KILOBYTES: u64 = 150_000;

/// Runs the program against `server` and asserts that it fails as one that may work later, and
/// says `says`; gives its peak memory in kilobytes.
#[track_caller]
fn survives(server: &Server, args: &[&str], says: &str) {
    let mut child = process(server)
        .args(["-n", "--retries", "0", "--timeout", "30", "hi"])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_kilobytes(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains(says), "{says:?} in {err}");
    assert!(peak < MOST_KILOBYTES, "{peak} kilobytes");
}

fn peak_kilobytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn an_endless_header() {
    let start = Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    let server = Server::always(vec![
        start.clone(),
        Step::Send(b"x-long: ".to_vec()),
        Step::Repeat(vec![b'a'; 8192]),
    ]);
    survives(&server, &[], "header");
    let server = Server::always(vec![start, Step::Repeat(b"x-many: y\r\n".repeat(100))]);
    survives(&server, &[], "header");
}

#[test]
fn an_endless_line_in_a_stream() {
    let piece = chunk(vec![b'a'; 60_000]);
    for begin in ["data: ", "", ": "] {
        let steps = vec![
            Step::Send(event_stream_head()),
            Step::Send(chunk(format!("{begin} "))),
            Step::Repeat(piece.clone()),
        ];
        survives(
            &Server::always(steps),
            &["--stream"],
            "an event in it has no end",
        );
    }
}

#[test]
fn an_event_of_100_mb() {
    let line = chunk([&b"data: "[..], &vec![b'a'; 60_000], b"\n"].concat());
    for args in [&["--stream"][..], &["--stream", "--json"]] {
        let steps = vec![Step::Send(event_stream_head()), Step::Repeat(line.clone())];
        survives(&Server::always(steps), args, "an event in it has no end");
    }
}

#[test]
fn an_endless_stream_that_never_begins() {
    // Pings are kept back for JSON Lines only for so long.
    let ping = chunk("event: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(1000));
    let steps = vec![Step::Send(event_stream_head()), Step::Repeat(ping)];
    let server = Server::always(steps);
    survives(
        &server,
        &["--stream", "--json", "--timeout", "1"],
        "timed out after 1 s",
    );
}

#[test]
fn one_gigabyte_declared() {
    let declared = |bytes: &str| {
        let mut response = head(
            200,
            &[
                ("content-type", "application/json"),
                ("content-length", bytes),
            ],
        );
        response.extend_from_slice(b"\r\n{\"content\":[");
        response
    };
    // Declared, and not sent.
    survives(&Server::sending(declared("1000000000")), &[], "cut off");
    // Declared, and sent.
    let steps = vec![
        Step::Send(declared("1000000000")),
        Step::Repeat(vec![b' '; 100_000]),
    ];
    survives(&Server::always(steps), &[], "over 32 MB");
    survives(
        &Server::sending(declared("99999999999999999999999")),
        &[],
        "127.0.0.1",
    );
}

#[test]
fn deep_nesting() {
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
        survives(&Server::sending(json_response(200, body)), &[], "haiku: ");
    }
    let event = format!("data: {{\"type\":\"error\",\"error\":{deep}\n\n");
    let mut stream = event_stream_head();
    stream.extend(chunk(event));
    survives(&Server::sending(stream), &["--stream"], "haiku: ");
    ask(
        &Server::sending(json_response(400, format!("{{\"error\":{deep}"))),
        &["hi"],
    )
    .ends(3);
}

#[test]
fn many_small_things() {
    let blocks = format!(
        "{{\"content\":[{}]}}",
        vec!["{\"type\":\"x\"}"; 500_000].join(",")
    );
    survives(
        &Server::sending(json_response(200, format!("{blocks} "))[..5_000_000].to_vec()),
        &[],
        "cut off",
    );
    let errors = format!("{{\"errors\":[{}]}}", vec!["0"; 2_000_000].join(","));
    survives(&Server::sending(json_response(200, errors)), &[], "haiku: ");
}

#[test]
fn invalid_utf8() {
    let mut body = message("x", "end_turn").to_string().into_bytes();
    let at = body.iter().position(|byte| *byte == b'x').unwrap();
    body[at] = 0xff;
    survives(&Server::sending(json_response(200, body)), &[], "garbled");
    survives(
        &Server::sending(json_response(200, vec![0xff; 1000])),
        &[],
        "page",
    );
    survives(
        &Server::sending(json_response(503, vec![0xff; 1000])),
        &[],
        "HTTP 503",
    );
    let mut stream = events(&["a", "b"], "end_turn").concat().into_bytes();
    let at = stream
        .windows(3)
        .position(|window| window == b"\"a\"")
        .unwrap()
        + 1;
    stream[at] = 0xff;
    survives(
        &Server::sending(http(200, &[("content-type", "text/event-stream")], stream)),
        &["--stream"],
        "haiku: ",
    );
}

#[test]
fn a_gzip_bomb() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let piece = vec![b' '; 1 << 20];
    for _ in 0..100 {
        bomb.write_all(&piece).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let json = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    survives(&Server::sending(http(200, &json, &bomb)), &[], "over 32 MB");
    survives(&Server::sending(http(500, &json, &bomb)), &[], "HTTP 500");
    let stream = [
        ("content-type", "text/event-stream"),
        ("content-encoding", "gzip"),
    ];
    survives(
        &Server::sending(http(200, &stream, &bomb)),
        &["--stream"],
        "an event in it has no end",
    );
}
