//! This process's standard output and standard error as sinks for a guest's bytes.
//!
//! Owns writing without ever blocking for good: a reader that has paused (`| less`) must not keep a
//! signal from being heard. Nothing is buffered, so every byte is out as it comes.

use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

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
        let mut descriptor = stream.as_fd().try_clone_to_owned()?;
        let file_type = FileType::from_raw_mode(fstat(&descriptor)?.st_mode);
        if file_type == FileType::CharacterDevice {
            descriptor = never_blocking(&descriptor).unwrap_or(descriptor);
        }
        Ok(Self {
            descriptor,
            cancel: cancel.clone(),
            is_file: file_type == FileType::RegularFile,
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

/// Says something on standard error without waiting for whoever reads there: where nobody does, that is lost.
pub fn show(text: &[u8]) {
    let stderr = io::stderr();
    let Ok(mut descriptor) = stderr.as_fd().try_clone_to_owned() else {
        return;
    };
    let mut fds = [PollFd::new(&descriptor, PollFlags::OUT)];
    if !poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        return;
    }
    if stderr.is_terminal() {
        descriptor = never_blocking(&descriptor).unwrap_or(descriptor);
    }
    let _ = rustix::io::write(&descriptor, &text[..text.len().min(READY_BYTES)]);
}

/// The same terminal, opened anew: one that is ready may take a single byte, and block for the rest. Others who have ours
/// keep it as it is. A terminal of another user's cannot be opened anew.
fn never_blocking(terminal: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
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
