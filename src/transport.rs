//! A connected stream to an agent, under one deadline.
//!
//! Owns how an agent is reached ([`Address`]) and the retry while nobody listens yet; how a
//! connected stream waits, reads and writes is [`Connection`]'s. Refuses to know what is said.
//! Nothing is ever said by a half-close: several vsock devices lose it.

mod connect;
mod connection;

#[cfg(feature = "fuzzing")]
pub use connect::handshake_by;
pub(crate) use connect::pause;
pub use connect::{Absence, connect};
pub use connection::Connection;

use crate::target::GuestCid;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where an agent is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// AF_VSOCK.
    Vsock {
        /// The guest.
        cid: GuestCid,
        /// The port that the agent listens on.
        port: u32,
    },
    /// A VMM's Unix socket: `CONNECT <port>\n` comes first.
    ConnectSocket {
        /// The socket.
        path: PathBuf,
        /// The port that the agent listens on.
        port: u32,
    },
    /// The agent's own Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, .. } => write!(formatter, "cid:{}", cid.number()),
            Self::ConnectSocket { path, .. } => write!(formatter, "uds:{}", path.display()),
            Self::Unix { path } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Why there is no connection, or no longer one.
#[derive(Debug)]
pub enum TransportError {
    /// It cannot be made, and trying again would not help.
    Connect {
        /// Where to.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// Nobody listened until the deadline.
    NobodyListens {
        /// Where to.
        address: Address,
        /// Why the last try failed.
        source: io::Error,
    },
    /// The `CONNECT` line was not answered with `OK`.
    Handshake {
        /// Where to.
        address: Address,
        /// What was answered, or what was missing.
        reason: String,
    },
    /// The peer is gone.
    Closed {
        /// What the system says; `None` where the stream just ended.
        source: Option<io::Error>,
    },
    /// The deadline passed.
    TimedOut,
    /// The caller gave up.
    Cancelled,
}

impl fmt::Display for TransportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect {
                address: address @ Address::Vsock { .. },
                source,
            } if is_errno(source, Errno::NODEV) => write!(
                formatter,
                "cannot connect to {address}: no running VM of this host has that CID"
            ),
            Self::Connect { address, .. } => write!(formatter, "cannot connect to {address}"),
            Self::NobodyListens { address, .. } => {
                write!(
                    formatter,
                    "cannot connect to {address}: no agent listens there"
                )
            }
            Self::Handshake { address, reason } => {
                write!(formatter, "{address} is no vsock socket of a VM: {reason}")
            }
            Self::Closed { .. } => formatter.write_str("connection closed by the peer"),
            Self::TimedOut => formatter.write_str("timed out"),
            Self::Cancelled => formatter.write_str("interrupted"),
        }
    }
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::NobodyListens { source, .. } => Some(source),
            Self::Closed { source } => source.as_ref().map(|source| source as _),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cid_without_a_vm_is_told_as_such() {
        let error = |address, errno: Errno| TransportError::Connect {
            address,
            source: errno.into(),
        };
        let vsock = Address::Vsock {
            cid: GuestCid::FIRST,
            port: 1024,
        };
        let path = "/s".into();
        assert_eq!(
            error(vsock.clone(), Errno::NODEV).to_string(),
            "cannot connect to cid:3: no running VM of this host has that CID"
        );
        for other in [
            error(vsock, Errno::AFNOSUPPORT),
            error(Address::Unix { path }, Errno::NODEV),
        ] {
            assert!(!other.to_string().contains("no running VM"), "{other}");
        }
    }
}
