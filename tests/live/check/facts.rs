//! What haiku takes the service for: a table of calls, and under each the facts that it shows.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use jsonschema::is_valid;
use serde_json::{Value, json};

use super::relay::Treatment;
use super::{Call, Finding, ONCE};

/// Enough for a word.
const SHORT: [&str; 2] = ["--max-tokens", "16"];
const YES: &str = "Answer with the word yes.";
/// A reply that goes on for a while.
const COUNT: &str = "Count from 1 to 50, separated by spaces.";

/// Longer than the API's limit of 32 MB for a request.
const PADDING_BYTES: usize = 33 * 1024 * 1024;
/// Longer than what any proxy on the way takes before it looks at the head.
const LARGE_PROMPT_BYTES: usize = 12 * 1024 * 1024;
const LARGE_IMAGE_BYTES: usize = 6_000_000;
/// The model caches nothing that is shorter than 4,096 tokens.
const CACHED_LINES: usize = 1200;

const OUTPUT_SCHEMA: &str = include_str!("../../data/schema/output.json");
const INPUT_SCHEMA: &str = include_str!("../../data/schema/input.json");

/// One call of haiku, and what it shows.
pub struct Probe {
    pub name: &'static str,
    pub arguments: Vec<String>,
    pub input: String,
    pub account: Option<&'static str>,
    pub token: Option<&'static str>,
    pub treatment: Treatment,
    /// Whether haiku talks to the service itself, without the relay.
    pub is_direct: bool,
    pub is_retried: bool,
    pub facts: Vec<Fact>,
}

/// Something that we believe of the service.
pub struct Fact {
    pub name: String,
    pub believed: String,
    /// Whether haiku does something wrong if it is not so.
    pub is_relied_on: bool,
    pub judge: Box<dyn Fn(&Call) -> Finding>,
}

impl Probe {
    fn new(name: &'static str, arguments: &[&str]) -> Probe {
        Probe {
            name,
            arguments: arguments.iter().map(|argument| argument.to_string()).collect(),
            input: String::new(),
            account: None,
            token: None,
            treatment: Treatment::None,
            is_direct: false,
            is_retried: true,
            facts: Vec::new(),
        }
    }

    /// A short call with the prompt YES.
    fn short(name: &'static str, options: &[&str]) -> Probe {
        Probe::new(name, &[&SHORT, options, &["-n", YES]].concat())
    }

    /// A call whose body is given whole.
    fn body(name: &'static str, body: &Value) -> Probe {
        Probe::new(name, &["--body", "-"]).input(body.to_string())
    }

    fn input(self, input: impl Into<String>) -> Probe {
        Probe { input: input.into(), ..self }
    }

    fn token(self, token: &'static str) -> Probe {
        Probe { token: Some(token), ..self }
    }

    fn account(self, account: &'static str) -> Probe {
        Probe { account: Some(account), ..self }
    }

    fn treated(self, treatment: Treatment) -> Probe {
        Probe { treatment, is_retried: false, ..self }
    }

    fn fact(
        mut self,
        believed: &str,
        is_relied_on: bool,
        judge: impl Fn(&Call) -> Finding + 'static,
    ) -> Probe {
        let (name, believed) = (self.name.to_owned(), believed.to_owned());
        self.facts.push(Fact { name, believed, is_relied_on, judge: Box::new(judge) });
        self
    }

    /// haiku depends on it.
    fn relies(self, believed: &str, judge: impl Fn(&Call) -> Finding + 'static) -> Probe {
        self.fact(believed, true, judge)
    }

    /// haiku handles every case.
    fn expects(self, believed: &str, judge: impl Fn(&Call) -> Finding + 'static) -> Probe {
        self.fact(believed, false, judge)
    }

    fn accepted(self) -> Probe {
        self.relies("accepted", accepted)
    }

