//! haiku: a Unix filter for Claude Haiku 4.5 on Cloudflare. Parse, run, exit status.

mod account;
mod args;
mod attach;
mod body;
mod cli;
mod error;
mod input;
mod messages;
mod output;
mod prompt;
mod proxy;
mod random;
mod refusal;
mod replace;
mod report;
mod request;
mod response;
mod retry;
mod sse;
mod stream;
mod transport;

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use account::Account;
use args::Args;
use error::{Exit, Failure};
use messages::Conversation;
use output::Output;
use prompt::{Circumstances, Plan, Stdin};
use refusal::Context;
use report::Report;
use request::{Input, Parameters};
use response::{Asked, Form, Reply};
use retry::Next;
use transport::Deadline;

fn main() -> ExitCode {
    let ended = match cli::parse() {
        Ok(Some(args)) => run(&args),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.exit != Exit::ReaderLeft {
                report::line(&failure.to_string());
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The whole call: what can be checked is checked before input is read, and that before anything
/// is sent.
fn run(args: &Args) -> Result<(), Failure> {
    let report = Report::new(args.quiet, args.verbose);
    let plan = Plan::new(&args.prompt, circumstances(args))?;
    if args.dry_run {
        account::check_options(args)?;
        let parameters = Parameters::new(args, args.stream)?;
        let body = parameters.body(&read_input(args, plan, report)?)?;
        return Output::stdout()?.write_whole(body);
    }
    let mut output = Output::new(args.output.as_deref())?;
    let (form, stream) = form(args, output.is_watched());
    let parameters = Parameters::new(args, stream)?;
    let account = Account::new(args, |name| env::var_os(name))?;
    report.hint(account.warning.as_deref());
    let input = read_input(args, plan, report)?;
    let deadline = Deadline::after(args.timeout);
    let body = parameters.body(&input)?;
    drop(input);
    let call = Call {
        args,
        account: &account,
        body: &body,
        form,
        stream,
        deadline,
    };
    let reply = ask(&call, &mut output, report)?;
    let verdict = reply.verdict(form);
    output.finish(verdict.is_ok())?;
    verdict.map_err(|failure| account.token.blot_failure(failure))
}

/// What is written, and whether the model is asked for a stream: only a person who watches text
/// come is better off with one.
fn form(args: &Args, watched: bool) -> (Form, bool) {
    match args.json {
        false => (Form::Text, args.stream || (watched && !args.no_stream)),
        true if args.stream => (Form::JsonLines, true),
        true => (Form::Json, false),
    }
}

fn circumstances(args: &Args) -> Circumstances {
    Circumstances {
        no_stdin: args.no_stdin,
        stdin_is_terminal: io::stdin().is_terminal(),
        at_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
        messages: args.messages.is_some(),
        attachments: !args.attach.is_empty(),
        messages_from_stdin: args
            .messages
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-"),
    }
}

/// What the model is asked: named files first, for standard input may take its time.
fn read_input(args: &Args, plan: Plan, report: Report) -> Result<Input, Failure> {
    let attachments = attach::read(&args.attach)?;
    let mut conversation = Conversation::default();
    if let Some(path) = args
        .messages
        .as_ref()
        .filter(|_| plan.stdin != Stdin::Messages)
    {
        let text = input::read_file(path, "--messages")?;
        conversation = Conversation::parse(&text, &format!("--messages {}", path.display()))?;
    }
    let hint = || {
        if io::stderr().is_terminal() {
            report.hint(Some("waiting for standard input; use -n to leave it alone"));
        }
    };
    let mut stdin = match plan.stdin {
        Stdin::Unread => None,
        Stdin::Offered if !plan.words_are_blank() => {
            let patience = Duration::from_secs_f64(args.timeout);
            Some(input::read_patiently(stdin()?, patience, hint)?)
        }
        _ => Some(input::read(stdin()?, "standard input")?),
    };
    if plan.stdin == Stdin::Messages {
        let text = stdin.take().unwrap_or_default();
        conversation = Conversation::parse(&text, "--messages -")?;
    }
    let optional = args.messages.is_some() || !attachments.is_empty();
    let prompt = plan.text(stdin, optional)?;
    let input = Input {
        conversation,
        attachments,
        prompt,
    };
    if !input.has_turn() {
        input.conversation.check_alone()?;
    }
    Ok(input)
}

/// Standard input without a buffer in between.
fn stdin() -> Result<File, Failure> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned();
    descriptor.map(File::from).map_err(|error| {
        Failure::usage(format!(
            "cannot read standard input: {}",
            input::plain(&error)
        ))
    })
}

/// One call, ready to be sent.
struct Call<'a> {
    args: &'a Args,
    account: &'a Account,
    body: &'a [u8],
    form: Form,
    stream: bool,
    deadline: Deadline,
}

/// Asks until there is a reply, or a failure that cannot be helped by asking again.
fn ask(call: &Call<'_>, output: &mut Output, report: Report) -> Result<Reply, Failure> {
    let Call {
        args,
        account,
        deadline,
        ..
    } = *call;
    let asked = Asked {
        form: call.form,
        judges_json: args.schema.is_some(),
        context: Context {
            model: args.model.as_deref().unwrap_or(args::DEFAULT_MODEL),
            token_source: &account.token_source,
        },
    };
    let mut tried_again = 0;
    loop {
        let mut reply = Reply::default();
        let outcome = transport::send(account, call.body, call.stream, deadline)
            .and_then(|answer| response::read(answer, asked, output, &mut reply))
            .map_err(|failure| account.token.blot_failure(failure));
        let summarize = || report.note(&reply.summary(deadline.started()));
        let Err(failure) = outcome else {
            summarize();
            return Ok(reply);
        };
        let left = deadline.left();
        match retry::next(
            failure.again,
            tried_again,
            args.retries,
            left,
            random::fraction(),
        ) {
            Next::Wait(pause) => {
                report.note(&format!(
                    "{failure}; trying again in {}",
                    retry::in_seconds(pause)
                ));
                transport::pause(pause);
                tried_again += 1;
            }
            Next::GiveUp => {
                if failure.exit != Exit::ReaderLeft {
                    summarize();
                }
                return Err(retry::name_pause(failure, left));
            }
        }
    }
}
