//! Proxies: which one is asked, what it is told, and what it means when it fails.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::authority::Authority;
use crate::server::Server;

use crate::{Run, TOKEN, bare, run};

/// A proxy that leads everybody to one port on loopback, and notes what it was asked.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn new(
        greet: impl Fn(&mut TcpStream) -> Option<String> + Send + Sync + Copy + 'static,
        target: u16,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        let asked = proxy.asked.clone();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let Some(question) = greet(&mut client) else {
                    continue;
                };
                asked.lock().unwrap().push(question);
                let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                pump(client.try_clone().unwrap(), server.try_clone().unwrap());
                pump(server, client);
            }
        });
        proxy
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Reads the head of a CONNECT and agrees.
fn connect(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    String::from_utf8(head).ok()
}

/// SOCKS 5 without a password, to a host by its name or its IPv4 address.
fn socks(client: &mut TcpStream) -> Option<String> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).ok()?;
    client
        .read_exact(&mut vec![0; usize::from(greeting[1])])
        .ok()?;
    client.write_all(&[5, 0]).ok()?;
    let mut head = [0; 4];
    client.read_exact(&mut head).ok()?;
    let host = if head[3] == 1 {
        let mut address = [0; 4];
        client.read_exact(&mut address).ok()?;
        Ipv4Addr::from(address).to_string()
    } else {
        let mut length = [0];
        client.read_exact(&mut length).ok()?;
        let mut name = vec![0; usize::from(length[0])];
        client.read_exact(&mut name).ok()?;
        String::from_utf8(name).ok()?
    };
    client.read_exact(&mut [0; 2]).ok()?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).ok()?;
    Some(host)
}

/// A server behind TLS, and the CA to trust.
struct Site {
    authority: Authority,
    server: Server,
    port: u16,
}

impl Site {
    fn new() -> Site {
        let authority = Authority::new();
        let server = Server::documented();
        let port = authority.serve(&server).port;
        Site {
            authority,
            server,
            port,
        }
    }

    fn ask(&self, url: &str, variables: &[(&str, &str)]) -> Run {
        let mut command = bare();
        command
            .env("CLOUDFLARE_ACCOUNT_ID", "x")
            .env("CLOUDFLARE_API_TOKEN", TOKEN)
            .env("SSL_CERT_FILE", self.authority.file())
            .args(["--retries", "0", "--base-url", url, "hi"]);
        for (name, value) in variables {
            command.env(name, value);
        }
        run(&mut command)
    }
}

#[test]
fn each_variable_leads_through_the_proxy() {
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let site = Site::new();
        let proxy = Proxy::new(connect, site.port);
        let address = format!("http://127.0.0.1:{}", proxy.port);
        site.ask("https://api.test/v4", &[(name, &address)])
            .ends(0)
            .quiet()
            .prints("hi\n");
        let asked = proxy.asked();
        assert_eq!(asked.len(), 1);
        assert!(
            asked[0].starts_with("CONNECT api.test:443 HTTP/1.1\r\n"),
            "{asked:?}"
        );
        // The proxy learns the host and nothing else.
        assert!(
            !asked[0].contains(TOKEN) && !asked[0].contains("accounts"),
            "{asked:?}"
        );
        assert_eq!(site.server.requests().len(), 1);
    }
}

#[test]
fn the_order_is_curls() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    let ours = format!("http://127.0.0.1:{}", proxy.port);
    let nowhere = "http://127.0.0.1:1";
    site.ask(
        "https://api.test",
        &[
            ("https_proxy", &ours),
            ("HTTPS_PROXY", nowhere),
            ("ALL_PROXY", nowhere),
        ],
    )
    .ends(0);
    site.ask(
        "https://api.test",
        &[
            ("HTTPS_PROXY", &ours),
            ("ALL_PROXY", nowhere),
            ("all_proxy", nowhere),
        ],
    )
    .ends(0);
    site.ask(
        "https://api.test",
        &[("HTTPS_PROXY", ""), ("ALL_PROXY", &ours)],
    )
    .ends(0);
    site.ask(
        "https://api.test",
        &[
            ("http_proxy", nowhere),
            ("HTTP_PROXY", nowhere),
            ("all_proxy", &ours),
        ],
    )
    .ends(0);
    assert_eq!(proxy.asked().len(), 4);
}