    /// Status, code or type, exit status and advice of a refusal.
    fn refused(
        self,
        statuses: &'static [u16],
        code: &'static str,
        exit: i32,
        advice: &'static str,
    ) -> Probe {
        let number = if code.bytes().all(|byte| byte.is_ascii_digit()) { "code" } else { "type" };
        let known: Vec<_> = statuses.iter().map(u16::to_string).collect();
        let code_words = if code.is_empty() { String::new() } else { format!(", {number} {code}") };
        let advice_words =
            if advice.is_empty() { String::new() } else { format!(", \"{advice}\"") };
        let believed =
            format!("HTTP {}{code_words}, exit {exit}{advice_words}", known.join(" or "));
        self.relies(&believed, move |call| {
            let status = call.exchange.status();
            let body = call.exchange.body();
            let codes = codes(&serde_json::from_str(&body).unwrap_or_default());
            let is_known = status.is_some_and(|status| statuses.contains(&status));
            let has_code = code.is_empty() || codes.iter().any(|known| known == code);
            let is_advised = call.stderr.contains(advice);
            let came = format!("{}, {}, {}", http(status), codes.join(" "), how_it_ended(call));
            found(is_known && has_code && call.exit == Some(exit) && is_advised, came)
        })
    }
}

fn found(is_so: bool, came: impl Into<String>) -> Finding {
    if is_so { Ok(came.into()) } else { Err(came.into()) }
}

fn http(status: Option<u16>) -> String {
    status.map_or("no response".into(), |status| format!("HTTP {status}"))
}

fn how_it_ended(call: &Call) -> String {
    let exit = call.exit.map_or("no exit status".into(), |exit| format!("exit {exit}"));
    if call.stderr.is_empty() { exit } else { format!("{exit}, {:?}", call.stderr) }
}

/// A reply, finished or cut off at the token limit.
fn accepted(call: &Call) -> Finding {
    let is_reply = matches!(call.exit, Some(0 | 5)) && !call.stdout.trim().is_empty();
    let text: String = call.stdout.chars().take(60).collect();
    found(is_reply, format!("{}, {text:?}", how_it_ended(call)))
}

/// Every `code`, and the `type` of every error, wherever it stands.
fn codes(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(codes).collect(),
        Value::Object(object) => {
            let own = match (object.get("code"), object.get("type")) {
                (Some(Value::String(code)), _) => Some(code.clone()),
                (Some(Value::Number(code)), _) => Some(code.to_string()),
                (_, Some(Value::String(kind))) if kind != "error" => Some(kind.clone()),
                _ => None,
            };
            own.into_iter().chain(object.values().flat_map(codes)).collect()
        }
        _ => Vec::new(),
    }
}

/// The Message in a response, and whether something is wrapped around it.
fn message(call: &Call) -> (Value, bool) {
    let mut value: Value = serde_json::from_str(&call.stdout).unwrap_or_default();
    let mut is_wrapped = false;
    while let Some(result) = value.get_mut("result").filter(|result| result.is_object()) {
        value = result.take();
        is_wrapped = true;
    }
    (value, is_wrapped)
}

fn usage(call: &Call, name: &str) -> u64 {
    message(call).0["usage"][name].as_u64().unwrap_or(0)
}

fn stop_reason(believed: &'static str, exit: i32) -> impl Fn(&Call) -> Finding {
    move |call| {
        let reason = message(call).0["stop_reason"].clone();
        let is_so = reason == believed && call.exit == Some(exit);
        found(is_so, format!("{reason}, {}", how_it_ended(call)))
    }
}

fn header(name: &'static str, is_so: impl Fn(&str) -> bool) -> impl Fn(&Call) -> Finding {
    move |call| match call.exchange.header(name) {
        Some(value) => found(is_so(&value), value),
        None => Err("absent".into()),
    }
}

fn cache_status(is_so: impl Fn(&str) -> bool) -> impl Fn(&Call) -> Finding {
    header("cf-aig-cache-status", is_so)
}

fn is_uuid_v7(id: &str) -> bool {
    id.len() == 36 && id.split('-').nth(2).is_some_and(|part| part.starts_with('7'))
}

/// Every call, the cheap ones too: each costs a tenth of a cent at most.
pub fn probes() -> Vec<Probe> {
    let mut probes = vec![Probe {
        is_direct: true,
        ..Probe::short("a call over TLS", &["-v"]).relies("exit 0", |call| {
            found(call.exit == Some(0), format!("{}, {:?}", how_it_ended(call), call.stdout))
        })
    }];
    probes.extend(examples());
    probes.extend([message_probe(), parameters(), stop_sequence(), prefill()]);
    probes.extend(refusals());
    probes.extend(limits());
    probes.extend(attachments());
    probes.push(schema());
    probes.extend(caches());
    probes.push(gateway_headers());
    probes
}

