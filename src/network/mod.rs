//! Bytes to a host and back within a time limit. Knows nothing of tokens and of this API.

pub mod certificates;
pub mod connection;
pub mod resolver;
mod socket;
pub mod watch;
