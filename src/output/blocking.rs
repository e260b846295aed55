//! Descriptors that do not block, because a process that shares them wants it so, and are waited for.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A file whose writes wait until they are possible.
#[derive(Debug)]
pub struct BlockingFile(pub File);

impl Write for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait_for(&self.0, PollFlags::POLLOUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Waits for `event`, however long that takes.
///
/// # Errors
/// The system cannot wait.
pub fn wait_for(file: impl AsFd, event: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file.as_fd(), event)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