/// The examples of the model's documentation, with fewer tokens.
fn examples() -> Vec<Probe> {
    let files = [
        ("example simple-question", include_str!("../../data/examples/simple-question.json")),
        ("example system-message", include_str!("../../data/examples/system-message.json")),
        ("example creative-writing", include_str!("../../data/examples/creative-writing.json")),
        ("example multi-turn", include_str!("../../data/examples/multi-turn.json")),
        ("example streaming", include_str!("../../data/examples/streaming.json")),
    ];
    let probe = |(name, file)| {
        let example: Value = serde_json::from_str(file).expect("JSON");
        let mut body = example["input"].clone();
        body["model"] = example["model"].clone();
        body["max_tokens"] = json!(32);
        let probe = Probe::body(name, &body).accepted();
        if body["stream"] == json!(true) { stream_facts(probe) } else { probe }
    };
    files.map(probe).into()
}

fn stream_facts(probe: Probe) -> Probe {
    const DOCUMENTED: [&str; 6] = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    fn kind(data: &Value) -> &str {
        data["type"].as_str().unwrap_or("no type")
    }
    probe
        .relies(
            "Content-Type text/event-stream",
            header("content-type", |value| value.starts_with("text/event-stream")),
        )
        .relies("the documented events in their order", |call| {
            let events = events(call);
            let mut kinds: Vec<&str> = events.iter().map(|(_, data)| kind(data)).collect();
            kinds.retain(|kind| *kind != "ping");
            kinds.dedup();
            found(kinds == DOCUMENTED, kinds.join(", "))
        })
        .expects("each event is named as its type, lines end in LF, no padding", |call| {
            let events = events(call);
            let count = |is_so: &dyn Fn(&str, &Value) -> bool| {
                events.iter().filter(|(name, data)| is_so(name, data)).count()
            };
            let unnamed = count(&|name, data| kind(data) != name);
            let padded = count(&|_, data| data.get("p").is_some());
            let pings = count(&|_, data| kind(data) == "ping");
            let line_end = if call.exchange.body().contains('\r') { "CRLF" } else { "LF" };
            let came = format!(
                "{} events, {pings} pings, {unnamed} with another name, {padded} padded, {line_end}",
                events.len()
            );
            found(unnamed == 0 && padded == 0 && line_end == "LF", came)
        })
        .expects("stop reason and usage come with message_delta", |call| {
            let events = events(call);
            let delta = events.iter().find(|(_, data)| kind(data) == "message_delta");
            let delta = delta.map(|(_, data)| data.clone()).unwrap_or_default();
            let has_reason = delta["delta"]["stop_reason"].is_string();
            found(has_reason && delta["usage"]["output_tokens"].is_u64(), delta.to_string())
        })
}

/// Name and data of every event in a stream.
fn events(call: &Call) -> Vec<(String, Value)> {
    let body = call.exchange.body().replace("\r\n", "\n");
    let event = |text: &str| {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(field("data:")?.trim()).ok()?;
        Some((field("event:").unwrap_or_default().trim().to_owned(), data))
    };
    body.split("\n\n").filter_map(event).collect()
}

/// What a response consists of.
fn message_probe() -> Probe {
    let mut probe = Probe::short("response", &["--json"])
        .expects("a bare Message, not wrapped", |call| {
            found(!message(call).1, if message(call).1 { "wrapped" } else { "bare" })
        })
        .relies("the stop reason end_turn, exit 0", stop_reason("end_turn", 0));
    let schema: Value = serde_json::from_str(OUTPUT_SCHEMA).expect("JSON");
    for (name, rule) in schema["properties"].as_object().expect("properties").clone() {
        // The published rule for usage allows no more than two counts; more do come.
        let mut rule = rule;
        if let Some(rule) = rule.as_object_mut() {
            rule.remove("additionalProperties");
        }
        let is_relied_on = ["content", "stop_reason"].contains(&name.as_str());
        let believed = format!("{name} as in the published schema");
        probe = probe.fact(&believed, is_relied_on, move |call| match message(call).0.get(&name) {
            Some(value) => found(is_valid(&rule, value), value.to_string()),
            None => Err("absent".into()),
        });
    }
    probe
        .expects("gatewayMetadata.keySource is Unified or BYOK", |call| {
            let source = message(call).0["gatewayMetadata"]["keySource"].clone();
            found(["Unified", "BYOK"].iter().any(|known| source == *known), source.to_string())
        })
        .relies(
            "Content-Type application/json",
            header("content-type", |value| value.starts_with("application/json")),
        )
        .expects("the header cf-aig-cache-status is MISS", cache_status(|value| value == "MISS"))
        .expects("the header cf-aig-log-id is a UUIDv7", header("cf-aig-log-id", is_uuid_v7))
        .expects("a header cf-aig-request-id", header("cf-aig-request-id", |_| true))
        .expects("a header cf-ray", header("cf-ray", |_| true))
        .expects("a header request-id", header("request-id", |value| value.starts_with("req_")))
}

