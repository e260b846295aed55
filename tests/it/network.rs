//! The network: connections that fail, limits that no peer can extend, and servers that answer before they have read
//! the request.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::dead_host::DeadHost;
use crate::support::forgetful::in_forgetful_network;
use crate::support::mock_server::{JSON, Server, Step, http, message};
use crate::support::sandbox::{can_switch_user, can_unshare, set_mode, with_hosts, wrap};
use crate::support::test_ca::TestCa;
use crate::support::{Folder, ask, check, haiku_at_url, has, one_line, process_at_url};

/// More than any socket takes at once.
const LARGE: usize = 10_000_000;

/// The URL of a loopback port that nothing listens on.
fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_failed_connection_is_temporary_and_names_the_host() {
    for (url, parts) in [
        (unused_url().as_str(), &["127.0.0.1", "Connection refused"][..]),
        ("https://no-such-host.invalid", &["no-such-host.invalid"]),
    ] {
        check(haiku_at_url(url).args(["--retries", "0", "hi"]))
            .code(4)
            .stdout("")
            .stderr(one_line(parts));
    }
}

#[test]
fn a_failed_connection_is_retried() {
    check(haiku_at_url(&unused_url()).args(["-v", "--retries", "1", "hi"]))
        .code(4)
        .stderr(contains("Connection refused").count(2));
}

#[test]
fn a_response_that_is_not_http_is_temporary() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        "\0\0\0\0",
    ] {
        ask(&Server::sending(bytes), &["--retries", "0", "hi"])
            .code(4)
            .stdout("")
            .stderr("haiku: malformed response from 127.0.0.1: invalid HTTP header\n");
    }
}

#[test]
fn localhost_is_the_loopback_address_whatever_the_hosts_file_says() {
    if !can_unshare("-m") {
        return;
    }
    let server = Server::documented();
    let folder = Folder::new();
    // An address for documentation: no one answers there.
    let hosts = "192.0.2.1 localhost\n192.0.2.1 LOCALHOST\n";
    for host in ["localhost", "LocalHost"] {
        let mut command = process_at_url(&format!("http://{host}:{}", server.port));
        command.args(["-n", "--retries", "0", "--timeout", "5", "hi"]);
        check(&mut with_hosts(&folder, hosts, &command)).success().stdout("hi\n").stderr("");
    }
}

#[test]
fn a_dead_address_before_a_live_one_costs_less_than_a_second() {
    if !can_unshare("-m") {
        return;
    }
    let ca = TestCa::new();
    let tls = ca.serve(&Server::documented());
    let dead = DeadHost::new((Ipv6Addr::LOCALHOST, tls.port).into());
    let mut command = process_at_url(&format!("https://api.test:{}", tls.port));
    command.env("SSL_CERT_FILE", ca.file()).args(["-n", "--retries", "0", "hi"]);
    let folder = Folder::new();
    let call = |hosts: &str| {
        let start = Instant::now();
        check(&mut with_hosts(&folder, hosts, &command)).success().stdout("hi\n");
        start.elapsed()
    };
    let alone = call("127.0.0.1 api.test\n");
    let both = call(&format!("{} api.test\n127.0.0.1 api.test\n", dead.address.ip()));
    assert!(both > Duration::from_millis(250), "the dead address was not tried: {both:?}");
    assert!(both < alone + Duration::from_secs(1), "{both:?} instead of {alone:?}");
}

#[test]
fn a_router_that_forgets_silent_connections_does_not_lose_a_reply() {
    if !can_unshare("-n") || !has("ip") || !has("iptables") {
        return;
    }
    let reply = http(200, &[JSON], message("late", "end_turn").to_string());
    let result = in_forgetful_network(Duration::from_secs(33), || {
        let server = Server::always(vec![Step::Wait(Duration::from_secs(38)), Step::Send(reply)]);
        ask(&server, &["--retries", "0", "--timeout", "55", "hi"])
    });
    if let Some(result) = result {
        result.success().stdout("late\n").stderr("");
    }
}

