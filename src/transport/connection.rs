//! One connected socket: waiting, reading and writing under a deadline and a [`Cancel`].
//!
//! Owns the descriptor, which never blocks by itself, and the cap on one write. Refuses to know
//! frames. Every wait ends by the deadline, by the cancelling, or by the peer.

use super::TransportError;
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a host that gives up still reads, so that the guest hears of it (`docs/protocol.md`,
/// "How a hang-up shows").
const FAREWELL: Duration = Duration::from_secs(1);

/// One connected socket to an agent.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    max_write_bytes: usize,
    cancel: Cancel,
}

impl Connection {
    /// Takes over a connected socket that does not block.
    pub(crate) fn new(socket: OwnedFd, max_write_bytes: usize, cancel: Cancel) -> Self {
        Self {
            socket,
            max_write_bytes,
            cancel,
        }
    }

    /// Waits until the socket is ready for one of `interest`, or has an end or an error to tell.
    ///
    /// # Errors
    /// [`TransportError::TimedOut`] and [`TransportError::Cancelled`].
    pub fn wait(
        &self,
        interest: PollFlags,
        deadline: Deadline,
    ) -> Result<PollFlags, TransportError> {
        self.wait_beside(interest, &mut [], deadline)
    }

    /// The same, or until one of `others` can be read or has an end or an error to tell, which is then marked true:
    /// the socket's flags may be empty.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(crate) fn wait_beside(
        &self,
        interest: PollFlags,
        others: &mut [(Option<BorrowedFd<'_>>, bool)],
        deadline: Deadline,
    ) -> Result<PollFlags, TransportError> {
        let mut fds = Vec::with_capacity(2 + others.len());
        fds.push(PollFd::new(&self.socket, interest));
        fds.push(PollFd::new(&self.cancel, PollFlags::IN));
        for descriptor in others.iter().filter_map(|(descriptor, _)| *descriptor) {
            fds.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        }
        loop {
            // Asked first: a peer that never stops sending must not outrun the deadline.
            let has_passed = deadline.has_passed();
            match poll(&mut fds, deadline.timespec().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(closed(errno)),
            }
            let mut ready = fds.iter().map(PollFd::revents);
            let socket = ready.next().unwrap_or(PollFlags::empty());
            if ready.next().is_some_and(|cancel| !cancel.is_empty()) {
                return Err(TransportError::Cancelled);
            }
            if has_passed {
                return Err(TransportError::TimedOut);
            }
            let mut any = !socket.is_empty();
            for (descriptor, is_ready) in others.iter_mut() {
                *is_ready = descriptor.is_some() && ready.next().is_some_and(|it| !it.is_empty());
                any |= *is_ready;
            }
            if any {
                return Ok(socket);
            }
        }
    }

    /// Reads what is there: `None` where nothing is yet, 0 at the end of the stream.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    pub fn try_read(&self, buffer: &mut [u8]) -> Result<Option<usize>, TransportError> {
        match recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((_, count)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(closed(errno)),
        }
    }

    /// Writes what fits now, at most the transport's cap; 0 where nothing does.
    ///
    /// # Errors
    /// [`TransportError::Closed`].
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize, TransportError> {
        let bytes = &bytes[..bytes.len().min(self.max_write_bytes)];
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(closed(errno)),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn write_all(&self, mut bytes: &[u8], deadline: Deadline) -> Result<(), TransportError> {
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, deadline)?;
            bytes = &bytes[self.try_write(bytes)?..];
        }
        Ok(())
    }

    /// Reads something; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn read(&self, buffer: &mut [u8], deadline: Deadline) -> Result<usize, TransportError> {
        loop {
            self.wait(PollFlags::IN, deadline)?;
            if let Some(count) = self.try_read(buffer)? {
                return Ok(count);
            }
        }
    }

    /// Waits a second at most until the answer to `CONNECT` is there, whatever the caller wants: vhost-device-vsock
    /// 0.3.0 ends, and with it the VM's vsock for good, where it cannot write that answer.
    pub(super) fn await_line(&self) {
        let deadline = Deadline::after(FAREWELL);
        let mut byte = [0];
        while !deadline.has_passed() && byte != [b'\n'] {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let ready = poll(&mut fds, deadline.timespec().as_ref());
            if let Ok(Ok(Some(0)) | Err(_)) = ready.map(|_| self.try_read(&mut byte)) {
                return;
            }
        }
    }

    /// Gives up on the request under way: shuts down the sending side, discards what still comes for
    /// at most a second, and closes. One vsock device would not tell the guest otherwise.
    pub fn hang_up(self) {
        let deadline = Deadline::after(FAREWELL);
        let _ = shutdown(&self.socket, Shutdown::Write);
        let mut discarded = [0; 16 * 1024];
        while !deadline.has_passed() {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let ready = poll(&mut fds, deadline.timespec().as_ref());
            if let Ok(Ok(Some(0)) | Err(_)) = ready.map(|_| self.try_read(&mut discarded)) {
                return;
            }
        }
    }
}

fn closed(errno: Errno) -> TransportError {
    TransportError::Closed {
        source: Some(errno.into()),
    }
}

impl std::os::fd::AsFd for Connection {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
