//! This process's standard output and standard error as sinks for a guest's bytes.
//!
//! Owns writing without ever blocking for good: a reader that has paused (`| less`) must not keep a
//! signal from being heard. Nothing is buffered, so every byte is out as it comes.

use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fstat, openat};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A pipe that is ready takes so much without blocking (PIPE_BUF in pipe(7)).
const READY_BYTES: usize = 4096;

/// Standard output or standard error, as a sink that gives up when it is told to.
#[derive(Debug)]
pub struct StandardStream {
    descriptor: OwnedFd,
    cancel: Cancel,
    way: Way,
}

/// How a descriptor is written to.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Files and disks: at once, since no reader is waited for; and what is open for reading alone, of which the write tells.
    AtOnce,
    /// What never blocks: as much as fits, once it is ready.
    WhatFits,
    /// What may block: [`READY_BYTES`] at most, once it is ready.
    ReadyBytes,
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
        let is_read_only = fcntl_getfl(&descriptor)? & OFlags::ACCMODE == OFlags::RDONLY;
        let (descriptor, way) = match FileType::from_raw_mode(fstat(&descriptor)?.st_mode) {
            _ if is_read_only => (descriptor, Way::AtOnce),
            FileType::RegularFile | FileType::BlockDevice => (descriptor, Way::AtOnce),
            _ => match never_blocking(&descriptor) {
                Some(anew) => (anew, Way::WhatFits),
                None => (descriptor, Way::ReadyBytes),
            },
        };
        Ok(Self {
            descriptor,
            cancel: cancel.clone(),
            way,
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
    descriptor = never_blocking(&descriptor).unwrap_or(descriptor);
    let _ = rustix::io::write(&descriptor, &text[..text.len().min(READY_BYTES)]);
}

/// The same terminal, other device or pipe, opened anew such that no write to it blocks: a terminal that is ready may take a
/// single byte and block for the rest, and a pipe may for more than [`READY_BYTES`]. Others who have ours keep it as it is.
/// None for anything else, for another user's, and for a pipe that nobody reads any more.
fn never_blocking(stream: &OwnedFd) -> Option<OwnedFd> {
    let file_type = FileType::from_raw_mode(fstat(stream).ok()?.st_mode);
    if !matches!(file_type, FileType::CharacterDevice | FileType::Fifo) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = match self.way {
            Way::AtOnce => return Ok(rustix::io::write(&self.descriptor, bytes)?),
            Way::WhatFits => bytes,
            Way::ReadyBytes => &bytes[..bytes.len().min(READY_BYTES)],
        };
        loop {
            self.wait()?;
            match rustix::io::write(&self.descriptor, piece) {
                // Somebody else who writes there was faster.
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
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(30);

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn stream(stream: &impl AsFd, cancel: &Cancel) -> StandardStream {
        StandardStream::new(stream, cancel).unwrap()
    }

    /// One that could not be opened anew.
    fn blocking(descriptor: OwnedFd, cancel: &Cancel) -> StandardStream {
        StandardStream {
            descriptor,
            cancel: cancel.clone(),
            way: Way::ReadyBytes,
        }
    }

    /// What one write of 64 KiB takes.
    fn taken_at_once(to: &impl AsFd) -> usize {
        let cancel = Cancel::new().unwrap();
        stream(to, &cancel).write(&[0; 64 * 1024]).unwrap()
    }

    /// Whether a pipe has room, or nobody who reads.
    fn is_ready(writer: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(writer, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    /// Another test's child may have the reader until it executes its program.
    fn wait_until_nobody_reads(writer: &OwnedFd) {
        let mut fds = [PollFd::new(writer, PollFlags::empty())];
        let limit = Timespec::try_from(LIMIT).unwrap();
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1);
    }

    #[test]
    fn pipe_and_device_take_all_that_fits_at_once_and_stay_blocking_for_others() {
        let (_reader, writer) = pipe();
        let null = File::options().write(true).open("/dev/null").unwrap();
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
    fn pipe_that_is_open_for_reading_alone_is_no_place_to_write_to() {
        let (reader, _writer) = pipe();
        let cancel = Cancel::new().unwrap();
        let outcome = stream(&reader, &cancel).write(&[0]);
        assert_eq!(
            outcome.unwrap_err().raw_os_error(),
            Some(Errno::BADF.raw_os_error())
        );
    }

    #[test]
    fn cancel_is_heard_by_a_write_to_a_full_pipe_which_may_block_or_not() {
        for may_block in [false, true] {
            let (_reader, writer) = pipe();
            let watched = writer.try_clone().unwrap();
            let cancel = Cancel::new().unwrap();
            let mut stream = match may_block {
                true => blocking(writer, &cancel),
                false => stream(&writer, &cancel),
            };
            let canceller = thread::spawn({
                let cancel = cancel.clone();
                move || {
                    let limit = Instant::now() + LIMIT;
                    while is_ready(&watched) && Instant::now() < limit {
                        thread::yield_now();
                    }
                    cancel.cancel();
                }
            });
            let error = stream.write_all(&[0; 4 << 20]).unwrap_err();
            assert_eq!(error.to_string(), "interrupted");
            canceller.join().unwrap();
        }
    }

    #[test]
    fn pipe_that_nobody_reads_any_more_is_broken_before_and_behind_the_first_write() {
        for is_written_to in [false, true] {
            let (reader, writer) = pipe();
            let cancel = Cancel::new().unwrap();
            let mut stream = match is_written_to {
                true => {
                    let mut stream = stream(&writer, &cancel);
                    stream.write_all(&[0]).unwrap();
                    drop(reader);
                    wait_until_nobody_reads(&writer);
                    stream
                }
                false => {
                    drop(reader);
                    wait_until_nobody_reads(&writer);
                    stream(&writer, &cancel)
                }
            };
            let error = stream.write(&[0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
