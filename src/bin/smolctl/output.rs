//! Standard output and standard error as sinks for a command's bytes.
//!
//! Owns writing without ever blocking for good: a reader that has paused (`| less`) must not keep a
//! signal from being heard. Nothing is buffered, so every byte is out as it comes.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use smolvm_host::cancel::Cancel;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A pipe that is ready takes so much without blocking (PIPE_BUF in pipe(7)).
const READY_BYTES: usize = 4096;

/// A sink that gives up when it is told to.
pub(crate) struct Output {
    descriptor: OwnedFd,
    cancel: Cancel,
    is_file: bool,
}

impl Output {
    pub(crate) fn stdout(cancel: &Cancel) -> io::Result<Self> {
        Self::new(&io::stdout(), cancel)
    }

    pub(crate) fn stderr(cancel: &Cancel) -> io::Result<Self> {
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

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return Ok(rustix::io::write(&self.descriptor, bytes)?);
        }
        self.wait()?;
        let ready = bytes.len().min(READY_BYTES);
        Ok(rustix::io::write(&self.descriptor, &bytes[..ready])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a verb's own result as one line.
pub(crate) fn print_line(line: &str) -> Result<(), super::Failure> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(super::Failure::output)
}
