//! The API token: where it comes from, that it is never shown, and that nothing else holds it.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{anyhow, ensure};
use memchr::memmem;

use crate::error::{hide, reason};
use crate::output::atomic_file::acl_lets_others_in;
use crate::wait::read_to_end;

/// Far more than any token has: a wrong file is not read to its end.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// A shorter token may well be part of an innocent text.
const MIN_DETECTED_BYTES: usize = 16;

/// The API token. It is in no Debug output, and has no Display.
pub struct Token {
    secret: String,
    /// The variable or option that it came from.
    pub source: String,
}

impl Token {
    /// Checks the text that `source` gave. From then on no line on standard error shows it.
    ///
    /// # Errors
    /// Text that cannot be a token.
    pub fn new(text: &str, source: &str) -> anyhow::Result<Token> {
        let secret = text.trim_start_matches('\u{feff}').trim_matches(['\r', '\n']);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_ ".contains(&byte);
        // At the end, the sign is padding.
        let assignment = secret.trim_end_matches('=').split_once('=');
        let assignment = assignment.filter(|(name, _)| name.bytes().all(is_name));
        hide(assignment.map_or(secret, |(_, value)| value).trim_matches(['"', '\'']));
        ensure!(!secret.is_empty(), "{source} is empty: no token found");
        ensure!(assignment.is_none(), "invalid token in {source}: remove the NAME= before it");
        ensure!(
            secret.trim_matches(['"', '\'']).len() == secret.len(),
            "invalid token in {source}: remove the quotes around it"
        );
        ensure!(
            secret.bytes().all(|byte| byte.is_ascii_graphic()),
            "invalid token in {source}: it contains a space, a line break or a non-ASCII character"
        );
        Ok(Token { secret: secret.into(), source: source.into() })
    }

    /// Reads the token from a file, and returns a warning if others have access to it.
    ///
    /// # Errors
    /// A file that cannot be read, is too large, is standard input, or holds no token.
    pub fn read(path: &Path, option: &str) -> anyhow::Result<(Token, Option<String>)> {
        let source = format!("{option} {}", path.display());
        let cannot_read = |error: io::Error| anyhow!("cannot read {source}: {}", reason(&error));
        let metadata = fs::metadata(path).map_err(|error| match path.parent() {
            // It may be the token itself, by mistake.
            Some(folder) if folder == "" => anyhow!("{option} names no file: {}", reason(&error)),
            _ => cannot_read(error),
        })?;
        ensure!(
            !is_stdin(&metadata),
            "{source} is standard input; the token must not get into the prompt"
        );
        let bytes = File::open(path).and_then(|file| read_to_end(&file, MAX_TOKEN_BYTES));
        let bytes = bytes.map_err(cannot_read)?;
        ensure!(bytes.len() <= MAX_TOKEN_BYTES, "{source} is larger than 64 KB, which no token is");
        let token = Token::new(&String::from_utf8_lossy(&bytes), &source)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let is_accessible = acl_lets_others_in(path).unwrap_or(mode & 0o066 != 0);
        let warning = (metadata.is_file() && is_accessible).then(|| {
            let path = path.display();
            format!("warning: token file {path} is accessible to other users (mode {mode:04o}); run chmod 600 {path}")
        });
        Ok((token, warning))
    }

    /// The Authorization header. The only way out of this type.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// Checks that a request body, which the gateway logs, does not hold the token.
    ///
    /// # Errors
    /// A body that does.
    pub fn check_absent(&self, body: &[u8]) -> anyhow::Result<()> {
        let escaped = self.secret.replace('\\', "\\\\").replace('"', "\\\"");
        let is_present = self.secret.len() >= MIN_DETECTED_BYTES
            && memmem::find(body, escaped.as_bytes()).is_some();
        ensure!(!is_present, "the request contains the API token; nothing was sent");
        Ok(())
    }
}

/// Whether this is what standard input is, other than a terminal or another device.
fn is_stdin(file: &Metadata) -> bool {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.and_then(|stdin| File::from(stdin).metadata());
    stdin.is_ok_and(|stdin| (stdin.dev(), stdin.ino()) == (file.dev(), file.ino()))
        && !file.file_type().is_char_device()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