fn parameters() -> Probe {
    let metadata = r#"{"user_id":"live-check"}"#;
    Probe::short("parameters", &["--top-p", "0.9", "--top-k", "40", "--metadata", metadata])
        .accepted()
}

fn stop_sequence() -> Probe {
    let options = ["--json", "--max-tokens", "64", "--param", r#"stop_sequences=[" 7"]"#];
    Probe::new("a property that the schema does not name", &[&options[..], &["-n", COUNT]].concat())
        .relies("stop_sequences ends the reply, exit 0", stop_reason("stop_sequence", 0))
}

fn prefill() -> Probe {
    let conversation = [
        json!({"role": "user", "content": "Which city is the capital of France? Answer in one sentence."}),
        json!({"role": "assistant", "content": "The capital of France is"}),
    ];
    Probe::new("prefill", &[&SHORT[..], &["--messages", "-"]].concat())
        .input(conversation.map(|message| format!("{message}\n")).concat())
        .expects("the reply goes on from it and does not repeat it", |call| {
            let is_so = call.exit == Some(0) && !call.stdout.contains("The capital");
            found(is_so, format!("{}, {:?}", how_it_ended(call), call.stdout))
        })
}

/// Wrong settings and wrong requests: each costs nothing.
fn refusals() -> Vec<Probe> {
    let ask = |extra: &Value| {
        let mut body = json!({"model": "anthropic/claude-haiku-4.5", "max_tokens": 16, "messages": [{"role": "user", "content": YES}]});
        body.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        body
    };
    let blank = json!({"messages": [{"role": "user", "content": " "}]});
    vec![
        Probe::short("a token of a wrong form", &[]).token("wrong").refused(
            &[400],
            "6003",
            3,
            "check the token",
        ),
        Probe::short("a wrong token of a right form", &[])
            .token("cfut_0000000000000000000000000000000000000000")
            .refused(&[401], "10000", 3, "check the token"),
        Probe::short("an account of a wrong form", &[]).account("no-such-account").refused(
            &[400, 404],
            "7003",
            3,
            "account ID",
        ),
        Probe::short("a wrong account of a right form", &[])
            .account("0123456789abcdef0123456789abcdef")
            .refused(&[401, 403, 404], "", 3, ""),
        Probe::short("a wrong model", &["-m", "anthropic/no-such-model"]).refused(
            &[404],
            "not_found_error",
            3,
            "check --model",
        ),
        Probe::short("the model with dashes", &["-m", "anthropic/claude-haiku-4-5"]).refused(
            &[404],
            "not_found_error",
            3,
            "check --model",
        ),
        Probe::short("a wrong gateway", &["-g", "no-such-gateway-0000"]).refused(
            &[400],
            "2001",
            3,
            "check --gateway",
        ),
        Probe::body("temperature with top_p", &ask(&json!({"temperature": 0.5, "top_p": 0.5})))
            .refused(&[400], "invalid_request_error", 3, "cannot both be specified"),
        Probe::body("a blank prompt", &ask(&blank)).refused(&[400], "invalid_request_error", 3, ""),
        Probe::short("no provider key (cf-aig-no-wholesale)", &["-H", "cf-aig-no-wholesale: true"])
            .expects("HTTP 400, or a reply with a key of one's own", |call| {
                let status = call.exchange.status();
                found(
                    matches!(status, Some(200 | 400)),
                    format!("{}, {}", http(status), how_it_ended(call)),
                )
            }),
        Probe::short("a body over 32 MB", &[]).treated(Treatment::Pad(PADDING_BYTES)).refused(
            &[413],
            "",
            3,
            "32 MB",
        ),
        Probe::new("an early refusal of a large body", &[&SHORT[..], &["-", YES]].concat())
            .token("cfut_0000000000000000000000000000000000000000")
            .input("large ".repeat(LARGE_PROMPT_BYTES / 6))
            .relies("exit 3, whether or not all of it was sent", |call| {
                let exchange = &call.exchange;
                let sent = format!(
                    "{} of {} bytes sent before the response",
                    exchange.sent_before_response, exchange.request_bytes
                );
                found(
                    call.exit == Some(3),
                    format!("{}, {sent}, {}", http(exchange.status()), how_it_ended(call)),
                )
            }),
    ]
}

fn limits() -> Vec<Probe> {
    vec![
        Probe::new("the token limit", &["--json", "--max-tokens", "4", "-n", COUNT])
            .relies("the stop reason max_tokens, exit 5", stop_reason("max_tokens", 5)),
        Probe::new("max_tokens 8,193", &["--max-tokens", "8193", "-n", YES])
            .expects("accepted, though the catalogue says 8,192", accepted),
        Probe::body("an image of 6 MB", &json!({
            "model": "anthropic/claude-haiku-4.5", "max_tokens": 16,
            "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": STANDARD.encode(large_png())}},
                {"type": "text", "text": YES},
            ]}],
        }))
        .expects("accepted: the limit is 10 MiB of base64", accepted),
    ]
}

