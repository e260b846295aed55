//! Options and input become the JSON body, one to one: what was not asked for is not in it.

use anyhow::ensure;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;

use crate::cli::args::{Args, DEFAULT_MAX_TOKENS, DEFAULT_MODEL};
use crate::input::attachment::Attachment;
use crate::input::prompt::{Part, Prompt};
use crate::input::read::MAX_REQUEST_BYTES;
use crate::input::{Input, Turn};

/// The body, and whether it asks for a stream.
#[derive(Debug)]
pub struct Request {
    pub body: Vec<u8>,
    pub stream: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<&'a RawValue>,
    #[serde(flatten, serialize_with = "as_map")]
    others: &'a [(String, Box<RawValue>)],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Given(&'a RawValue),
    New { role: &'static str, content: Content<'a> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Blocks(Vec<Block<'a>>),
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(flatten)]
    data: BlockData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl<'a>>,
    #[serde(skip)]
    is_words: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockData<'a> {
    Text {
        text: String,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 {
        media_type: &'static str,
        #[serde(serialize_with = "as_base64")]
        data: &'a [u8],
    },
    Text {
        media_type: &'static str,
        data: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "ephemeral")]
struct CacheControl<'a> {
    ttl: &'a str,
}

impl Request {
    /// Builds the body as UTF-8 JSON; `stream` asks for a stream, unless the body is given whole.
    ///
    /// # Errors
    /// A body larger than the API's limit.
    pub fn new(args: &Args, stream: bool, input: Input) -> anyhow::Result<Request> {
        let request = match input {
            Input::Body { json, stream } => Request { body: json, stream },
            Input::Turn(turn) => Request { body: build(args, stream, *turn)?, stream },
        };
        let length = request.body.len();
        ensure!(
            length <= MAX_REQUEST_BYTES,
            "the request is {:.1} MB; the API's limit is 32 MB",
            length as f64 / 1e6
        );
        Ok(request)
    }
}

fn build(args: &Args, stream: bool, turn: Turn) -> anyhow::Result<Vec<u8>> {
    let text: usize =
        turn.prompt.iter().flat_map(|prompt| &prompt.parts).map(|part| part.text.len()).sum();
    let files: usize = turn.attachments.iter().map(Attachment::encoded_len).sum();
    let mut messages: Vec<_> =
        turn.conversation.messages.iter().map(|message| Message::Given(message)).collect();
    if turn.prompt.is_some() || !turn.attachments.is_empty() {
        let content = content(&turn.attachments, turn.prompt, args.cache_prompt.as_deref());
        messages.push(Message::New { role: "user", content });
    }
    let parameters = &turn.parameters;
    let body = Body {
        model: args.model.as_deref().unwrap_or(DEFAULT_MODEL),
        messages,
        max_tokens: args.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        system: parameters.system.as_deref(),
        temperature: args.temperature.and_then(number),
        top_p: args.top_p.and_then(number),
        top_k: args.top_k,
        stream: stream.then_some(true),
        metadata: parameters.metadata.as_deref(),
        output_config: parameters.output_config.as_deref(),
        others: &parameters.others,
    };
    let mut json = Vec::with_capacity(text + files + 1024);
    serde_json::to_writer(&mut json, &body)?;
    Ok(json)
}

/// A string, or blocks if there are attachments or a mark to set: attachments first, PROMPT last.
fn content<'a>(
    attachments: &'a [Attachment],
    prompt: Option<Prompt>,
    cache: Option<&'a str>,
) -> Content<'a> {
    let prompt = prompt.unwrap_or_default();
    if attachments.is_empty() && cache.is_none() {
        return Content::Text(prompt.into_text());
    }
    let mut blocks: Vec<Block> = attachments.iter().map(attachment_block).collect();
    match cache {
        None if prompt.parts.is_empty() => {}
        None => blocks.push(text_block(Part { text: prompt.into_text(), is_words: true })),
        Some(ttl) => {
            // The API refuses a text block without a word.
            let parts = prompt.parts.into_iter().filter(|part| !part.text.trim().is_empty());
            blocks.extend(parts.map(text_block));
            mark(&mut blocks, ttl);
        }
    }
    Content::Blocks(blocks)
}

/// Marks the end of what repeats from call to call: the last block that is not made of PROMPT's
/// words, or else the last.
fn mark<'a>(blocks: &mut [Block<'a>], ttl: &'a str) {
    let at = blocks.iter().rposition(|block| !block.is_words);
    let at = at.unwrap_or(blocks.len().saturating_sub(1));
    if let Some(block) = blocks.get_mut(at) {
        block.cache_control = Some(CacheControl { ttl });
    }
}

