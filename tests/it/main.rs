//! Integration tests: the built program seen from outside, a module for each stage.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod support;

mod api_error;
mod attachment;
mod cli;
mod conversation;
mod endpoint;
mod examples;
mod generated;
mod hostile;
mod live;
mod network;
mod output_file;
mod output_file_attacks;
mod progress;
mod prompt;
mod properties;
mod proxy;
mod readme;
mod recipes;
mod request;
mod response;
mod retry;
mod schema;
mod signal;
mod stdout;
mod stream;
mod terminal;
mod timeout;
mod tls;
mod token;
mod verbose;
