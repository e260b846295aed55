//! `--timeout`: it bounds every phase of a call, and the error names the phase.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use predicates::str::contains;

use crate::support::dead_host::DeadHost;
use crate::support::mock_server::{JSON, Server, Step, chunk, http, raw_http, unfinished_stream};
use crate::support::{ask, check, haiku_at, haiku_at_url, one_line};

/// Far longer than any timeout here, far shorter than a call without one.
const SOON: Duration = Duration::from_secs(15);

/// How the error names the two phases after the request.
const WAITING: &str = "while waiting for";
const RECEIVING: &str = "while receiving from";

/// Asserts that the call took as long as the timeout, and not much longer.
#[track_caller]
fn times_out(seconds: f64, call: impl FnOnce(&str) -> Assert) -> Assert {
    let start = Instant::now();
    let result = call(&seconds.to_string()).code(4);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs_f64(seconds - 0.01), "{elapsed:?}");
    assert!(elapsed < SOON, "{elapsed:?}");
    result.stderr(one_line(&[&format!("timed out after {seconds} s"), "127.0.0.1"]))
}

#[test]
fn every_phase_of_a_response_is_bounded() {
    let head = b"HTTP/1.1 200 OK\r\nx-more: ".to_vec();
    let body = raw_http(200, &[JSON, ("content-length", "500")], "{");
    let hold = |bytes: Vec<u8>| vec![Step::Send(bytes), Step::Hold];
    for (steps, option, phase, printed) in [
        (vec![Step::Hold], "-n", WAITING, ""),
        (hold(head), "-n", RECEIVING, ""),
        (hold(body), "-n", RECEIVING, ""),
        (hold(unfinished_stream("half")), "--stream", RECEIVING, "half"),
    ] {
        let server = Server::always(steps);
        times_out(0.4, |seconds| ask(&server, &["--timeout", seconds, option, "hi"]))
            .stdout(printed)
            .stderr(contains(phase));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_stalled_stream_has_been_printed_as_json_lines() {
    let server = Server::always(vec![Step::Send(unfinished_stream("half")), Step::Hold]);
    times_out(0.4, |seconds| ask(&server, &["--timeout", seconds, "--json", "--stream", "hi"]))
        .stdout(contains("half"))
        .stderr(contains(RECEIVING));
}

#[test]
fn a_response_that_trickles_in_is_bounded() {
    let trickle = |pieces: Vec<Vec<u8>>| {
        let wait = Step::Wait(Duration::from_millis(50));
        pieces.into_iter().flat_map(move |piece| [Step::Send(piece), wait.clone()])
    };
    let mut stream = vec![unfinished_stream("half")];
    stream.extend(vec![chunk(":"); 400]);
    let head = b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(&[b'y'; 400]);
    let head = head.map(|byte| vec![*byte]).collect();
    for (pieces, option, phase) in [(stream, "--stream", RECEIVING), (head, "-n", RECEIVING)] {
        let server = Server::always(trickle(pieces).collect());
        times_out(0.7, |seconds| ask(&server, &["--timeout", seconds, option, "hi"]))
            .stderr(contains(phase));
    }
}

#[test]
fn a_server_that_does_not_read_the_request_is_bounded() {
    let server = Server::unresponsive();
    let start = Instant::now();
    times_out(2.0, |seconds| {
        let mut command = haiku_at(&server);
        command.args(["--timeout", seconds]).write_stdin(vec![b'a'; 10_000_000]);
        check(&mut command).stdout("")
    });
    // Not twice the timeout: it must not start again with each piece that the socket takes.
    assert!(start.elapsed() < Duration::from_millis(3800));
}

#[test]
fn a_host_that_does_not_accept_the_connection_is_bounded() {
    let host = DeadHost::new((Ipv4Addr::LOCALHOST, 0).into());
    times_out(0.5, |seconds| {
        check(haiku_at_url(&format!("http://{}", host.address)).args(["--timeout", seconds, "hi"]))
    });
}

#[test]
fn retries_and_their_delays_are_bounded() {
    let server = Server::sending(http(503, &[("retry-after-ms", "300")], "{}"));
    let start = Instant::now();
    ask(&server, &["--timeout", "1", "--retries", "10", "hi"])
        .code(4)
        .stdout("")
        .stderr(one_line(&["HTTP 503", "0.30 s"]));
    assert!(start.elapsed() < SOON);
    let requests = server.requests().len();
    assert!((2..=4).contains(&requests), "{requests}");
}

#[test]
fn an_error_body_that_stalls_is_bounded() {
    let head = raw_http(503, &[("content-length", "500")], "{\"error\":");
    let server = Server::always(vec![Step::Send(head), Step::Hold]);
    let start = Instant::now();
    ask(&server, &["--timeout", "0.5", "hi"]).code(4).stdout("").stderr(one_line(&["HTTP 503"]));
    assert!(start.elapsed() < SOON);
}
