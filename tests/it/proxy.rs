//! Proxies: which one is used, what it learns, and how its failures are reported.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
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
fn a_proxy_that_refuses_to_connect_is_named() {
    let site = Site::new();
    for (status, code, why) in
        [(407, 3, "the proxy requires authentication"), (502, 4, ": the proxy answered HTTP 502")]
    {
        let proxy = Server::sending(http(status, &[], "")).port;
        let proxy = format!("127.0.0.1:{proxy}");
        site.ask("api.test", &[("HTTPS_PROXY", &format!("http://{proxy}"))])
            .code(code)
            .stdout("")
            .stderr(one_line(&[&proxy, why]));
    }
    assert!(site.server.requests().is_empty());
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
