//! The check against the live service, run against a mock that answers as the service is believed to.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::mock_server::{Request, Server, Step, chunk, events, http, message, raw_http};
use crate::support::test_ca::TestCa;
use crate::support::{Folder, TOKEN};

#[path = "../live/check/mod.rs"]
mod check;

use check::{Outcome, Settings};

const ACCOUNT: &str = "fedcba9876543210fedcba9876543210";

/// What the mock does otherwise than the service is believed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// Relied on.
    WrongTokenIsTemporary,
    NoKeySource,
    StreamsAreCached,
    /// The secrets come back, in an error and in a header.
    Echo,
}

/// A response: status, headers, and a JSON body or the events of a stream.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Value,
    stream: Option<Vec<String>>,
}

impl Answer {
    fn new(status: u16, body: Value) -> Answer {
        Answer { status, headers: Vec::new(), body, stream: None }
    }

    /// An error in Cloudflare's envelope.
    fn envelope(status: u16, error: Value) -> Answer {
        let body = json!({"result": null, "success": false, "errors": [error], "messages": []});
        Answer::new(status, body)
    }

    /// An error of the model's provider.
    fn provider(status: u16, kind: &str, message: &str) -> Answer {
        Answer::new(status, json!({"type": "error", "error": {"type": kind, "message": message}}))
    }

    fn bytes(self) -> Vec<u8> {
        let kind = if self.stream.is_some() {
            ("content-type", "text/event-stream; charset=utf-8")
        } else {
            ("content-type", "application/json")
        };
        let mut headers = vec![kind];
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let Some(events) = self.stream else {
            return http(self.status, &headers, self.body.to_string());
        };
        headers.push(("transfer-encoding", "chunked"));
        let chunks = events.iter().flat_map(chunk).chain(chunk(""));
        raw_http(self.status, &headers, "").into_iter().chain(chunks).collect()
    }
}

/// What the service remembers of earlier requests.
#[derive(Default)]
struct Memory {
    replies: BTreeSet<Vec<u8>>,
    prompts: BTreeSet<String>,
}

fn mock(mistakes: &'static [Mistake]) -> Server {
    let memory = Mutex::new(Memory::default());
    Server::new(move |_, request| {
        let is_made = |mistake| mistakes.contains(&mistake);
        let answer = match refusal(request, &is_made) {
            Some(answer) => answer,
            None => reply(request, &mut memory.lock().unwrap(), &is_made),
        };
        vec![Step::Send(answer.bytes())]
    })
}

/// Why a request is refused, if it is.
fn refusal(request: &Request, is_made: &dyn Fn(Mistake) -> bool) -> Option<Answer> {
    let token = request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let account = request.line.split("/accounts/").nth(1).unwrap().split('/').next().unwrap();
    if request.body.len() > 32 * 1024 * 1024 {
        return Some(Answer::provider(
            413,
            "request_too_large",
            "Request exceeds the maximum size",
        ));
    }
    if token == "wrong" {
        let chain = json!([{"code": 6111, "message": "Invalid format for Authorization header"}]);
        let error =
            json!({"code": 6003, "message": "Invalid request headers", "error_chain": chain});
        return Some(Answer::envelope(400, error));
    }
    if account.len() != 32 {
        let mut text = format!("Could not route to /client/v4/accounts/{account}/ai/v1/messages");
        if is_made(Mistake::Echo) {
            text += &format!(", not to {ACCOUNT} with {TOKEN}");
        }
        return Some(Answer::envelope(404, json!({"code": 7003, "message": text})));
    }
    if token != TOKEN || account != ACCOUNT {
        let is_large = request.body.len() > 1_000_000;
        let status = match is_made(Mistake::WrongTokenIsTemporary) && token != TOKEN && !is_large {
            true => return Some(Answer::new(500, json!({}))),
            false if token == TOKEN => 403,
            false => 401,
        };
        let error = json!({"code": 10000, "message": "Authentication error"});
        return Some(Answer::envelope(status, error));
    }
    if request.header("cf-aig-gateway-id") != Some("default") {
        let error = json!({"code": 2001, "message": "Please configure AI Gateway"});
        return Some(Answer::envelope(400, error));
    }
    let body = request.json();
    let invalid = |message| Some(Answer::provider(400, "invalid_request_error", message));
    if body["model"] != "anthropic/claude-haiku-4.5" {
        return Some(Answer::provider(404, "not_found_error", "Model not found"));
    }
    if request.header("cf-aig-no-wholesale").is_some() {
        return invalid("No credentials for this provider");
    }
    if body.get("temperature").is_some() && body.get("top_p").is_some() {
        return invalid("`temperature` and `top_p` cannot both be specified for this model.");
    }
    if body["messages"][0]["content"] == " " {
        return invalid("messages: text content blocks must contain non-whitespace text");
    }
    None
}

