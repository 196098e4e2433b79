//! Why a connection goes no further, and how long it waits before that.

use smolvm_protocol::frame::FrameError;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Why a connection goes no further.
#[derive(Debug)]
pub(crate) enum ConnectionError {
    /// The peer has closed, or has ended its side within a request.
    PeerGone,
    /// The agent is stopping.
    Stopping,
    /// The peer took or gave nothing for too long.
    TimedOut,
    /// What the peer sends is no frame.
    Frame(FrameError),
    /// A system call failed that should not.
    System(io::Error),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerGone => formatter.write_str("the host hung up"),
            Self::Stopping => formatter.write_str("the agent is stopping"),
            Self::TimedOut => formatter.write_str("the host was silent for too long"),
            Self::Frame(error) => error.fmt(formatter),
            Self::System(error) => error.fmt(formatter),
        }
    }
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From one byte to the next.
    pub(crate) between_bytes: Duration,
    /// When all must be there.
    pub(crate) until: Option<Instant>,
}

impl Patience {
    pub(super) fn deadline(&self) -> Instant {
        let next_byte = Instant::now() + self.between_bytes;
        self.until.map_or(next_byte, |until| until.min(next_byte))
    }
}
