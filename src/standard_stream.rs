//! This process's standard output and standard error as sinks for a guest's bytes.
//!
//! Owns writing without ever blocking for good: a reader that has paused (`| less`) must not keep a
//! signal from being heard. Nothing is buffered, so every byte is out as it comes.

use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A pipe that is ready takes so much without blocking (PIPE_BUF in pipe(7)).
const READY_BYTES: usize = 4096;

/// Standard output or standard error, as a sink that gives up when it is told to.
#[derive(Debug)]
pub struct StandardStream {
    descriptor: OwnedFd,
    cancel: Cancel,
    is_file: bool,
}

impl StandardStream {
    /// Standard output.
    ///
    /// # Errors
    /// Where it is closed, or the process has no descriptors left.
    pub fn stdout(cancel: &Cancel) -> io::Result<Self> {
        Self::new(&io::stdout(), cancel)
    }

    /// Standard error.
    ///
    /// # Errors
    /// Where it is closed, or the process has no descriptors left.
    pub fn stderr(cancel: &Cancel) -> io::Result<Self> {
        Self::new(&io::stderr(), cancel)
    }

    fn new(stream: &impl AsFd, cancel: &Cancel) -> io::Result<Self> {
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        let is_file = FileType::from_raw_mode(fstat(&descriptor)?.st_mode) == FileType::RegularFile;
        Ok(Self {
            descriptor,
            cancel: cancel.clone(),
            is_file,
        })
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = [
            PollFd::new(&self.descriptor, PollFlags::OUT),
            PollFd::new(&self.cancel, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        if fds[1].revents().is_empty() {
            return Ok(());
        }
        Err(io::Error::other("interrupted"))
    }
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return Ok(rustix::io::write(&self.descriptor, bytes)?);
        }
        let ready = bytes.len().min(READY_BYTES);
        loop {
            self.wait()?;
            match rustix::io::write(&self.descriptor, &bytes[..ready]) {
                // Somebody else who writes there was faster, and has it not block.
                Err(Errno::AGAIN) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
