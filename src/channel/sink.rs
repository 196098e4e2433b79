//! A device or pipe on this side that a fetched file is written to.
//!
//! Owns a descriptor that never blocks by itself: neither a pipe that nobody reads yet nor a reader
//! that has paused keeps a [`Cancel`] from being heard.

use super::{ChannelError, RETRY_INTERVAL};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::transport::pause;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat, stat};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A sink that gives up when it is told to.
pub(super) struct Sink {
    descriptor: OwnedFd,
    cancel: Cancel,
}

impl Sink {
    /// Opens a device or pipe; a pipe's reader is waited for.
    ///
    /// # Errors
    /// [`ChannelError::Write`], also where nobody reads from the pipe until the deadline, and
    /// [`ChannelError::Cancelled`].
    pub(super) fn open(
        path: &Path,
        cancel: &Cancel,
        deadline: Deadline,
    ) -> Result<Self, ChannelError> {
        let write_error = |source| ChannelError::Write {
            what: path.display().to_string(),
            source,
        };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        loop {
            // A socket and a device without a driver answer alike, and would do so for ever.
            match openat(CWD, path, flags, Mode::empty()) {
                Ok(descriptor) => {
                    return Ok(Self {
                        descriptor,
                        cancel: cancel.clone(),
                    });
                }
                Err(Errno::NXIO) if is_pipe(path) => {}
                Err(Errno::INTR) => {}
                Err(errno) => return Err(write_error(errno.into())),
            }
            if deadline.has_passed() {
                let nobody = io::Error::new(io::ErrorKind::TimedOut, "nobody reads from the pipe");
                return Err(write_error(nobody));
            }
            pause(RETRY_INTERVAL, cancel)?;
        }
    }

    /// Waits until something can be written.
    fn wait(&self) -> io::Result<()> {
        let mut fds = [
            PollFd::new(&self.descriptor, PollFlags::OUT),
            PollFd::new(&self.cancel, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if fds[1].revents().is_empty() {
            return Ok(());
        }
        Err(io::Error::other("interrupted"))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            match rustix::io::write(&self.descriptor, bytes) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_pipe(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}
