//! A mock of Cloudflare's API on a loopback port: it sends documented responses, or any bytes that a test gives it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Bounds the wait for a client's request, so that no test hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub const JSON: (&str, &str) = ("content-type", "application/json");

/// What AI Gateway adds to a response.
pub const GATEWAY_HEADERS: [(&str, &str); 2] =
    [("cf-aig-cache-status", "MISS"), ("cf-aig-log-id", "01JADMCQQQBWH3NXZ5GCRN98DP")];

#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method, path and version.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// What the server does after it has read a request, one step after another.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Keep the connection open, silent, until the client closes it.
    Hold,
    /// Send these bytes again and again until the client closes the connection.
    Repeat(Vec<u8>),
}

type Respond = dyn Fn(usize, &Request) -> Vec<Step> + Send + Sync;

/// Runs until the test process ends.
pub struct Server {
    /// On 127.0.0.1.
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    client_left: Arc<AtomicBool>,
}

impl Server {
    /// Responds to the nth request, counted from 0, with the steps that `respond` returns.
    pub fn new(respond: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static) -> Server {
        let (listener, server) = Server::listen();
        let (requests, client_left) = (server.requests.clone(), server.client_left.clone());
        let respond: Arc<Respond> = Arc::new(respond);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (requests, client_left) = (requests.clone(), client_left.clone());
                let respond = respond.clone();
                thread::spawn(move || serve(client, &requests, &client_left, &*respond));
            }
        });
        server
    }

    /// Accepts connections and never reads from them.
    pub fn unresponsive() -> Server {
        let (listener, server) = Server::listen();
        thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        server
    }

    fn listen() -> (TcpListener, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Server {
            port: listener.local_addr().expect("an address").port(),
            requests: Arc::default(),
            client_left: Arc::default(),
        };
        (listener, server)
    }

    /// Responds to every request with the same steps.
    pub fn always(steps: Vec<Step>) -> Server {
        Server::new(move |_, _| steps.clone())
    }

    /// Responds to every request with these bytes.
    pub fn sending(bytes: impl Into<Vec<u8>>) -> Server {
        Server::always(vec![Step::Send(bytes.into())])
    }

    /// Sends each of these in turn, one for each request, and the last from then on.
    pub fn sequence(responses: Vec<Vec<u8>>) -> Server {
        Server::new(move |n, _| vec![Step::Send(responses[n.min(responses.len() - 1)].clone())])
    }

    /// Responds with JSON, given as a value or as text.
    pub fn json(status: u16, body: impl ToString) -> Server {
        Server::sending(json_response(status, body.to_string()))
    }

    /// Replies with one JSON message.
    pub fn message(text: &str, stop_reason: &str) -> Server {
        Server::json(200, message(text, stop_reason))
    }

    /// Replies with a complete stream, one delta for each piece.
    pub fn stream(pieces: &[&str], stop_reason: &str) -> Server {
        Server::events(&events(pieces, stop_reason))
    }

    /// Streams these events, however incomplete, and ends the response properly.
    pub fn events(events: &[impl AsRef<[u8]>]) -> Server {
        Server::sending(event_stream(events))
    }

    /// Replies as documented: to a documented prompt with the documented text, to any other with
    /// the prompt itself.
    pub fn documented() -> Server {
        Server::documented_or(str::to_owned)
    }

    /// The same with `reply` for the prompts that are not documented.
    pub fn documented_or(reply: fn(&str) -> String) -> Server {
        Server::new(move |_, request| vec![Step::Send(documented_response(request, reply))])
    }

    /// The value for `--base-url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/client/v4", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }

    /// The only request so far.
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "number of requests");
        requests.remove(0)
    }

    /// Whether a client closed its connection while the server was still sending.
    pub fn client_left(&self) -> bool {
        self.client_left.load(Ordering::SeqCst)
    }
}