fn reply(request: &Request, memory: &mut Memory, is_made: &dyn Fn(Mistake) -> bool) -> Answer {
    let body = request.json();
    let is_stream = body["stream"] == json!(true);
    let (text, stop_reason) = text(&body);
    let mut message = message(&text, stop_reason);
    let metadata = message["gatewayMetadata"].as_object_mut().unwrap();
    if is_made(Mistake::NoKeySource) {
        metadata.clear();
    }
    let first = &body["messages"][0]["content"][0];
    if first.get("cache_control").is_some() {
        let is_new = memory.prompts.insert(first["text"].to_string());
        let kind = if is_new { "cache_creation_input_tokens" } else { "cache_read_input_tokens" };
        message["usage"][kind] = json!(5000);
    }
    let is_cached = request.header("cf-aig-cache-ttl").is_some()
        && (!is_stream || is_made(Mistake::StreamsAreCached))
        && !memory.replies.insert(request.body.clone());
    let mut answer = Answer::new(200, message);
    let mut header = |name, value: &str| answer.headers.push((name, value.to_owned()));
    header("cf-aig-cache-status", if is_cached { "HIT" } else { "MISS" });
    header("cf-aig-request-id", "0193a2b4-0000-7000-8000-000000000001");
    header("cf-ray", "8e8a1b2c3d4e5f60-FRA");
    header("request-id", "req_011CSHoEeqs5C35K2UUqR7Fy");
    if request.header("cf-aig-collect-log") != Some("false") {
        header("cf-aig-log-id", "0193a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b");
    }
    if is_made(Mistake::Echo) {
        header("set-cookie", "__cf_bm=biscuit");
        header("x-echo", &format!("{ACCOUNT} {TOKEN}"));
    }
    if is_stream {
        let unpadded = |event: &String| match event.split_once(r#","p":""#) {
            Some((before, rest)) => before.to_owned() + rest.split_once('"').unwrap().1,
            None => event.clone(),
        };
        answer.stream = Some(events(&[&text], stop_reason).iter().map(unpadded).collect());
    }
    answer
}

/// The reply's text, and why it ends: `max_tokens` is taken for four characters each.
fn text(body: &Value) -> (String, &'static str) {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    let prompt = last["content"].to_string();
    let numbers: Vec<String> = (1..=50).map(|number| number.to_string()).collect();
    let whole = match &prompt {
        _ if last["role"] == "assistant" => " Paris.".into(),
        _ if body.get("output_config").is_some() => r#"{"prime": false}"#.into(),
        _ if prompt.contains("Count from 1") => numbers.join(" "),
        _ if prompt.contains("the word") => "Yes".into(),
        _ => "A long reply. ".repeat(30),
    };
    let max_chars = 4 * body["max_tokens"].as_u64().unwrap() as usize;
    let stop = body["stop_sequences"][0].as_str().and_then(|stop| whole.find(stop));
    match stop {
        Some(at) => (whole[..at].into(), "stop_sequence"),
        None if whole.len() > max_chars => (whole[..max_chars].into(), "max_tokens"),
        None => (whole, "end_turn"),
    }
}

fn settings(base_url: String) -> Settings {
    Settings {
        account: ACCOUNT.into(),
        token: TOKEN.into(),
        base_url,
        gateway: None,
        ca_file: None,
        environment: Vec::new(),
        record: None,
    }
}

/// The outcome, and the lines that differ.
fn run(settings: &Settings) -> (Outcome, String, Vec<String>) {
    let mut printed = Vec::new();
    let outcome = check::run(settings, &mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let differ = printed.lines().filter(|line| line.starts_with("differs"));
    let differ = differ.map(str::to_owned).collect();
    (outcome, printed, differ)
}

#[test]
fn everything_is_confirmed_by_a_service_as_it_is_documented() {
    let ca = TestCa::new();
    let tls = ca.serve(&mock(&[]));
    let settings = Settings { ca_file: Some(ca.file()), ..settings(tls.url()) };
    let (outcome, printed, differ) = run(&settings);
    assert_eq!(differ, [""; 0], "{printed}");
    assert!(outcome.confirmed > 50 && !outcome.is_fatal);
    assert!(printed.ends_with(&format!("{} confirmed, 0 differ\n", outcome.confirmed)));
}

#[test]
fn exactly_the_facts_that_differ_are_found() {
    let server =
        mock(&[Mistake::WrongTokenIsTemporary, Mistake::NoKeySource, Mistake::StreamsAreCached]);
    let (outcome, printed, differ) = run(&settings(server.url()));
    let names: Vec<_> = differ.iter().map(|line| line.split(';').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "differs    response: gatewayMetadata.keySource is Unified or BYOK",
            "differs    a wrong token of a right form: HTTP 401, code 10000, exit 3, \"check the token\"",
            "differs    --cache-ttl with --stream again: not a HIT: the gateway does not cache streams",
        ],
        "{printed}"
    );
    assert!(differ[1].ends_with("[haiku depends on it]") && outcome.is_fatal);
    assert!(printed.ends_with(" confirmed, 3 differ\n"));
}

#[test]
fn what_no_behaviour_depends_on_is_not_fatal() {
    let (outcome, _, differ) = run(&settings(mock(&[Mistake::NoKeySource]).url()));
    assert_eq!(differ.len(), 1);
    assert!(differ[0].ends_with("[haiku does not depend on it]") && !outcome.is_fatal);
}

#[test]
fn no_secret_is_printed_or_recorded() {
    let folder = Folder::new();
    let record = Some(folder.path("responses"));
    let settings = Settings { record, ..settings(mock(&[Mistake::Echo]).url()) };
    let (_, printed, _) = run(&settings);
    assert!(!printed.contains(TOKEN) && !printed.contains(ACCOUNT), "{printed}");
    assert!(printed.contains("[redacted]"), "{printed}");
    let mut recorded = 0;
    for entry in fs::read_dir(folder.path("responses")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for secret in [TOKEN, ACCOUNT, "biscuit"] {
            assert!(!text.contains(secret), "{secret} in {path:?}: {text}");
        }
        recorded += usize::from(text.starts_with("HTTP/1.1 "));
    }
    assert!(recorded > 30, "{recorded}");
}
