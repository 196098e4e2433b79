//! Why a call to an agent failed: each way told apart.
//!
//! The variants carry what the peer said as it is; the sentences made of them only what of it is
//! [`printable`].

use super::window::UnearnedCredit;
use crate::printable::printable;
use crate::transport::TransportError;
use smolvm_protocol::answer::AnswerError;
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::FrameError;
use smolvm_protocol::tree::TreeFrameError;
use std::fmt;
use std::io;

/// Why a call to an agent failed.
#[derive(Debug)]
pub enum ChannelError {
    /// No connection could be made, or it broke.
    Transport(TransportError),
    /// The agent does not serve the request.
    Refused {
        /// Its sentence.
        sentence: String,
    },
    /// The agent could not start the command.
    SpawnFailed {
        /// Its sentence.
        sentence: String,
        /// The guest's error number, where the sentence tells it.
        errno: Option<i32>,
    },
    /// The peer does not speak the control protocol.
    NotAnAgent {
        /// What it did instead.
        reason: String,
    },
    /// The peer ended the stream before its answer was complete.
    ClosedEarly,
    /// A file arrived otherwise than it was sent.
    Mismatched {
        /// The sum of what the agent sent, as it says.
        sent: Checksum,
        /// The sum of what arrived.
        received: Checksum,
    },
    /// The call's deadline on this side passed.
    TimedOut,
    /// The transfer stood still for [`super::STALL_LIMIT`].
    Stalled,
    /// The caller gave up.
    Cancelled,
    /// Something on this side cannot be read.
    Read {
        /// What, as a noun.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Something on this side cannot be written.
    Write {
        /// What, as a noun.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ChannelError {
    pub(super) fn not_an_agent(reason: impl Into<String>) -> Self {
        Self::NotAnAgent {
            reason: reason.into(),
        }
    }

    /// Whether it may go away by itself while a guest boots.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::ClosedEarly
                | Self::TimedOut
                | Self::Transport(
                    TransportError::Closed { .. } | TransportError::NobodyListens { .. }
                )
        )
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(formatter),
            Self::Refused { sentence } => {
                write!(formatter, "refused by the agent: {}", printable(sentence))
            }
            Self::SpawnFailed { sentence, .. } => formatter.write_str(&printable(sentence)),
            Self::NotAnAgent { reason } => {
                let reason = printable(reason);
                write!(formatter, "the peer is no smolvm guest agent: {reason}")
            }
            Self::ClosedEarly => {
                formatter.write_str("the peer closed the connection before its answer was complete")
            }
            Self::Mismatched { sent, received } => write!(
                formatter,
                "the file arrived otherwise than it was sent: its SHA-256 sum is {received} here and was {sent} in the guest"
            ),
            Self::TimedOut => formatter.write_str("no answer in time"),
            Self::Stalled => write!(
                formatter,
                "the transfer stood still for {} seconds",
                super::STALL_LIMIT.as_secs()
            ),
            Self::Cancelled => formatter.write_str("interrupted"),
            Self::Read { what, .. } => write!(formatter, "cannot read {what}"),
            Self::Write { what, .. } => write!(formatter, "cannot write {what}"),
        }
    }
}

impl std::error::Error for ChannelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Transport(error) => error.source(),
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<TransportError> for ChannelError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TimedOut => Self::TimedOut,
            TransportError::Cancelled => Self::Cancelled,
            TransportError::Closed { source: None } => Self::ClosedEarly,
            other => Self::Transport(other),
        }
    }
}

impl From<FrameError> for ChannelError {
    fn from(error: FrameError) -> Self {
        Self::not_an_agent(error.to_string())
    }
}

impl From<TreeFrameError> for ChannelError {
    fn from(error: TreeFrameError) -> Self {
        Self::not_an_agent(error.to_string())
    }
}

impl From<AnswerError> for ChannelError {
    fn from(error: AnswerError) -> Self {
        Self::not_an_agent(error.to_string())
    }
}

impl From<UnearnedCredit> for ChannelError {
    fn from(error: UnearnedCredit) -> Self {
        Self::not_an_agent(error.to_string())
    }
}
