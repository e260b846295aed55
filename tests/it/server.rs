//! A server on loopback that stands in for Cloudflare: it sends what the API documents, or any bytes a test asks for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The longest that the server waits for a client, so that no test hangs for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method, path and version.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// A part of what the server does after it has read a request.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Do nothing for a while.
    Wait(Duration),
    /// Say nothing more, and hold the connection until the client leaves.
    Hold,
    /// Send these bytes again and again until the client leaves.
    Repeat(Vec<u8>),
}

type Answer = dyn Fn(usize, &Request) -> Vec<Step> + Send + Sync;

/// A running server. It lives as long as the process.
pub struct Server {
    /// The port on 127.0.0.1.
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    client_left: Arc<AtomicBool>,
}

impl Server {
    /// Answers the nth request, counted from 0, with what `answer` says.
    pub fn new(answer: impl Fn(usize, &Request) -> Vec<Step> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let server = Server {
            port,
            requests: Arc::default(),
            client_left: Arc::default(),
        };
        let (requests, client_left) = (server.requests.clone(), server.client_left.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (requests, client_left) = (requests.clone(), client_left.clone());
                let answer = answer.clone();
                thread::spawn(move || serve(client, &requests, &client_left, &*answer));
            }
        });
        server
    }

    /// Takes connections and never reads from them.
    pub fn deaf() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        Server {
            port,
            requests: Arc::default(),
            client_left: Arc::default(),
        }
    }

    /// Answers every request with the same steps.
    pub fn always(steps: Vec<Step>) -> Server {
        Server::new(move |_, _| steps.clone())
    }

    /// Answers every request with one response of these bytes.
    pub fn sending(bytes: impl Into<Vec<u8>>) -> Server {
        Server::always(vec![Step::Send(bytes.into())])
    }

    /// Answers each request with the next of these, and with the last from then on.
    pub fn sequence(answers: Vec<Vec<Step>>) -> Server {
        Server::new(move |n, _| answers[n.min(answers.len() - 1)].clone())
    }

    /// Answers as the documented model does: a documented prompt gets the documented text, any
    /// other its own text back.
    pub fn documented() -> Server {
        Server::new(|_, request| vec![Step::Send(documented(request))])
    }

    /// Where `--base-url` has to point.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/client/v4", self.port)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }

    /// The only request so far.
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests that came");
        requests.remove(0)
    }

    /// Whether a client left while it was still being sent something.
    pub fn client_left(&self) -> bool {
        self.client_left.load(Ordering::SeqCst)
    }
}

fn serve(
    mut client: TcpStream,
    requests: &Mutex<Vec<Request>>,
    client_left: &AtomicBool,
    answer: &Answer,
) {
    let _ = client.set_read_timeout(Some(PATIENCE));
    let Some(request) = read_request(&client) else {
        return;
    };
    let number = {
        let mut requests = requests.lock().expect("requests");
        requests.push(request.clone());
        requests.len() - 1
    };
    for step in answer(number, &request) {
        let sent = match step {
            Step::Send(bytes) => client.write_all(&bytes),
            Step::Wait(duration) => {
                thread::sleep(duration);
                Ok(())
            }
            Step::Hold => {
                let _ = client.read(&mut [0]);
                Ok(())
            }
            Step::Repeat(bytes) => loop {
                if let Err(error) = client.write_all(&bytes) {
                    break Err(error);
                }
            },
        };
        if sent.is_err() {
            client_left.store(true, Ordering::SeqCst);
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read(&mut [0]);
}

fn read_request(client: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(client);
    let mut request = Request::default();
    reader.read_line(&mut request.line).ok()?;
    request.line = request.line.trim_end().to_owned();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length: usize = request
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .ok()?;
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// A response with a length, as bytes.
pub fn http(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = head(status, headers);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a response without the empty line that ends it.
pub fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head.into_bytes()
}

/// A JSON response.
pub fn json_response(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    http(status, &[("content-type", "application/json")], body)
}

/// A response of events in one chunk a piece.
pub fn event_stream(pieces: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = event_stream_head();
    for piece in pieces {
        bytes.extend(chunk(piece));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The head of a chunked response of events.
pub fn event_stream_head() -> Vec<u8> {
    let mut bytes = head(
        200,
        &[
            ("content-type", "text/event-stream; charset=utf-8"),
            ("transfer-encoding", "chunked"),
            ("cf-aig-cache-status", "MISS"),
            ("cf-aig-log-id", "01JADMCQQQBWH3NXZ5GCRN98DP"),
        ],
    );
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// One chunk of a chunked response.
pub fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A message that says `text`, as the API gives it.
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

/// The events of a message that says `pieces`, one delta each.
pub fn events(pieces: &[&str], stop_reason: &str) -> Vec<String> {
    let mut start = message("", stop_reason);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"] = json!({"input_tokens": 17, "output_tokens": 1});
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    events.extend(pieces.iter().map(|piece| delta(piece)));
    events.push(json!({"type": "content_block_stop", "index": 0}));
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": {"output_tokens": 191},
    }));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(event).collect()
}

/// The data of one text delta, padded as the gateway pads it.
pub fn delta(text: &str) -> Value {
    json!({
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
        "p": "abcdefghijklmn",
    })
}

/// One event as it stands in a stream.
pub fn event(data: &Value) -> String {
    let kind = data["type"].as_str().expect("a type");
    format!("event: {kind}\ndata: {data}  \n\n")
}

/// The documented examples.
pub fn examples() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/examples");
    let files = folder.read_dir().expect("the examples");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path| std::fs::read_to_string(path).expect("an example");
    let parse = |text: String| serde_json::from_str(&text).expect("JSON");
    paths.iter().map(read).map(parse).collect()
}

fn documented(request: &Request) -> Vec<u8> {
    let body = request.json();
    let prompt = last_text(&body["messages"]);
    let known = examples()
        .into_iter()
        .find(|example| last_text(&example["input"]["messages"]) == prompt);
    let text = match &known {
        Some(example) => example["text"].as_str().expect("a text"),
        None => &prompt,
    };
    if body["stream"] == json!(true) {
        let pieces: Vec<&str> = text.split_inclusive(' ').collect();
        event_stream(&events(&pieces, "end_turn"))
    } else {
        let headers = [
            ("content-type", "application/json"),
            ("cf-aig-cache-status", "MISS"),
            ("cf-aig-log-id", "01JADMCQQQBWH3NXZ5GCRN98DP"),
        ];
        http(200, &headers, message(text, "end_turn").to_string())
    }
}

/// The text of the last message: its string, or its text blocks joined.
fn last_text(messages: &Value) -> String {
    let last = messages.as_array().and_then(|list| list.last());
    let content = last.map_or(&Value::Null, |message| &message["content"]);
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}
