//! From an [`Address`] to a [`Connection`].
//!
//! Owns the retry every 25 ms while nobody listens yet, and the `CONNECT` handshake. The answer to
//! `CONNECT` is read byte by byte, since the first bytes of the payload may be glued to it; nothing
//! else is sent before it came, since some devices lose what is.

use super::{Address, Connection, TransportError};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use nix::sys::socket::{VsockAddr, connect as connect_vsock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, stat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_unix, socket_with,
    sockopt,
};
use smolvm_protocol::frame::MAX_VSOCK_WRITE_BYTES;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long to wait before the next try while nobody listens.
const RETRY_INTERVAL: Duration = Duration::from_millis(25);
/// How long one try may take: a VM that stopped in between answers never.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer to `CONNECT` that is read.
const MAX_HANDSHAKE_BYTES: usize = 64;

/// What a socket that is not there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is an error.
    IsAnError,
    /// It may still appear: somebody is starting the VM.
    MayEnd,
}

/// Connects, trying again while nobody listens.
///
/// # Errors
/// [`TransportError`]: anything but [`TransportError::Closed`].
pub fn connect(
    address: &Address,
    absence: Absence,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Connection, TransportError> {
    loop {
        let attempt = Attempt {
            address,
            cancel,
            deadline: deadline.or_earlier(Deadline::after(ATTEMPT_LIMIT)),
        };
        let error = match attempt.run() {
            Err(TransportError::Closed { source }) => {
                source.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
            }
            Err(TransportError::TimedOut) => io::ErrorKind::TimedOut.into(),
            Err(TransportError::Connect { source, .. })
                if absence == Absence::MayEnd && is_absence(&source) =>
            {
                source
            }
            other => return other,
        };
        if deadline
            .remaining()
            .is_some_and(|left| left <= RETRY_INTERVAL)
        {
            return Err(TransportError::NobodyListens {
                address: address.clone(),
                source: error,
            });
        }
        pause(RETRY_INTERVAL, cancel)?;
    }
}

/// Says `CONNECT <port>` on a connected socket, and takes the answer: what `fuzz/` calls.
///
/// # Errors
/// [`TransportError`].
#[cfg(feature = "fuzzing")]
pub fn handshake_by(
    socket: OwnedFd,
    port: u32,
    cancel: &Cancel,
) -> Result<Connection, TransportError> {
    let path = "/".into();
    let attempt = Attempt {
        address: &Address::ConnectSocket { path, port },
        cancel,
        deadline: Deadline::after(ATTEMPT_LIMIT),
    };
    let connection = Connection::new(socket, usize::MAX, cancel.clone());
    attempt.handshake(&connection, port).map(|()| connection)
}

/// Waits for `span`, unless the caller gives up.
pub(crate) fn pause(span: Duration, cancel: &Cancel) -> Result<(), TransportError> {
    let deadline = Deadline::after(span);
    while !deadline.has_passed() {
        let mut fds = [PollFd::new(cancel, PollFlags::IN)];
        if let Ok(1..) = poll(&mut fds, deadline.timespec().as_ref()) {
            return Err(TransportError::Cancelled);
        }
    }
    Ok(())
}

/// A socket's file or a VM's device that is not there.
fn is_absence(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NODEV | Errno::NETUNREACH))
}

/// What is refused and no socket will not be one later.
fn is_socket(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

struct Attempt<'call> {
    address: &'call Address,
    cancel: &'call Cancel,
    deadline: Deadline,
}

impl Attempt<'_> {
    fn run(&self) -> Result<Connection, TransportError> {
        match self.address {
            Address::Unix { path } => self.unix(path),
            Address::ConnectSocket { path, port } => {
                let connection = self.unix(path)?;
                let outcome = self.handshake(&connection, *port);
                if let Err(TransportError::TimedOut | TransportError::Cancelled) = outcome {
                    connection.await_line();
                }
                outcome.map(|()| connection)
            }
            Address::Vsock { cid, port } => self.vsock(cid.number(), *port),
        }
    }

    fn unix(&self, path: &Path) -> Result<Connection, TransportError> {
        let socket = self.socket(AddressFamily::UNIX)?;
        let name = SocketAddrUnix::new(path).map_err(|_| TransportError::Connect {
            address: self.address.clone(),
            source: io::Error::other("the path is longer than the 107 bytes a socket's can have"),
        })?;
        let outcome = connect_unix(&socket, &name);
        if outcome == Err(Errno::CONNREFUSED) && !is_socket(path) {
            return Err(TransportError::Connect {
                address: self.address.clone(),
                source: io::Error::other("it is no socket"),
            });
        }
        self.connected(socket, outcome, usize::MAX)
    }

    fn vsock(&self, cid: u32, port: u32) -> Result<Connection, TransportError> {
        let socket = self.socket(AddressFamily::VSOCK)?;
        let outcome = connect_vsock(socket.as_raw_fd(), &VsockAddr::new(cid, port))
            .map_err(|errno| Errno::from_raw_os_error(errno as i32));
        self.connected(socket, outcome, MAX_VSOCK_WRITE_BYTES)
    }

    fn socket(&self, family: AddressFamily) -> Result<OwnedFd, TransportError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(family, SocketType::STREAM, flags, None).map_err(|errno| self.refused(errno))
    }

    /// Sees a connect through that may still be under way.
    fn connected(
        &self,
        socket: OwnedFd,
        outcome: Result<(), Errno>,
        max_write_bytes: usize,
    ) -> Result<Connection, TransportError> {
        let connection = Connection::new(socket, max_write_bytes, self.cancel.clone());
        match outcome {
            Ok(()) => Ok(connection),
            Err(Errno::INPROGRESS) => {
                connection.wait(PollFlags::OUT, self.deadline)?;
                match sockopt::socket_error(&connection) {
                    Ok(Ok(())) => Ok(connection),
                    Ok(Err(errno)) | Err(errno) => Err(self.refused(errno)),
                }
            }
            Err(errno) => Err(self.refused(errno)),
        }
    }

    /// `Closed` where trying again may help; a Unix socket's full backlog (EAGAIN) is such a case.
    fn refused(&self, errno: Errno) -> TransportError {
        match errno {
            Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::PIPE
            | Errno::TIMEDOUT
            | Errno::AGAIN
            | Errno::INTR => TransportError::Closed {
                source: Some(errno.into()),
            },
            _ => TransportError::Connect {
                address: self.address.clone(),
                source: errno.into(),
            },
        }
    }

    /// Says `CONNECT <port>` and reads the line that must begin with `OK`.
    fn handshake(&self, connection: &Connection, port: u32) -> Result<(), TransportError> {
        connection.write_all(format!("CONNECT {port}\n").as_bytes(), self.deadline)?;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if connection.read(&mut byte, self.deadline)? == 0 {
                if line.is_empty() {
                    return Err(TransportError::Closed { source: None });
                }
                return Err(self.no_vsock_socket(&line));
            }
            line.push(byte[0]);
            let is_ok = b"OK".starts_with(&line[..line.len().min(2)]);
            if !is_ok && line.last() == Some(&b'\n') || line.len() > MAX_HANDSHAKE_BYTES {
                return Err(self.no_vsock_socket(&line));
            }
        }
        Ok(())
    }

    fn no_vsock_socket(&self, line: &[u8]) -> TransportError {
        let shown = String::from_utf8_lossy(line);
        TransportError::Handshake {
            address: self.address.clone(),
            reason: format!("it answered CONNECT with {:?}", shown.trim_end()),
        }
    }
}
