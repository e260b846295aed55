//! Environment variables, as WSL, ConfigMaps and `--env-file` hand them over: with line breaks at the end.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A variable less its trailing line breaks; an empty one counts as absent.
pub fn variable(name: &str) -> Option<OsString> {
    let mut value = env::var_os(name)?.into_vec();
    while value.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
    (!value.is_empty()).then(|| OsString::from_vec(value))
}