fn serve(
    mut client: TcpStream,
    requests: &Mutex<Vec<Request>>,
    client_left: &AtomicBool,
    respond: &Respond,
) {
    let _ = client.set_read_timeout(Some(READ_TIMEOUT));
    let Some(request) = read_request(&client) else {
        return;
    };
    let number = {
        let mut requests = requests.lock().expect("requests");
        requests.push(request.clone());
        requests.len() - 1
    };
    for step in respond(number, &request) {
        if take_step(&mut client, step).is_err() {
            client_left.store(true, Ordering::SeqCst);
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read(&mut [0]);
}

fn take_step(client: &mut TcpStream, step: Step) -> io::Result<()> {
    match step {
        Step::Send(bytes) => client.write_all(&bytes)?,
        Step::Wait(duration) => thread::sleep(duration),
        Step::Hold => drop(client.read(&mut [0])),
        Step::Repeat(bytes) => loop {
            client.write_all(&bytes)?;
        },
    }
    Ok(())
}

fn read_request(client: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(client);
    let mut request = Request::default();
    reader.read_line(&mut request.line).ok()?;
    request.line = request.line.trim_end().to_owned();
    for line in reader.by_ref().lines() {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let header = (name.to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    let length = request.header("content-length").unwrap_or("0");
    request.body.resize(length.parse().ok()?, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// A response with a Content-Length, as bytes.
pub fn http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len().to_string();
    let headers = [headers, &[("content-length", &length)]].concat();
    raw_http(status, &headers, body)
}

/// A response with exactly these headers.
pub fn raw_http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body.as_ref()].concat()
}

pub fn json_response(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    http(status, &[JSON], body)
}

/// A complete chunked response, one chunk for each piece.
pub fn event_stream(pieces: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let chunks = pieces.iter().flat_map(chunk);
    let last = chunk("");
    event_stream_head().into_iter().chain(chunks).chain(last).collect()
}

/// The start of a chunked stream up to and including a delta with `text`.
pub fn unfinished_stream(text: &str) -> Vec<u8> {
    let events = events(&[text], "end_turn");
    [event_stream_head(), chunk(events[..4].concat())].concat()
}

pub fn event_stream_head() -> Vec<u8> {
    let headers =
        [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked")];
    raw_http(200, &[&headers[..], &GATEWAY_HEADERS].concat(), "")
}

pub fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("{:x}\r\n", bytes.as_ref().len());
    [length.as_bytes(), bytes.as_ref(), b"\r\n"].concat()
}

/// A message as the API documents it.
pub fn message(text: &str, stop_reason: &str) -> Value {
    json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "stop_details": null,
        "usage": {"input_tokens": 17, "output_tokens": 191},
        "gatewayMetadata": {"keySource": "Unified"},
    })
}

/// The events of a whole message, one delta for each piece. The first delta is the fourth event.
pub fn events(pieces: &[&str], stop_reason: &str) -> Vec<String> {
    let mut start = message("", stop_reason);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"] = json!({"input_tokens": 17, "output_tokens": 1});
    let before = [
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    let end = json!({"stop_reason": stop_reason, "stop_sequence": null});
    let after = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 191}}),
        json!({"type": "message_stop"}),
    ];
    let deltas = pieces.iter().map(|piece| delta(piece));
    let all = before.into_iter().chain(deltas).chain(after);
    all.map(|data| event(&data)).collect()
}

/// The data of one text delta, padded as the gateway pads it: each differently.
pub fn delta(text: &str) -> Value {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let length = COUNT.fetch_add(7, Ordering::Relaxed) % 26;
    json!({
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
        "p": "abcdefghijklmnopqrstuvwxyz"[..length],
    })
}

pub fn event(data: &Value) -> String {
    let kind = data["type"].as_str().expect("a type");
    format!("event: {kind}\ndata: {data}  \n\n")
}

/// The examples of the model's documentation. They are compiled in because packages in different
/// folders use this file.
pub fn examples() -> Vec<Value> {
    let files = [
        include_str!("../../data/examples/creative-writing.json"),
        include_str!("../../data/examples/multi-turn.json"),
        include_str!("../../data/examples/simple-question.json"),
        include_str!("../../data/examples/streaming.json"),
        include_str!("../../data/examples/system-message.json"),
    ];
    let parse = |text| serde_json::from_str(text).expect("JSON");
    files.into_iter().map(parse).collect()
}

fn documented_response(request: &Request, reply: fn(&str) -> String) -> Vec<u8> {
    let body = request.json();
    let prompt = last_text(&body);
    let documented = |example: &Value| last_text(&example["input"]) == prompt;
    let text = match examples().into_iter().find(documented) {
        Some(example) => example["text"].as_str().expect("a text").to_owned(),
        None => reply(&prompt),
    };
    if body["stream"] == json!(true) {
        let pieces: Vec<&str> = text.split_inclusive(' ').collect();
        event_stream(&events(&pieces, "end_turn"))
    } else {
        let headers = [&[JSON], &GATEWAY_HEADERS[..]].concat();
        http(200, &headers, message(&text, "end_turn").to_string())
    }
}

/// The text of the last message in a body: its string, or its text blocks joined.
fn last_text(body: &Value) -> String {
    let last = body["messages"].as_array().and_then(|list| list.last());
    let content = last.map_or(&Value::Null, |message| &message["content"]);
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}
