//! Reads a whole file that may be a FIFO or a pipe, within a time limit and a size limit.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Reads `path` to its end.
///
/// # Errors
/// As reading a [`BoundedFile`].
pub fn read_within(path: &Path, max_bytes: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    BoundedFile::open(path, max_bytes, deadline)?.read_to_end(&mut content)?;
    Ok(content)
}

/// A file that is read within limits. A regular file is just read; anything else is waited for
/// until the deadline. Fails with `TimedOut` if the data does not arrive in time, and with
/// `FileTooLarge` if there is more than allowed.
pub struct BoundedFile {
    file: File,
    is_regular: bool,
    /// One byte beyond the limit is enough to see that it is exceeded.
    room: usize,
    deadline: Instant,
}

impl BoundedFile {
    pub fn open(path: &Path, max_bytes: usize, deadline: Instant) -> io::Result<BoundedFile> {
        // Without O_NONBLOCK, opening a FIFO waits for its writer.
        let file =
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        Ok(BoundedFile {
            is_regular: file.metadata()?.is_file(),
            file,
            room: max_bytes + 1,
            deadline,
        })
    }

    /// Waits for data or the end of it. A FIFO that no writer has opened yet has neither,
    /// although reading from it would report the end.
    fn wait(&self) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // Even if there is data: a slow writer must not go on for ever.
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut files, timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Read for BoundedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_regular {
                self.wait()?;
            }
            let most = buffer.len().min(self.room);
            match self.file.read(&mut buffer[..most]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(length) => {
                    self.room -= length;
                    if self.room == 0 {
                        return Err(ErrorKind::FileTooLarge.into());
                    }
                    return Ok(length);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::thread;
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_regular_file_is_read_even_after_the_deadline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "content").unwrap();
        let content = read_within(file.path(), 7, Instant::now()).unwrap();
        assert_eq!(content, b"content");
    }

    #[test]
    fn a_file_over_the_limit_is_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "content").unwrap();
        let error = read_within(file.path(), 6, later()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = read_within(Path::new("/dev/zero"), 1000, later()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_fifo_without_a_writer_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let error = read_within(&fifo, 100, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_fifo_is_read_once_its_writer_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let path = fifo.clone();
        let reader = thread::spawn(move || read_within(&path, 100, later()).unwrap());
        thread::sleep(Duration::from_millis(50));
        let mut writer = OpenOptions::new().write(true).open(&fifo).unwrap();
        writer.write_all(b"one ").unwrap();
        thread::sleep(Duration::from_millis(50));
        writer.write_all(b"two").unwrap();
        drop(writer);
        assert_eq!(reader.join().unwrap(), b"one two");
    }

    #[test]
    fn a_pipe_by_its_descriptor_is_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let error = read_within(Path::new(&path), 100, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            writer.write_all(b"content").unwrap();
        });
        let content = read_within(Path::new(&path), 100, later()).unwrap();
        assert_eq!(content, b"content");
    }

    #[test]
    fn a_pipe_that_trickles_meets_the_deadline() {
        let (reader, mut writer) = io::pipe().unwrap();
        thread::spawn(move || {
            while writer.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let error = read_within(Path::new(&path), 1 << 20, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
