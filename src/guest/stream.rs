//! A stream to a socket in the guest, as a program reads and writes it.
//!
//! Owns one end of a pair of sockets; a thread carries bytes between the other end and the agent. So it has what a
//! socket has: halves for two threads, time-outs, a descriptor to wait for. The thread ends when both directions have,
//! when either side breaks, and when the guest's calls are cancelled; one whose stream was dropped first sees that what
//! was written gets there, and gives up where that does not get on for [`STALL_LIMIT`].
//!
//! [`STALL_LIMIT`]: crate::channel::STALL_LIMIT

use super::{Guest, GuestError};
use crate::channel::{CONNECT, OpenStream, StreamEnd};
use crate::deadline::Deadline;
use smolvm_protocol::request::Target as StreamTarget;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A stream to a socket in the guest, made by [`Guest::open_stream`]. `&GuestStream` reads and writes as well, so that two
/// threads can share one.
///
/// A read gives 0 once the target has said all, and [`io::ErrorKind::ConnectionReset`] where it broke the stream before
/// that, or the way to it was lost. Dropping the stream and all its clones closes it; what was written goes on its way still,
/// as long as this process lives. Read to the end to know that it arrived.
#[derive(Debug)]
pub struct GuestStream {
    socket: UnixStream,
    /// Set before the other end of `socket` is closed.
    was_reset: Arc<AtomicBool>,
}

impl Guest {
    /// Opens a stream to a socket in the guest within `timeout` in all. The agent carries 64 at a time, and has a further
    /// one wait; it gives the target 10 s to answer.
    ///
    /// # Errors
    /// [`GuestError`]; [`ErrorKind::Refused`] where the agent cannot connect to the target.
    ///
    /// [`ErrorKind::Refused`]: super::ErrorKind::Refused
    pub fn open_stream(
        &self,
        to: &StreamTarget,
        timeout: Duration,
    ) -> Result<GuestStream, GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(CONNECT, deadline)?;
        let (ours, theirs) = UnixStream::pair().map_err(GuestError::Process)?;
        theirs.set_nonblocking(true).map_err(GuestError::Process)?;
        let Some(stream) = channel.open_stream(to, None, deadline)? else {
            unreachable!("only a client that is watched can break");
        };
        let was_reset = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&was_reset);
        thread::Builder::new()
            .name("guest-stream".to_owned())
            .spawn(move || carry(stream, theirs, &told))
            .map_err(GuestError::Process)?;
        Ok(GuestStream {
            socket: ours,
            was_reset,
        })
    }
}

fn carry(mut stream: OpenStream, socket: UnixStream, was_reset: &AtomicBool) {
    let is_reset = match stream.relay(socket.as_fd()) {
        Ok(StreamEnd::Whole | StreamEnd::BrokenHere) => false,
        Ok(StreamEnd::BrokenThere { was_heard }) => !was_heard,
        Err(_) => true,
    };
    was_reset.store(is_reset, Ordering::SeqCst);
    drop(socket);
    stream.hang_up();
}

impl GuestStream {
    /// Says that no more will be written; reading goes on. The target sees the end of its input behind what was written.
    ///
    /// # Errors
    /// Where the stream is over already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Another handle of the same stream.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            was_reset: Arc::clone(&self.was_reset),
        })
    }

    /// How long a read may wait ([`UnixStream::set_read_timeout`]).
    ///
    /// # Errors
    /// Where it is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// How long a write may wait ([`UnixStream::set_write_timeout`]).
    ///
    /// # Errors
    /// Where it is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    fn was_reset(&self) -> bool {
        self.was_reset.load(Ordering::SeqCst)
    }
}

impl Read for &GuestStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&self.socket).read(buffer) {
            Ok(0) if !buffer.is_empty() && self.was_reset() => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            outcome => outcome,
        }
    }
}

impl Write for &GuestStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.socket).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.was_reset() => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            outcome => outcome,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for GuestStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for GuestStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for GuestStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
