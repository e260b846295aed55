//! Random numbers, for pauses and for names of temporary files.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Any number: the standard library seeds its hash maps from the system's source.
pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number from 0 to 1.
pub fn fraction() -> f64 {
    number() as f64 / u64::MAX as f64
}