fn attachments() -> Vec<Probe> {
    let attach =
        |name, file| Probe::new(name, &[&SHORT[..], &["-n", "-a", file, YES]].concat()).accepted();
    vec![
        attach("an attached image", "image.png"),
        attach("an attached PDF", "document.pdf"),
        attach("an attached text", "notes.txt"),
    ]
}

fn schema() -> Probe {
    Probe::new(
        "--schema",
        &["--max-tokens", "64", "--schema", "schema.json", "-n", "Is 91 a prime number?"],
    )
    .relies("JSON of the schema, exit 0", |call| {
        let reply: Value = serde_json::from_str(&call.stdout).unwrap_or_default();
        found(
            call.exit == Some(0) && reply["prime"].is_boolean(),
            format!("{}, {:?}", how_it_ended(call), call.stdout),
        )
    })
}

/// The model's cache of prompts, and the gateway's cache of replies.
fn caches() -> Vec<Probe> {
    let lines: String = (0..CACHED_LINES).map(|n| format!("Line {n}.\n")).collect();
    let cached = format!("{ONCE}\n{lines}");
    let prompt = |name| {
        let options = ["--json", "--cache-prompt", "5m", "-", YES];
        Probe::new(name, &[&SHORT[..], &options].concat()).input(cached.clone())
    };
    let tokens = |name: &'static str| {
        move |call: &Call| {
            found(
                usage(call, name) > 0,
                format!("{} tokens, {}", usage(call, name), how_it_ended(call)),
            )
        }
    };
    let reply = |name, options: &[&str]| {
        let word = format!("Answer with the word {ONCE}.");
        Probe::new(name, &[&SHORT[..], &["--cache-ttl", "60s"], options, &["-n", &word]].concat())
    };
    let is_hit = |value: &str| value == "HIT";
    vec![
        prompt("--cache-prompt")
            .accepted()
            .expects("written", tokens("cache_creation_input_tokens")),
        prompt("--cache-prompt again").expects("read", tokens("cache_read_input_tokens")),
        reply("--cache-ttl, a reply that breaks off", &["--no-stream"])
            .treated(Treatment::Cut)
            .relies("exit 4", |call| found(call.exit == Some(4), how_it_ended(call))),
        reply("--cache-ttl after that", &["--no-stream"])
            .expects("HIT: the gateway kept the reply that broke off", cache_status(is_hit)),
        reply("--cache-ttl again", &["--no-stream"]).relies("HIT", cache_status(is_hit)),
        reply("--cache-ttl with --stream", &["--stream"])
            .expects("not a HIT", cache_status(move |value| !is_hit(value))),
        reply("--cache-ttl with --stream again", &["--stream"]).expects(
            "not a HIT: the gateway does not cache streams",
            cache_status(move |value| !is_hit(value)),
        ),
    ]
}