fn text_block<'a>(part: Part) -> Block<'a> {
    Block {
        data: BlockData::Text { text: part.text },
        cache_control: None,
        is_words: part.is_words,
    }
}

fn attachment_block(attachment: &Attachment) -> Block<'_> {
    let base64 = |media_type, data| Source::Base64 { media_type, data };
    let data = match attachment {
        Attachment::Image { media_type, bytes } => {
            BlockData::Image { source: base64(media_type, bytes) }
        }
        Attachment::Pdf(bytes) => {
            BlockData::Document { source: base64("application/pdf", bytes), title: None }
        }
        Attachment::Text { title, text } => BlockData::Document {
            source: Source::Text { media_type: "text/plain", data: text },
            title: title.as_deref(),
        },
    };
    Block { data, cache_control: None, is_words: false }
}

/// A number as JavaScript writes it: 1, not 1.0.
fn number(x: f64) -> Option<Number> {
    if x == 0.0 || x == 1.0 { Some(Number::from(u8::from(x == 1.0))) } else { Number::from_f64(x) }
}

fn as_map<S: Serializer>(
    pairs: &&[(String, Box<RawValue>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Encodes straight into the body, without a copy in between.
fn as_base64<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The body for some options, PROMPT `p` and standard input `in`.
    fn body(list: &[&str], attachments: Vec<Attachment>) -> String {
        let args = Args::try_parse_from([&["haiku"], list].concat()).unwrap();
        let part = |text: &str, is_words| Part { text: text.into(), is_words };
        let turn = Turn {
            attachments,
            prompt: Some(Prompt { parts: vec![part("in\"\u{1}é", false), part("p", true)] }),
            ..Turn::default()
        };
        let request = Request::new(&args, args.stream, Input::Turn(Box::new(turn))).unwrap();
        String::from_utf8(request.body).unwrap()
    }

    fn content_of(body: &str) -> &str {
        let (_, content) = body.split_once(r#""content":"#).unwrap();
        content.split_once(r#"}],"max_tokens""#).unwrap().0
    }

    #[test]
    fn the_body_holds_what_was_asked_for_and_no_more() {
        assert_eq!(
            body(&[], vec![]),
            r#"{"model":"anthropic/claude-haiku-4.5","messages":[{"role":"user","content":"in\"\u0001é\n\np"}],"max_tokens":8192}"#
        );
        let all = ["-m", "x", "--max-tokens", "7", "-t", "1.0", "--top-k", "3", "--stream"];
        assert!(
            body(&all, vec![])
                .ends_with(r#""max_tokens":7,"temperature":1,"top_k":3,"stream":true}"#)
        );
        assert!(body(&["--top-p", "0.25"], vec![]).ends_with(r#","top_p":0.25}"#));
        assert!(body(&["-t", "-0"], vec![]).ends_with(r#","temperature":0}"#));
    }

    #[test]
    fn attachments_come_first_as_documented_blocks() {
        let attachments = || {
            vec![
                Attachment::Image { media_type: "image/png", bytes: b"\xff\xfe\xfdab".to_vec() },
                Attachment::Pdf(b"ab".to_vec()),
                Attachment::Text { title: Some("n.txt".into()), text: "t\n".into() },
            ]
        };
        let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"//79YWI="}}"#;
        let pdf = r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"YWI="}}"#;
        let text = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"t\n"},"title":"n.txt"}"#;
        assert_eq!(
            content_of(&body(&[], attachments())),
            format!(r#"[{image},{pdf},{text},{{"type":"text","text":"in\"\u0001é\n\np"}}]"#)
        );
    }

    #[test]
    fn the_cache_mark_is_on_the_last_block_that_repeats() {
        let mark = r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#;
        assert_eq!(
            content_of(&body(&["--cache-prompt", "1h"], vec![])),
            format!(
                r#"[{{"type":"text","text":"in\"\u0001é"{mark}}},{{"type":"text","text":"p"}}]"#
            )
        );
        let mut words = vec![text_block(Part { text: "p".into(), is_words: true })];
        super::mark(&mut words, "5m");
        assert_eq!(
            serde_json::to_string(&words).unwrap(),
            r#"[{"type":"text","text":"p","cache_control":{"type":"ephemeral","ttl":"5m"}}]"#
        );
    }
}
