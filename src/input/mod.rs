//! What is asked: parameters, conversation, attachments and prompt, from arguments, files and standard input.

pub mod attachment;
pub mod conversation;
mod json;
pub mod parameters;
pub mod prompt;
pub mod read;

use std::path::Path;

use anyhow::bail;

use crate::cli::args::Args;
use crate::output::stderr::Reporter;
use attachment::Attachment;
use conversation::Conversation;
use parameters::Parameters;
use prompt::{Prompt, PromptPlan, Stdin};

/// Everything that goes into the request body.
#[derive(Debug)]
pub enum Input {
    /// `--body`: the body as it is sent, and whether it asks for a stream.
    Body {
        json: Vec<u8>,
        stream: bool,
    },
    Turn(Box<Turn>),
}

/// A conversation and the user's new turn.
#[derive(Debug, Default)]
pub struct Turn {
    pub parameters: Parameters,
    pub conversation: Conversation,
    pub attachments: Vec<Attachment>,
    pub prompt: Option<Prompt>,
}

/// Reads and checks all of it. Standard input comes last, for it may take its time.
///
/// # Errors
/// Input that cannot be read, breaks a rule, or leaves nothing to send.
pub fn read(
    args: &Args,
    parameters: Parameters,
    plan: PromptPlan,
    reporter: &Reporter,
) -> anyhow::Result<Input> {
    let warn = |stream: bool| {
        if stream && args.cache_ttl.is_some() {
            reporter.warn("warning: --cache-ttl has no effect: the gateway does not cache streams");
        }
        if plan.stdin == Stdin::Unread && read::has_waiting_stdin() {
            reporter
                .warn("warning: unread data on standard input; use - to read it, or -n to skip it");
        }
    };
    if let Some(path) = &args.body {
        let (json, stream) = parameters::read_body(path)?;
        warn(stream);
        return Ok(Input::Body { json, stream });
    }
    let attachments = attachment::read(&args.attach)?;
    if !attachments.is_empty() {
        warn_of_file_names(args, reporter);
    }
    let conversation = match &args.messages {
        Some(path) => Conversation::read(path)?,
        None => Conversation::default(),
    };
    warn(args.stream);
    let stdin = match plan.stdin {
        Stdin::Ignored | Stdin::Unread => String::new(),
        Stdin::Optional if !plan.is_blank() => read::optional_stdin(args.timeout, reporter)?,
        Stdin::Optional | Stdin::Required => read::text(Path::new("-"), "")?,
    };
    let is_optional = args.messages.is_some() || !attachments.is_empty();
    let prompt = plan.prompt(stdin, is_optional)?;
    if prompt.is_none() && attachments.is_empty() {
        conversation.check_complete()?;
        if args.cache_prompt.is_some() {
            bail!(
                "--cache-prompt marks a new user turn, and there is none; put cache_control into the messages"
            );
        }
    }
    Ok(Input::Turn(Box::new(Turn { parameters, conversation, attachments, prompt })))
}

/// `-a *.png` attaches the first file, and makes the other names the prompt.
fn warn_of_file_names(args: &Args, reporter: &Reporter) {
    let name = args.prompt.iter().find(|word| *word != "-" && Path::new(word).is_file());
    if let Some(name) = name {
        reporter.warn(&format!(
            "warning: '{}' is sent as text, but is the name of a file; to attach it, put -a before it",
            name.to_string_lossy()
        ));
    }
}
