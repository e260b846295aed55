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

/// A file whose reads and writes wait until they are possible, though a process that shares its
/// descriptor has set it not to block.
#[derive(Debug)]
pub struct BlockingFile(pub File);

impl BlockingFile {
    fn retry(
        &mut self,
        events: PollFlags,
        mut operation: impl FnMut(&mut File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut pause = Duration::ZERO;
        loop {
            match operation(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_for(&self.0, events, None)?;
                    // Some descriptors are always ready, and still would block.
                    thread::sleep(mem::replace(&mut pause, PAUSE));
                }
                result => return result,
            }
        }
    }
}

impl Read for BlockingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |file| file.read(buffer))
    }
}

impl Write for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
