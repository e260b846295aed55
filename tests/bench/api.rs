//! The benchmark's server: the first part of a request's path chooses the response, which is prepared in advance.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::mock_server::{
    chunk, event_stream, event_stream_head, events, http, json_response, message,
};

pub struct Api {
    /// Plain HTTP on 127.0.0.1.
    pub port: u16,
    /// The same over TLS.
    pub tls_port: u16,
    /// When a request for `held` had arrived, or the first delta of `slow` was sent.
    pub times: Receiver<Instant>,
}

impl Api {
    pub fn new(tls: ServerConfig) -> Api {
        let (sender, times) = mpsc::channel();
        let plain = Arc::new(Responses::new(sender));
        let (encrypted, tls) = (plain.clone(), Arc::new(tls));
        let port = listen(move |client| plain.respond(client));
        let tls_port = listen(move |client| {
            let connection = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
            encrypted.respond(StreamOwned::new(connection, client))
        });
        Api { port, tls_port, times }
    }
}

/// Handles each connection to the returned port of 127.0.0.1 in a thread.
pub fn listen(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            client.set_nodelay(true).unwrap();
            let handle = handle.clone();
            // A client may close the connection as soon as it has what it needs.
            thread::spawn(move || handle(client).ok());
        }
    });
    port
}

struct Responses {
    prepared: Vec<(&'static str, Vec<u8>)>,
    times: Sender<Instant>,
}

impl Responses {
    fn new(times: Sender<Instant>) -> Responses {
        let reply = |text: &str| json_response(200, message(text, "end_turn").to_string());
        let stream = |pieces: &[&str]| event_stream(&events(pieces, "end_turn"));
        let error =
            r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#;
        let prepared = vec![
            ("small", reply("The answer is short.")),
            ("stream", stream(&["The ", "answer ", "is ", "short."])),
            ("long", stream(&prose(230_000))),
            ("tenth", stream(&prose(23_000))),
            ("30MB", reply(&prose(1_360_000).concat())),
            ("401", http(401, &[("content-type", "application/json")], error)),
        ];
        Responses { prepared, times }
    }

    fn respond(&self, client: impl Read + Write) -> io::Result<()> {
        let mut reader = BufReader::new(client);
        let path = read_request(&mut reader)?;
        let mut client = reader.into_inner();
        match path.as_str() {
            "slow" => self.send_slowly(&mut client)?,
            "segments" => send_segments(&mut client)?,
            "held" => {
                self.times.send(Instant::now()).map_err(io::Error::other)?;
                client.read_exact(&mut [0])?;
            }
            path => {
                let prepared = self.prepared.iter().find(|(name, _)| *name == path);
                client.write_all(&prepared.ok_or(io::ErrorKind::NotFound)?.1)?;
            }
        }
        client.flush()
    }

    /// Leaves time between the head and the first delta, so that the client waits for the delta alone.
    fn send_slowly(&self, client: &mut impl Write) -> io::Result<()> {
        let events = events(&["text"], "end_turn");
        client.write_all(&event_stream_head())?;
        client.write_all(&chunk(events[..3].concat()))?;
        thread::sleep(Duration::from_millis(50));
        self.times.send(Instant::now()).map_err(io::Error::other)?;
        client.write_all(&chunk(&events[3]))?;
        client.write_all(&chunk(events[4..].concat()))?;
        client.write_all(b"0\r\n\r\n")
    }
}

/// Sends 2,000 deltas, each in a TCP segment of its own, as a model does that is much faster than any of today.
fn send_segments(client: &mut impl Write) -> io::Result<()> {
    client.write_all(&event_stream_head())?;
    for event in events(&prose(2_000), "end_turn") {
        client.write_all(&chunk(event))?;
        thread::sleep(Duration::from_micros(500));
    }
    client.write_all(b"0\r\n\r\n")
}

/// Pieces of 22 bytes, one in ten of which ends a paragraph.
fn prose(count: usize) -> Vec<&'static str> {
    let piece = |i| match i % 10 {
        9 => "and there it ends .\n\n",
        _ => "word and another word ",
    };
    (0..count).map(piece).collect()
}

/// Reads a whole request and returns the first part of its path.
fn read_request(client: &mut BufReader<impl Read + Write>) -> io::Result<String> {
    let mut first = String::new();
    client.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        client.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "expect: 100-continue" {
            client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
    }
    io::copy(&mut client.take(length), &mut io::sink())?;
    let path = first.split(['/', ' ']).nth(2).unwrap_or_default();
    Ok(path.to_owned())
}
