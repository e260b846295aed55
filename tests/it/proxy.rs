//! Proxies: which one is used, what it learns, and how its failures are reported.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};

use crate::support::mock_server::{Server, http};
use crate::support::test_ca::TestCa;
use crate::support::{TOKEN, check, haiku_at, haiku_at_url, one_line, stderr};

/// The address of a proxy that nobody runs.
const DEAD: &str = "http://127.0.0.1:1";

/// Connects every client to one loopback port, and records what each asked for.
struct Proxy {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn new(
        handshake: impl Fn(&mut TcpStream) -> Option<String> + Send + 'static,
        target: u16,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let requests = proxy.requests.clone();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let Some(request) = handshake(&mut client) else {
                    continue;
                };
                requests.lock().unwrap().push(request);
                let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                forward(client.try_clone().unwrap(), server.try_clone().unwrap());
                forward(server, client);
            }
        });
        proxy
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Reads the head of a CONNECT request and accepts it.
fn connect(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read::<1>(client)?);
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    String::from_utf8(head).ok()
}

/// Accepts a SOCKS 5 request without a password, and returns the host name or IPv4 address.
fn socks(client: &mut TcpStream) -> Option<String> {
    let [_version, methods] = read(client)?;
    client.read_exact(&mut vec![0; methods.into()]).ok()?;
    client.write_all(&[5, 0]).ok()?;
    let [.., address_type] = read::<4>(client)?;
    let host = if address_type == 1 {
        Ipv4Addr::from(read::<4>(client)?).to_string()
    } else {
        let [length] = read(client)?;
        let mut name = vec![0; length.into()];
        client.read_exact(&mut name).ok()?;
        String::from_utf8(name).ok()?
    };
    let _port = read::<2>(client)?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).ok()?;
    Some(host)
}

fn read<const N: usize>(client: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// A TLS server, the CA to trust, and the server behind them.
struct Site {
    ca: TestCa,
    server: Server,
    port: u16,
}

impl Site {
    fn new() -> Site {
        let ca = TestCa::new();
        let server = Server::documented();
        let port = ca.serve(&server).port;
        Site { ca, server, port }
    }

    /// Sends a request to `host`. Only a proxy can reach it, unless it is localhost.
    #[track_caller]
    fn ask(&self, host: &str, variables: &[(&str, &str)]) -> Assert {
        let mut command = haiku_at_url(&format!("https://{host}/v4"));
        command.env("SSL_CERT_FILE", self.ca.file()).envs(variables.iter().copied());
        check(command.args(["--retries", "0", "hi"]))
    }
}

#[test]
fn a_proxy_learns_the_host_and_nothing_else() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    site.ask("api.test", &[("HTTPS_PROXY", &proxy.url("http"))])
        .success()
        .stdout("hi\n")
        .stderr("");
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    let secret = contains(TOKEN).or(contains("accounts"));
    let connect = starts_with("CONNECT api.test:443 HTTP/1.1\r\n");
    assert!(connect.and(secret.not()).eval(&requests[0]), "{requests:?}");
    assert_eq!(site.server.requests().len(), 1);
}

#[test]
fn empty_and_plain_http_proxy_variables_are_ignored() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    let mut variables = vec![("HTTPS_PROXY", ""), ("http_proxy", DEAD), ("HTTP_PROXY", DEAD)];
    let url = proxy.url("http");
    variables.push(("ALL_PROXY", &url));
    site.ask("api.test", &variables).success();
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn proxy_credentials_are_sent_to_the_proxy_only() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    let url = format!("http://me:p%40ss@127.0.0.1:{}", proxy.port);
    site.ask("api.test", &[("HTTPS_PROXY", &url)]).success();
    // me:p@ss
    let header = "Proxy-Authorization: Basic bWU6cEBzcw==\r\n";
    let requests = proxy.requests();
    assert!(requests[0].contains(header), "{requests:?}");
    assert_eq!(site.server.request().header("proxy-authorization"), None);
}

