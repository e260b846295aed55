//! `--timeout` over everything, and what `-v` says of the time.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use crate::server::{
    Server, Step, chunk, delta, event, event_stream, event_stream_head, events, head, http,
    json_response, message,
};
use crate::{ask, at, bare, run};

/// Far longer than any limit here, far shorter than a call without one.
const SOON: Duration = Duration::from_secs(15);

fn half_a_stream() -> Vec<u8> {
    let mut bytes = event_stream_head();
    bytes.extend(chunk(events(&["half"], "end_turn")[..4].concat()));
    bytes
}

#[test]
fn a_server_that_never_answers() {
    let server = Server::always(vec![Step::Hold]);
    let start = Instant::now();
    ask(&server, &["--timeout", "0.4", "hi"])
        .ends(4)
        .prints("")
        .says(&[
            "timed out after 0.4 s",
            "waiting for an answer",
            "127.0.0.1",
        ]);
    assert!(start.elapsed() >= Duration::from_millis(400) && start.elapsed() < SOON);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_head_that_never_ends() {
    let mut begun = head(200, &[("content-type", "application/json")]);
    begun.extend_from_slice(b"x-more: ");
    let server = Server::always(vec![Step::Send(begun), Step::Hold]);
    ask(&server, &["--timeout", "0.4", "hi"])
        .ends(4)
        .says(&["timed out after 0.4 s", "waiting for an answer"]);
}

#[test]
fn a_stream_that_stalls() {
    for flags in [&["--stream"][..], &["--stream", "--json"]] {
        let server = Server::always(vec![Step::Send(half_a_stream()), Step::Hold]);
        let start = Instant::now();
        let run = ask(&server, &[flags, &["--timeout", "0.4", "hi"]].concat())
            .ends(4)
            .says(&["timed out after 0.4 s", "the rest of the reply"]);
        assert!(run.out.contains("half"));
        assert!(start.elapsed() < SOON);
        assert_eq!(server.requests().len(), 1, "paid for once");
    }
}

#[test]
fn a_body_that_stalls() {
    let mut begun = head(
        200,
        &[
            ("content-type", "application/json"),
            ("content-length", "500"),
        ],
    );
    begun.extend_from_slice(b"\r\n{");
    let server = Server::always(vec![Step::Send(begun), Step::Hold]);
    ask(&server, &["--timeout", "0.4", "hi"])
        .ends(4)
        .prints("")
        .says(&["timed out after 0.4 s", "the rest of the reply"]);
}

#[test]
fn a_trickle() {
    let mut steps = vec![Step::Send(half_a_stream())];
    for _ in 0..200 {
        steps.push(Step::Wait(Duration::from_millis(100)));
        steps.push(Step::Send(chunk(":")));
    }
    let server = Server::always(steps);
    let start = Instant::now();
    ask(&server, &["--stream", "--timeout", "0.7", "hi"])
        .ends(4)
        .says(&["timed out after 0.7 s", "the rest"]);
    assert!(start.elapsed() < SOON);

    let mut steps = Vec::new();
    for byte in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(&[b'y'; 400]) {
        steps.push(Step::Send(vec![*byte]));
        steps.push(Step::Wait(Duration::from_millis(50)));
    }
    let server = Server::always(steps);
    let start = Instant::now();
    ask(&server, &["--timeout", "0.7", "hi"])
        .ends(4)
        .says(&["timed out after 0.7 s", "an answer"]);
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_server_that_does_not_read() {
    let server = Server::deaf();
    let start = Instant::now();
    run(at(&server)
        .args(["--timeout", "2"])
        .write_stdin(vec![b'a'; 10_000_000]))
    .ends(4)
    .prints("")
    .says(&["timed out after 2 s", "waiting for an answer"]);
    // Not twice the limit: each part that fits into the socket must not begin it anew.
    assert!(start.elapsed() < Duration::from_millis(3800));
}

#[test]
fn a_host_that_does_not_take_the_connection() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    // Once its queue is full, nobody else gets an answer.
    let waiting = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let _queue: Vec<_> = (0..3).map(waiting).collect();
    let mut command = bare();
    command
        .env("CLOUDFLARE_ACCOUNT_ID", "x")
        .env("CLOUDFLARE_API_TOKEN", "x");
    let url = format!("http://{address}");
    let start = Instant::now();
    run(command.args(["--timeout", "0.5", "--base-url", &url, "hi"]))
        .ends(4)
        .says(&[
            "timed out after 0.5 s",
            "waiting for an answer from 127.0.0.1",
        ]);
    assert!(start.elapsed() >= Duration::from_millis(490) && start.elapsed() < SOON);
}

#[test]
fn retries_and_their_waits_count() {
    let refusal = http(503, &[("retry-after-ms", "300")], "{}");
    let server = Server::always(vec![Step::Send(refusal)]);
    let start = Instant::now();
    ask(&server, &["--timeout", "1", "--retries", "10", "hi"])
        .ends(4)
        .says(&["HTTP 503", "wait 0.30 s"]);
    assert!(start.elapsed() < SOON);
    let requests = server.requests().len();
    assert!((2..=4).contains(&requests), "{requests}");
}

#[test]
fn a_trickle_of_an_error_is_bounded_too() {
    let mut begun = head(503, &[("content-length", "500")]);
    begun.extend_from_slice(b"\r\n{\"error\":");
    let server = Server::always(vec![Step::Send(begun), Step::Hold]);
    let start = Instant::now();
    ask(&server, &["--timeout", "0.5", "hi"])
        .ends(4)
        .says(&["HTTP 503"]);
    assert!(start.elapsed() < SOON);
}

#[test]
fn v_says_what_is_known_at_the_end() {
    let headers = [
        ("content-type", "application/json"),
        ("cf-aig-cache-status", "MISS"),
        ("cf-aig-log-id", "01JADMCQQQBWH3NXZ5GCRN98DP"),
    ];
    let mut reply = message("text", "end_turn");
    let body = Server::sending(http(200, &headers, reply.to_string()));
    let stream = Server::sending(event_stream(&events(&["text"], "end_turn")));
    for run in [
        ask(&body, &["-v", "hi"]),
        ask(&stream, &["-v", "--stream", "hi"]),
    ] {
        let run = run.ends(0).prints("text\n");
        let digits = run.err.replace(|c: char| c.is_ascii_digit(), "0");
        let expected = "haiku: 00 tokens in, 000 out; first text after 0.00 s, done after 0.00 s; \
                        cache MISS; log 00JADMCQQQBWH0NXZ0GCRN00DP\n";
        assert_eq!(digits, expected);
        assert!(run.err.starts_with("haiku: 17 tokens in, 191 out; "));
    }
    reply["usage"]["cache_read_input_tokens"] = 1200.into();
    reply["usage"]["cache_creation_input_tokens"] = 0.into();
    let cached = Server::sending(json_response(200, reply.to_string()));
    ask(&cached, &["-v", "hi"])
        .ends(0)
        .says(&["haiku: 17 tokens in (1200 read from cache), 191 out; first text"]);
    reply.as_object_mut().unwrap().remove("usage");
    let bare = Server::sending(json_response(200, reply.to_string()));
    ask(&bare, &["-v", "hi"])
        .ends(0)
        .says(&["haiku: first text after"]);
}

#[test]
fn v_says_what_is_known_of_a_failure() {
    let server = Server::sending(http(401, &[("cf-aig-log-id", "01J")], "{}"));
    let run = ask(&server, &["-v", "hi"]).ends(3);
    let lines: Vec<_> = run.err.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("haiku: ended after 0."), "{run:?}");
    assert!(lines[0].ends_with("; log 01J"), "{run:?}");
    assert!(lines[1].starts_with("haiku: HTTP 401"), "{run:?}");
}

#[test]
fn without_v_nothing_is_said() {
    let stream = event(&delta("x"));
    assert!(stream.starts_with("event: content_block_delta\n"));
    ask(&Server::documented(), &["hi"]).ends(0).quiet();
    ask(&Server::documented(), &["-q", "hi"]).ends(0).quiet();
    ask(&Server::documented(), &["-q", "-t", "7"])
        .ends(2)
        .says(&["--temperature"]);
}
