//! Waits until a descriptor is ready, or until a moment has come.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use std::{mem, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How long a descriptor is left alone that is ready, but would block.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for one of `events`, without a limit if there is no `until`. Returns what has happened, which
/// may also be an error of the descriptor; nothing has by `until` if it is empty.
///
/// # Errors
/// The system cannot wait.
pub fn wait_for(
    fd: impl AsFd,
    events: PollFlags,
    until: impl Into<Option<Instant>>,
) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(&fd, events)];
    wait_for_any(&mut fds, until)?;
    Ok(fds[0].revents())
}

/// The same for the first of several descriptors.
///
/// # Errors
/// The system cannot wait.
pub fn wait_for_any(fds: &mut [PollFd], until: impl Into<Option<Instant>>) -> io::Result<()> {
    let until = until.into();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| left.try_into().ok());
        match poll(fds, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Reads `file` to its end, or to one byte more than `max`, into memory that is not touched before.
///
/// # Errors
/// Those of reading, except that a descriptor which would block is waited for: a process that shares
/// it may have set it so.
pub fn read_to_end(mut file: &File, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blocking(file, PollFlags::IN, || {
        let room = max + 1 - bytes.len();
        // What has been read is in `bytes`, also after an error.
        (&mut file).take(room as u64).read_to_end(&mut bytes)
    })?;
    Ok(bytes)
}

/// A file whose writes wait until they are possible, as [`read_to_end`] does.
#[derive(Debug)]
pub struct BlockingFile(pub File);

impl Write for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(&self.0, PollFlags::OUT, || (&self.0).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn blocking<T>(
    file: &File,
    events: PollFlags,
    mut operation: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut pause = Duration::ZERO;
    loop {
        match operation() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_for(file, events, None)?;
                // Some descriptors are always ready, and still would block.
                thread::sleep(mem::replace(&mut pause, PAUSE));
            }
            result => return result,
        }
    }
}