#[test]
fn a_socks_proxy_receives_the_name_or_the_address() {
    let site = Site::new();
    let proxy = Proxy::new(socks, site.port);
    site.ask("api.test", &[("ALL_PROXY", &proxy.url("socks5h"))])
        .success()
        .stdout("hi\n")
        .stderr("");
    site.ask("127.0.0.1", &[("HTTPS_PROXY", &proxy.url("socks5"))])
        .code(3)
        .stderr(one_line(&["not valid for 127.0.0.1", "proxy"]));
    assert_eq!(proxy.requests(), ["api.test", "127.0.0.1"]);
}

#[test]
fn plain_http_never_uses_a_proxy() {
    let mut command = haiku_at(&Server::documented());
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, DEAD).env(name.to_uppercase(), DEAD);
    }
    check(command.arg("hi")).success().stdout("hi\n").stderr("");
}

#[test]
fn hosts_in_no_proxy_are_connected_to_directly() {
    let site = Site::new();
    let host = format!("localhost:{}", site.port);
    for (name, hosts, code) in
        [("NO_PROXY", "other, localhost", 0), ("no_proxy", "*", 0), ("NO_PROXY", "ocalhost", 4)]
    {
        let variables = [("HTTPS_PROXY", DEAD), (name, hosts)];
        site.ask(&host, &variables).code(code);
    }
}

#[test]
fn the_scheme_may_be_written_in_capitals() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    let mut command = haiku_at_url("HTTPS://api.test/v4");
    command.env("SSL_CERT_FILE", site.ca.file()).env("HTTPS_PROXY", proxy.url("http"));
    check(command.arg("hi")).success().stdout("hi\n");
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn networks_in_no_proxy_are_those_that_curl_knows() {
    let site = Site::new();
    let v4 = format!("127.0.0.1:{}", site.port);
    let v6 = format!("[::1]:{}", site.port);
    for (host, list, is_direct) in [
        (&v4, "127.0.0.1", true),
        (&v4, "127.0.0.0/8", true),
        (&v4, "127.0.0.0/33", false),
        (&v4, "0.0.0.0/0", false),
        (&v4, "* ", false),
        (&v6, "::1", true),
        (&v6, "::/127", true),
        (&v6, "[::1]", false),
        (&v6, "::/0", false),
    ] {
        // Neither call succeeds: the certificate is not valid for an address.
        let result = site.ask(host, &[("HTTPS_PROXY", DEAD), ("NO_PROXY", list)]);
        assert_eq!(!stderr(&result).contains("proxy"), is_direct, "{host} and {list:?}");
    }
    let host = format!("api.localhost:{}", site.port);
    let variables = [("HTTPS_PROXY", DEAD), ("NO_PROXY", "..localhost")];
    site.ask(&host, &variables).code(4).stderr(one_line(&["proxy"]));
}

#[test]
fn an_unreachable_proxy_is_named_without_its_password() {
    let site = Site::new();
    for scheme in ["http", "socks5h"] {
        let url = format!("{scheme}://me:secret@127.0.0.1:1");
        site.ask("api.test", &[("HTTPS_PROXY", &url)])
            .code(4)
            .stdout("")
            .stderr(one_line(&["proxy 127.0.0.1:1", "refused"]))
            .stderr(contains("secret").not());
    }
}