#[test]
fn credentials_go_to_the_proxy_alone() {
    let site = Site::new();
    let proxy = Proxy::new(connect, site.port);
    let address = format!("http://me:p%40ss@127.0.0.1:{}", proxy.port);
    site.ask("https://api.test", &[("HTTPS_PROXY", &address)])
        .ends(0)
        .quiet();
    // me:p@ss
    assert!(
        proxy.asked()[0].contains("Proxy-Authorization: Basic bWU6cEBzcw==\r\n"),
        "{:?}",
        proxy.asked()
    );
    assert_eq!(
        site.server.requests()[0].header("proxy-authorization"),
        None
    );
}

#[test]
fn socks_takes_the_name_or_the_address() {
    let site = Site::new();
    let proxy = Proxy::new(socks, site.port);
    let by_name = format!("socks5h://127.0.0.1:{}", proxy.port);
    let by_address = format!("socks5://127.0.0.1:{}", proxy.port);
    site.ask("https://api.test", &[("ALL_PROXY", &by_name)])
        .ends(0)
        .quiet()
        .prints("hi\n");
    site.ask("https://127.0.0.1", &[("HTTPS_PROXY", &by_address)])
        .ends(3)
        .says(&["another host name", "through the proxy"]);
    assert_eq!(proxy.asked(), ["api.test", "127.0.0.1"]);
}

#[test]
fn exceptions_go_straight() {
    let site = Site::new();
    let url = format!("https://localhost:{}", site.port);
    for list in [
        "localhost",
        "other, localhost",
        ".localhost",
        "LOCALHOST",
        "*",
    ] {
        for name in ["NO_PROXY", "no_proxy"] {
            site.ask(&url, &[("HTTPS_PROXY", "http://127.0.0.1:1"), (name, list)])
                .ends(0)
                .quiet();
        }
    }
    site.ask(
        &url,
        &[
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
            ("NO_PROXY", "ocalhost"),
        ],
    )
    .ends(4);
}

#[test]
fn a_dead_proxy_is_named() {
    let site = Site::new();
    for scheme in ["http", "socks5h"] {
        let address = format!("{scheme}://me:secret@127.0.0.1:1");
        let run = site
            .ask("https://api.test", &[("HTTPS_PROXY", &address)])
            .ends(4)
            .prints("")
            .says(&["the proxy 127.0.0.1:1", "refused"]);
        assert!(!run.err.contains("secret"), "{run:?}");
    }
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let site = Site::new();
    for (answer, code) in [
        ("407 Proxy Authentication Required", 3),
        ("502 Bad Gateway", 4),
    ] {
        let refusing = Server::sending(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n"));
        let address = format!("http://127.0.0.1:{}", refusing.port);
        let name = format!("the proxy 127.0.0.1:{}", refusing.port);
        site.ask("https://api.test", &[("HTTPS_PROXY", &address)])
            .ends(code)
            .prints("")
            .says(&[&name]);
    }
    assert!(site.server.requests().is_empty());
}

#[test]
fn what_is_no_address_is_refused() {
    let site = Site::new();
    for address in [
        "ftp://p:1",
        "http://",
        "http://me:secret@",
        "nonsense://secret",
        "http://p:secret",
    ] {
        for name in ["HTTPS_PROXY", "all_proxy"] {
            let run = site
                .ask("https://api.test", &[(name, address)])
                .ends(2)
                .prints("")
                .says(&[name, "no proxy's address"]);
            assert!(!run.err.contains("secret"), "{run:?}");
        }
    }
}
