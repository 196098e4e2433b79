//! Connections that a socket here accepts, each carried to a socket in the guest.
//!
//! Owns the accepting, a thread a client, and how many there are at a time; forwarding leaves no thread and no descriptor
//! behind. A client that cannot be carried is reset, and costs nobody else anything.

use super::{Guest, GuestError};
use crate::channel::{CONNECT, Channel, ChannelError, StreamEnd};
use crate::deadline::Deadline;
use crate::transport::{TransportError, pause};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use smolvm_protocol::request::Target as StreamTarget;
use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How many clients of one [`Guest`] are carried at a time, as many as an agent does: further ones wait to be accepted.
pub const MAX_FORWARDED_STREAMS: usize = 64;

/// How long to wait before the next try where this process has no descriptor left.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How long a TCP client may be silent before its machine is asked whether it is there; the kernel's limits say how often.
const SILENCE: Duration = Duration::from_secs(60);

/// A socket here that clients connect to.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Guest {
    /// Carries every connection that `listener` accepts to a socket in the guest, until [`Guest::canceller`] ends it: several
    /// listeners are several threads. `tell` hears why a client could not be carried; that one is reset.
    ///
    /// # Errors
    /// [`GuestError`]: at once where the agent cannot be asked or does not serve it, and
    /// [`ErrorKind::Cancelled`](super::ErrorKind::Cancelled) in the end.
    pub fn forward(
        &self,
        listener: impl Into<Listener>,
        to: &StreamTarget,
        tell: &(dyn Fn(GuestError) + Sync),
    ) -> Result<Infallible, GuestError> {
        let channel = self.require(CONNECT)?;
        let listener = listener.into();
        // A client that has gone by the time it is accepted must not keep us there.
        rustix::io::ioctl_fionbio(&listener, true)
            .map_err(|errno| GuestError::Process(errno.into()))?;
        thread::scope(|scope| {
            loop {
                let Some((permit, client)) = self.next_client(&listener, tell)? else {
                    continue;
                };
                let serve = move || {
                    match client.carry(channel, to) {
                        Ok(()) | Err(ChannelError::Cancelled) => {}
                        Err(error) => tell(error.into()),
                    }
                    drop(permit);
                };
                let name = "guest-stream".to_owned();
                let thread = thread::Builder::new().name(name);
                if let Err(error) = thread.spawn_scoped(scope, serve) {
                    tell(GuestError::Process(error));
                    pause(RETRY_INTERVAL, &self.inner.cancel).map_err(ChannelError::from)?;
                }
            }
        })
    }

    /// Waits for a client, and for a permit to serve it; none where it has gone meanwhile.
    fn next_client(
        &self,
        listener: &Listener,
        tell: &(dyn Fn(GuestError) + Sync),
    ) -> Result<Option<(Permit<'_>, Client)>, GuestError> {
        let mut fds = [
            PollFd::new(&self.inner.cancel, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(GuestError::Process(errno.into())),
        }
        // Whoever holds a permit gives it back when this is cancelled.
        let permit = self.inner.forwarded.wait();
        if self.inner.cancel.is_cancelled() {
            return Err(ChannelError::from(TransportError::Cancelled).into());
        }
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                let is_tcp = matches!(listener, Listener::Tcp(_));
                Ok(Some((permit, Client::new(socket, is_tcp))))
            }
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                tell(GuestError::Process(errno.into()));
                pause(RETRY_INTERVAL, &self.inner.cancel).map_err(ChannelError::from)?;
                Ok(None)
            }
            Err(errno @ (Errno::INVAL | Errno::BADF)) => Err(GuestError::Process(errno.into())),
            // It has gone (accept(2) has what else a network may report of it).
            Err(_) => Ok(None),
        }
    }
}

/// A connection to carry.
struct Client {
    socket: OwnedFd,
    is_tcp: bool,
}

impl Client {
    fn new(socket: OwnedFd, is_tcp: bool) -> Self {
        if is_tcp {
            // What the guest says goes on as it comes; without this, only slower.
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            // A client whose machine is gone never says so, and would hold its permit for ever.
            let _ = sockopt::set_tcp_keepidle(&socket, SILENCE);
            let _ = sockopt::set_socket_keepalive(&socket, true);
        }
        Self { socket, is_tcp }
    }

    fn carry(self, channel: &Channel, to: &StreamTarget) -> Result<(), ChannelError> {
        let opened = channel.open_stream(to, Some(self.socket.as_fd()), Deadline::NEVER);
        let mut stream = match opened {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.reset();
                return Err(error);
            }
        };
        let end = stream.relay(self.socket.as_fd());
        match end {
            Ok(StreamEnd::Whole) => drop(self),
            _ => self.reset(),
        }
        stream.hang_up();
        end.map(drop)
    }

    /// Closes it so that the client sees that it broke; a Unix socket has no way to say so.
    fn reset(self) {
        if self.is_tcp {
            let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        }
    }
}

/// How many more clients may be served.
#[derive(Debug)]
pub(super) struct Permits {
    free: Mutex<usize>,
    given_back: Condvar,
}

impl Default for Permits {
    fn default() -> Self {
        Self {
            free: Mutex::new(MAX_FORWARDED_STREAMS),
            given_back: Condvar::new(),
        }
    }
}

impl Permits {
    fn wait(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .given_back
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Permit { permits: self }
    }
}

struct Permit<'guest> {
    permits: &'guest Permits,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut free = self
            .permits
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *free += 1;
        self.permits.given_back.notify_one();
    }
}
