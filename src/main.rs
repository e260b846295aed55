//! haiku sends a prompt to Claude Haiku 4.5 on Cloudflare and prints the reply.
//!
//! [`run`] names the stages in order; each is a folder, and values flow down:
//!
//! | stage | folder or file | what it does |
//! |---|---|---|
//! | command line | `cli/` | arguments become `Args`; help texts |
//! | input | `input/` | files, standard input and words become what is asked |
//! | request | `request.rs` | `Args` and input become the JSON body |
//! | client | `client/` | endpoint, token, proxy: one call of this API, and its retries |
//! | network | `network/` | connection, certificates: bytes to a host within a time limit |
//! | response | `response/` | a body or a stream of events becomes the reply, or an error |
//! | output | `output/` | standard output, a file, standard error, progress |
//! | errors | `error.rs` | exit status, retry, the line on standard error, redaction |
//!
//! Dependencies point one way: error, output, input, request and network, client, response, main.
//! Below them all are `cli/args.rs`, `environment.rs`, `media_type.rs`, `signals.rs`,
//! `utf8.rs` and `wait.rs`.
//!
//! To add an option: declare it in `cli/args.rs` in the order of `-h`, and add its line to
//! `tests/data/help.txt`. Use it in its stage: a request property in `request.rs`, with its name in
//! `COVERED` in `input/parameters.rs` and in the conflicts of `--body`; a header in
//! `client/endpoint.rs`, with its name in `RESERVED`. Test body or header in `tests/it/request.rs`.
//! `cargo test` then rewrites man page and completions; commit them.

mod cli;
mod client;
mod environment;
mod error;
mod input;
mod media_type;
mod network;
mod output;
mod request;
mod response;
mod signals;
mod utf8;
mod wait;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use cli::Invocation;
use cli::args::Args;
use client::endpoint::{self, Endpoint};
use client::{Limits, call};
use error::{ExitStatus, exit_status};
use input::parameters::Parameters;
use input::prompt::{PromptPlan, Terminals};
use output::stderr::{self, Reporter};
use output::{Output, OutputFormat, wants_stream};
use request::Request;
use response::{Reading, Reply};
use signals::block_file_size_signal;

fn main() -> ExitCode {
    block_file_size_signal();
    let mut summary = None;
    let arguments: Vec<_> = env::args_os().collect();
    endpoint::hide_token(&arguments, &environment::variable);
    let result = match cli::parse(arguments) {
        Ok(Invocation::Call(args)) => run(&args, &mut summary),
        Ok(Invocation::Print(text)) => output::print(&text).map_err(Into::into),
        Err(error) => Err(error),
    };
    let status = result.as_ref().err().map(exit_status);
    if let Err(error) = &result
        && status != Some(ExitStatus::BrokenPipe)
    {
        stderr::line(&format!("{error:#}"));
    }
    if let Some(summary) = summary.filter(|_| status != Some(ExitStatus::BrokenPipe)) {
        stderr::line(&summary);
    }
    ExitCode::from(status.map_or(0, |status| status as u8))
}

/// One call. What can be checked is checked before input is read, and that before anything is sent.
fn run(args: &Args, summary: &mut Option<String>) -> anyhow::Result<()> {
    let reporter = Reporter::new(args);
    let terminals = Terminals { stdin: io::stdin().is_terminal(), stderr: reporter.is_terminal };
    let plan = PromptPlan::new(args, terminals)?;
    let mut output = Output::open(args.output.as_deref(), reporter.progress.clone())?;
    let stream = wants_stream(args, output.is_terminal());
    if args.dry_run {
        return dry_run(args, plan, &reporter, output);
    }
    let parameters = Parameters::read(args)?;
    let (endpoint, warning) = Endpoint::new(args, &environment::variable)?;
    if let Some(warning) = warning {
        reporter.warn(&warning);
    }
    let input = input::read(args, parameters, plan, &reporter)?;
    let request = Request::new(args, stream, input)?;
    endpoint.token.check_absent(&request.body)?;
    let limits = Limits { started: Instant::now(), timeout: args.timeout, retries: args.retries };
    let format = OutputFormat::new(args.json, request.stream);
    let reading = Reading { format, stream: request.stream };
    let mut reply = Reply::new(args.schema.is_some());
    let result = call(&endpoint, &request, limits, &reporter, |response| {
        response::read(response, reading, &mut output, &mut reply)
    });
    reporter.progress.stop();
    *summary = reporter.verbose(|| reply.summary(limits.started, result.is_err()));
    result?;
    let verdict = reply.verdict(format, &request.body);
    output.finish(verdict.is_ok())?;
    Ok(verdict?)
}

/// Prints the body, and with `-v` where it would go, without an account and without a network.
fn dry_run(
    args: &Args,
    plan: PromptPlan,
    reporter: &Reporter,
    mut output: Output,
) -> anyhow::Result<()> {
    let input = input::read(args, Parameters::read(args)?, plan, reporter)?;
    let request = Request::new(args, args.stream, input)?;
    let preview = endpoint::preview(args, request.stream, &environment::variable)?;
    if args.verbose {
        preview.iter().for_each(|line| stderr::line(line));
    }
    output.write_whole(request.body)?;
    Ok(output.finish(true)?)
}