#[test]
fn a_call_needs_no_thread() {
    if !can_switch_user() || !has("setpriv") || !has("prlimit") {
        return;
    }
    let ca = TestCa::new();
    let server = Server::documented();
    let tls = ca.serve(&server);
    // Readable for a user who runs nothing else, so that only the program itself counts.
    let folder = Folder::new();
    let certificate = folder.write("ca.pem", std::fs::read(ca.file()).unwrap());
    set_mode(folder.path(""), 0o755);
    let limited =
        ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", "--nproc=1"];
    for url in [
        format!("http://127.0.0.1:{}", server.port),
        format!("http://localhost:{}", server.port),
        tls.url(),
    ] {
        let mut command = process_at_url(&url);
        command.env("SSL_CERT_FILE", &certificate).args(["--retries", "0", "hi"]);
        check(&mut wrap(&limited, &command)).success().stdout("hi\n").stderr("");
    }
    // A name has to be looked up, which is done without a thread then.
    let mut command = process_at_url("https://no-such-host.invalid");
    command.args(["--retries", "0", "hi"]);
    check(&mut wrap(&limited, &command)).code(4).stderr(one_line(&["no-such-host.invalid"]));
}

/// Passes every connection to a function.
struct Listener {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Listener {
    fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, serve) = (connections.clone(), Arc::new(serve));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A short answer would be held back behind session tickets, and lost on closing.
                client.set_nodelay(true).unwrap();
                let serve = serve.clone();
                thread::spawn(move || serve(client));
            }
        });
        Listener { port, connections }
    }

    fn haiku(&self, scheme: &str) -> Command {
        haiku_at_url(&format!("{scheme}://localhost:{}", self.port))
    }

    /// A call with a large prompt.
    fn haiku_with_prompt(&self, scheme: &str, args: &[&str]) -> Command {
        let mut command = self.haiku(scheme);
        command.args(args).write_stdin(vec![b'a'; LARGE]);
        command
    }
}

fn read_head(client: &mut impl Read) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|length| length > 0) {
        head.push(byte[0]);
    }
}

fn rejection(status: u16) -> Vec<u8> {
    http(status, &[], r#"{"error":{"message":"no more of this"}}"#)
}

fn over_tls(
    config: &Arc<ServerConfig>,
    client: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), client)
}

#[test]
fn an_answer_to_half_a_request_decides() {
    for (status, code) in [(401, 3), (413, 3), (429, 4)] {
        let server = Listener::new(move |mut client| {
            read_head(&mut client);
            let _ = client.write_all(&rejection(status));
        });
        check(&mut server.haiku_with_prompt("http", &["--retries", "0"]))
            .code(code)
            .stdout("")
            .stderr(one_line(&[&format!("HTTP {status}"), "no more of this"]));
    }
}

#[test]
fn an_answer_to_half_a_request_decides_over_tls() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    for closes_session in [false, true] {
        let config = config.clone();
        let server = Listener::new(move |client| {
            let mut client = over_tls(&config, client);
            read_head(&mut client);
            let _ = client.write_all(&rejection(413));
            if closes_session {
                client.conn.send_close_notify();
            }
            let _ = client.flush();
        });
        let mut command = server.haiku_with_prompt("https", &["--retries", "0"]);
        check(command.env("SSL_CERT_FILE", ca.file()))
            .code(3)
            .stderr(one_line(&["HTTP 413", "no more of this"]));
    }
}

/// TLS 1.3 servers send session tickets, which must not be taken for an answer.
#[test]
fn a_server_that_stops_reading_is_heard_and_one_that_pauses_receives_the_rest() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    let start = Instant::now();
    let is_heard = |server: &Listener, scheme| {
        let mut command = server.haiku_with_prompt(scheme, &[]);
        check(command.env("SSL_CERT_FILE", ca.file()))
            .code(3)
            .stderr(one_line(&["HTTP 413", "no more of this"]));
    };
    let stops = Listener::new(answer_and_stop);
    let tls_config = config.clone();
    let tls_stops = Listener::new(move |client| answer_and_stop(over_tls(&tls_config, client)));
    let (tls_pauses, received) = pausing(config, Duration::from_secs(11));
    thread::scope(|scope| {
        scope.spawn(|| is_heard(&stops, "http"));
        scope.spawn(|| is_heard(&tls_stops, "https"));
        scope.spawn(|| is_heard(&tls_pauses, "https"));
    });
    assert!(received.load(Ordering::SeqCst) > LARGE);
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(25), "{elapsed:?}");
}

#[test]
fn a_server_that_stops_reading_is_heard_within_half_of_any_timeout() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    let stops = Listener::new(answer_and_stop);
    let tls_config = config.clone();
    let tls_stops = Listener::new(move |client| answer_and_stop(over_tls(&tls_config, client)));
    for (server, scheme) in [(&stops, "http"), (&tls_stops, "https")] {
        let mut command = server.haiku_with_prompt(scheme, &["--timeout", "6"]);
        check(command.env("SSL_CERT_FILE", ca.file()))
            .code(3)
            .stderr(one_line(&["HTTP 413", "no more of this"]));
    }
}