fn gateway_headers() -> Probe {
    Probe::short(
        "cf-aig headers",
        &[
            "--skip-cache",
            "-H",
            "cf-aig-collect-log: false",
            "-H",
            "cf-aig-collect-log-payload: false",
            "-H",
            r#"cf-aig-metadata: {"from":"live-check"}"#,
            "-H",
            "cf-aig-request-timeout: 60000",
        ],
    )
    .accepted()
    .expects("cf-aig-collect-log: false leaves no cf-aig-log-id", |call| {
        let id = call.exchange.header("cf-aig-log-id");
        found(id.is_none(), id.unwrap_or("absent".into()))
    })
}

/// Every property of the published input schema as a fact: accepted calls have to have had it.
pub fn input_properties() -> Vec<Fact> {
    let schema: Value = serde_json::from_str(INPUT_SCHEMA).expect("JSON");
    let message = &schema["properties"]["messages"]["items"]["properties"];
    let blocks = &message["content"]["anyOf"][1]["items"]["properties"];
    let keys = |properties: &Value, path: &str| -> Vec<String> {
        properties
            .as_object()
            .expect("properties")
            .keys()
            .map(|key| format!("{path}{key}"))
            .collect()
    };
    let mut names = keys(&schema["properties"], "");
    names.extend(keys(message, "messages."));
    names.extend(keys(blocks, "messages.content."));
    let fact = |name| Fact {
        name: format!("input property {name}"),
        believed: "accepted".into(),
        is_relied_on: true,
        judge: Box::new(|_| Err("not asked".into())),
    };
    names.into_iter().map(fact).collect()
}

/// The properties of a body, named as [`input_properties`] names its facts.
pub fn properties(body: &Value) -> Vec<String> {
    let keys = |value: &Value, path: &str| -> Vec<String> {
        let object = value.as_object().into_iter().flatten();
        object.map(|(key, _)| format!("input property {path}{key}")).collect()
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut names = keys(body, "");
    for message in list(&body["messages"]) {
        names.extend(keys(&message, "messages."));
        for block in list(&message["content"]) {
            names.extend(keys(&block, "messages.content."));
        }
    }
    names
}

/// The files that the arguments name.
pub fn files() -> [(&'static str, Vec<u8>); 4] {
    let schema = r#"{"type": "object", "properties": {"prime": {"type": "boolean"}}, "required": ["prime"], "additionalProperties": false}"#;
    [
        ("image.png", png()),
        ("document.pdf", pdf()),
        ("notes.txt", b"The word is yes.\n".to_vec()),
        ("schema.json", schema.as_bytes().to_vec()),
    ]
}

/// A grey square.
fn png() -> Vec<u8> {
    const SIDE: u32 = 32;
    let rows = vec![0x80; (SIDE * (SIDE + 1)) as usize];
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    // A zero before each row: no filter.
    for row in rows.chunks(SIDE as usize + 1) {
        pixels.write_all(&[&[0], &row[1..]].concat()).expect("memory");
    }
    let side = SIDE.to_be_bytes();
    let header = [&side[..], &side, &[8, 0, 0, 0, 0]].concat();
    let chunks =
        [(b"IHDR", header), (b"IDAT", pixels.finish().expect("memory")), (b"IEND", vec![])];
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in chunks {
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(&data);
        png.extend((data.len() as u32).to_be_bytes());
        png.extend([&name[..], &data, &crc.sum().to_be_bytes()].concat());
    }
    png
}

/// The same with bytes after its end, which decoders pass over.
fn large_png() -> Vec<u8> {
    let mut png = png();
    png.resize(LARGE_IMAGE_BYTES, 0);
    png
}

/// A page with one line of text.
fn pdf() -> Vec<u8> {
    let text = "BT /F1 24 Tf 72 720 Td (The word is yes.) Tj ET";
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{text}\nendstream", text.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let mut pdf = "%PDF-1.4\n".to_owned();
    let mut table = "0000000000 65535 f \n".to_owned();
    for (i, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", pdf.len());
        pdf += &format!("{} 0 obj{object}endobj\n", i + 1);
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    pdf += &format!(
        "xref\n0 {size}\n{table}trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"
    );
    pdf.into_bytes()
}
