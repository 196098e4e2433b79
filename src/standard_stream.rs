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
    /// How much may be written at once when it is ready.
    piece_bytes: usize,
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
        let mut piece_bytes = READY_BYTES;
        let file_type = FileType::from_raw_mode(fstat(&descriptor)?.st_mode);
        if matches!(file_type, FileType::CharacterDevice | FileType::Fifo) {
            if let Ok(anew) = never_blocking(&descriptor) {
                descriptor = anew;
                piece_bytes = usize::MAX;
            }
        }
        Ok(Self {
            descriptor,
            cancel: cancel.clone(),
            is_file: file_type == FileType::RegularFile,
            piece_bytes,
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

/// The same terminal, device or pipe, opened anew: a terminal that is ready may take a single byte, and block for the rest, and
/// a pipe what [`READY_BYTES`] says. Others who have ours keep it as it is. Another user's cannot be opened anew, nor a pipe that
/// nobody reads any more.
fn never_blocking(stream: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return Ok(rustix::io::write(&self.descriptor, bytes)?);
        }
        let ready = bytes.len().min(self.piece_bytes);
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fcntl_getfl;
    use rustix::pipe::pipe;
    use std::os::unix::net::UnixStream;

    /// What one write of 64 KiB takes.
    fn taken_at_once(stream: &impl AsFd) -> usize {
        let mut stream = StandardStream::new(stream, &Cancel::new().unwrap()).unwrap();
        stream.write(&[0; 64 * 1024]).unwrap()
    }

    #[test]
    fn pipe_and_device_take_all_that_fits_at_once_and_stay_blocking_for_others() {
        let (_reader, writer) = pipe().unwrap();
        let null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .unwrap();
        assert!(taken_at_once(&writer) > READY_BYTES);
        assert_eq!(taken_at_once(&null), 64 * 1024);
        assert!(!fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn socket_takes_no_more_at_once_than_a_ready_one_surely_does() {
        let (_peer, socket) = UnixStream::pair().unwrap();
        assert_eq!(taken_at_once(&socket), READY_BYTES);
    }

    #[test]
    fn cancel_is_heard_by_a_write_to_a_full_pipe() {
        let (_reader, writer) = pipe().unwrap();
        let cancel = Cancel::new().unwrap();
        let mut stream = StandardStream::new(&writer, &cancel).unwrap();
        assert!(stream.write(&[0; 100_000]).unwrap() < 100_000);
        cancel.cancel();
        assert!(stream.write(&[0]).is_err());
    }

    #[test]
    fn pipe_that_nobody_reads_any_more_is_broken() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut stream = StandardStream::new(&writer, &Cancel::new().unwrap()).unwrap();
        let error = stream.write(&[0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