#[test]
fn an_early_answer_leaves_time_for_a_retry() {
    let server = Listener::new(|mut client| {
        read_head(&mut client);
        client.write_all(&rejection(503)).unwrap();
        thread::sleep(Duration::from_secs(30));
    });
    let options = ["--timeout", "6", "--retries", "1"];
    check(&mut server.haiku_with_prompt("http", &options))
        .code(4)
        .stderr(contains("HTTP 503: no more of this; gave up after 1 retry"));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

/// TLS 1.3 servers send session tickets, which are input, but no answer.
#[test]
fn a_server_that_pauses_receives_the_whole_request_within_a_short_timeout() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    let (pauses, received) = pausing(config, Duration::from_secs(5));
    let mut command = pauses.haiku_with_prompt("https", &["--timeout", "8"]);
    check(command.env("SSL_CERT_FILE", ca.file())).code(3).stderr(one_line(&["HTTP 413"]));
    assert!(received.load(Ordering::SeqCst) > LARGE);
}

/// A TLS server that reads the head, pauses, reads the rest, and answers. Also what it has read after the pause.
fn pausing(config: Arc<ServerConfig>, pause: Duration) -> (Listener, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let counter = received.clone();
    let server = Listener::new(move |client| {
        let mut client = over_tls(&config, client);
        read_head(&mut client);
        thread::sleep(pause);
        let mut piece = [0; 65536];
        while counter.load(Ordering::SeqCst) < LARGE {
            let length = client.read(&mut piece).unwrap();
            counter.fetch_add(length, Ordering::SeqCst);
        }
        client.write_all(&rejection(413)).unwrap();
        thread::sleep(Duration::from_secs(30));
    });
    (server, received)
}

fn answer_and_stop(mut client: impl Read + Write) {
    read_head(&mut client);
    client.write_all(&rejection(413)).unwrap();
    thread::sleep(Duration::from_secs(30));
}

#[test]
fn a_server_that_neither_reads_nor_answers_cannot_extend_the_timeout() {
    let ca = TestCa::new();
    let config = Arc::new(ca.issue(|_| {}));
    let begins_to_answer = Listener::new(|mut client| {
        client.write_all(b"HTTP/1.1 2").unwrap();
        thread::sleep(Duration::from_secs(30));
    });
    let sends_session_tickets = Listener::new(move |client| {
        read_head(&mut over_tls(&config, client.try_clone().unwrap()));
        thread::sleep(Duration::from_secs(30));
    });
    let times_out = |server: &Listener, scheme| {
        let mut command = server.haiku_with_prompt(scheme, &["--timeout", "12"]);
        check(command.env("SSL_CERT_FILE", ca.file()).timeout(Duration::from_secs(15)))
            .code(4)
            .stderr(one_line(&["timed out after 12 s", "localhost"]));
    };
    thread::scope(|scope| {
        scope.spawn(|| times_out(&begins_to_answer, "http"));
        scope.spawn(|| times_out(&sends_session_tickets, "https"));
    });
}

#[test]
fn a_connection_lost_while_sending_is_retried() {
    let server = Listener::new(|mut client| read_head(&mut client));
    check(&mut server.haiku_with_prompt("http", &["--retries", "1", "-q"])).code(4).stdout("");
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

/// Sends a byte at a time: `start`, then the same byte for ever.
fn drip(mut client: TcpStream, start: &[u8]) {
    for byte in start.iter().copied().chain(std::iter::repeat(b'x')) {
        if client.write_all(&[byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_peer_that_answers_a_byte_at_a_time_cannot_extend_the_timeout() {
    let ca = TestCa::new();
    let server = Listener::new(|client| drip(client, b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"));
    let http_proxy = Listener::new(|client| drip(client, b"HTTP/1.1 200 OK\r\nx: "));
    let socks_proxy = Listener::new(|client| drip(client, b"\x05\x00\x05\x00\x00\x03\xff"));
    for (scheme, proxy) in
        [("", None), ("http", Some(&http_proxy)), ("socks5h", Some(&socks_proxy))]
    {
        let mut command = server.haiku("https");
        if let Some(proxy) = proxy {
            // A message may name the proxy, but not its password.
            let url = format!("{scheme}://me:secret@127.0.0.1:{}", proxy.port);
            command.env("HTTPS_PROXY", url);
        }
        let start = Instant::now();
        check(command.env("SSL_CERT_FILE", ca.file()).args(["--timeout", "1", "hi"]))
            .code(4)
            .stderr(one_line(&["timed out after 1 s while connecting to"]))
            .stderr(contains("secret").not());
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(2), "{scheme}: {elapsed:?}");
    }
}