#[test]
fn what_a_proxy_refuses_for_good_is_exit_3_and_named() {
    let site = Site::new();
    let page = include_bytes!("../data/cases/connect-403.http");
    let ask = |answer: &[u8], credentials| {
        let server = Server::sending(answer);
        let proxy = format!("127.0.0.1:{}", server.port);
        let mut command = haiku_at_url("https://api.test/v4");
        command
            .env("SSL_CERT_FILE", site.ca.file())
            .env("HTTPS_PROXY", format!("http://{credentials}{proxy}"))
            .args(["-q", "--timeout", "20", "--retries", "1", "hi"]);
        let result = check(&mut command).stdout("");
        (stderr(&result).replace(&proxy, "PROXY"), result, server.requests().len())
    };
    let (line, result, attempts) = ask(page, "");
    result.code(3);
    assert_eq!(attempts, 1);
    assert_eq!(
        line,
        "haiku: the proxy PROXY does not allow api.test (HTTP 403): Blocked: category AI\n"
    );
    for (status, credentials, code, why) in [
        (400, "", 3, "the proxy PROXY does not allow api.test (HTTP 400)"),
        (404, "", 3, "the proxy PROXY does not allow api.test (HTTP 404)"),
        (407, "", 3, "the proxy requires authentication; put the user name and password into"),
        (407, "me:secret@", 3, "the proxy PROXY rejected the user name or password (HTTP 407)"),
        (408, "", 4, ": the proxy answered HTTP 408"),
        (425, "", 4, ": the proxy answered HTTP 425"),
        (429, "", 4, ": the proxy answered HTTP 429"),
        (502, "", 4, ": the proxy answered HTTP 502"),
        (503, "", 4, ": the proxy answered HTTP 503"),
    ] {
        let (line, result, attempts) = ask(&http(status, &[], ""), credentials);
        result.code(code).stderr(contains("secret").not());
        assert!(line.contains(why), "{line}");
        assert_eq!(attempts, if code == 3 { 1 } else { 2 });
    }
    assert!(site.server.requests().is_empty());
}

#[test]
fn what_a_socks_proxy_refuses_for_good_is_exit_3_and_named() {
    let site = Site::new();
    for (answer, credentials, code, why) in [
        (&b"\x05\x02\x01\x01"[..], "me:secret@", 3, "rejected the user name or password"),
        (b"\x05\xff", "", 3, "accepts none of the authentication methods offered"),
        (b"\x05\xff", "me:secret@", 3, "accepts none of the authentication methods offered"),
        (b"\x05\x01", "", 3, "accepts none of the authentication methods offered"),
        (b"\x05\0\x05\x02", "", 3, "does not allow api.test"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "", 3, "does not speak this version of SOCKS"),
        (b"\x05\0\x05\x04", "", 4, "host unreachable"),
        (b"", "", 4, "closed without a response"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let attempts = Arc::new(AtomicUsize::new(0));
        let counter = attempts.clone();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _greeting = client.read(&mut [0; 100]);
                let _ = client.write_all(answer);
                let _ = client.shutdown(Shutdown::Write);
                while client.read(&mut [0; 100]).is_ok_and(|length| length > 0) {}
            }
        });
        let mut command = haiku_at_url("https://api.test/v4");
        command
            .env("SSL_CERT_FILE", site.ca.file())
            .env("HTTPS_PROXY", format!("socks5h://{credentials}{proxy}"));
        check(command.args(["-q", "--retries", "1", "hi"]))
            .code(code)
            .stderr(contains(format!("the proxy {proxy}")))
            .stderr(contains(why))
            .stderr(contains("secret").not());
        assert_eq!(attempts.load(Ordering::SeqCst), if code == 3 { 1 } else { 2 }, "{why}");
    }
}

#[test]
fn a_proxy_learns_the_programs_own_name() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    site.ask("api.test", &[("HTTPS_PROXY", &proxy.url("http"))]).success();
    let requests = proxy.requests();
    let name = concat!("User-Agent: haiku/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(requests[0].contains(name), "{requests:?}");
}

#[test]
fn an_invalid_proxy_url_is_rejected_without_showing_it() {
    let site = Site::new();
    for url in
        ["http://me:secret@", "http://me:12/secret@p:1", "me:/secret@p", "socks5://me:?secret@p"]
    {
        site.ask("api.test", &[("all_proxy", url)])
            .code(2)
            .stderr(one_line(&["all_proxy"]))
            .stderr(contains("secret").not());
    }
}
