//! A file that is replaced whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::random;

/// More symbolic links in a row than any system follows.
const MOST_LINKS: usize = 40;

/// What stands, or will stand, where the reply goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, or none yet: it is replaced. The path is not a symbolic link.
    File(PathBuf),
    /// A device, a FIFO, a descriptor of this process: it is simply written to.
    Stream(PathBuf),
}

impl Target {
    /// Finds out what `path` is, and whether it could be written now, without changing it.
    ///
    /// # Errors
    /// Why it cannot be written: no such folder, no permission, itself a folder.
    pub fn check(path: &Path) -> io::Result<Target> {
        let path = resolve(path)?;
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() || is_descriptor(&path) => {
                return Ok(Target::Stream(path));
            }
            // A file that its owner has locked against writing is not replaced either.
            Ok(_) => drop(File::options().append(true).open(&path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let _held = HeldSignals::new();
        let probe = beside(&path);
        File::create_new(&probe)?;
        fs::remove_file(&probe)?;
        Ok(Target::File(path))
    }
}

/// Puts `bytes` in place of the file at `path`, keeping its mode: after this returns, or the
/// system stops at any moment, there is the old file or the new one, and no third.
///
/// # Errors
/// Whatever keeps the new file from being written; the old one is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _held = HeldSignals::new();
    let temporary = beside(path);
    let file = File::create_new(&temporary)?;
    let result = fill(file, path, bytes).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn fill(mut file: File, like: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Ok(old) = fs::metadata(like) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new name in the folder of `path`: only there is renaming one step.
fn beside(path: &Path) -> PathBuf {
    let name = format!(".haiku-{:016x}", random::number());
    path.with_file_name(name)
}

/// Follows symbolic links to where they end, be it a file or nothing yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if is_descriptor(&path) {
            return Ok(path);
        }
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Behind such a path may be a file that somebody else writes to at this moment.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc")
}

/// While this lives, signals that would end the program wait, so that none leaves a temporary
/// file behind.
struct HeldSignals {
    before: Option<SigSet>,
}

impl HeldSignals {
    fn new() -> HeldSignals {
        let ending: SigSet = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            // A file that grows beyond what the shell allows: then the write fails instead.
            Signal::SIGXFSZ,
        ]
        .into_iter()
        .collect();
        HeldSignals {
            before: ending.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok(),
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // Where setting the mask once went well, setting it back does too.
            let _ = before.thread_set_mask();
        }
    }
}
