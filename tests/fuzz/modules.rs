// The program's modules, at the root of each fuzz target.

#[path = "../../src/cli/mod.rs"]
mod cli;
#[path = "../../src/client/mod.rs"]
mod client;
#[path = "../../src/environment.rs"]
mod environment;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/input/mod.rs"]
mod input;
#[path = "../../src/media_type.rs"]
mod media_type;
#[path = "../../src/network/mod.rs"]
mod network;
#[path = "../../src/output/mod.rs"]
mod output;
#[path = "../../src/request.rs"]
mod request;
#[path = "../../src/response/mod.rs"]
mod response;
#[path = "../../src/signals.rs"]
mod signals;
#[path = "../../src/utf8.rs"]
mod utf8;
#[path = "../../src/wait.rs"]
mod wait;
