//! Why a call to a guest failed, whichever way led to it.
//!
//! The layers' own errors are kept as they are; [`GuestError::kind`] puts both ways' errors under the same few
//! heads.

use crate::channel::ChannelError;
use crate::files::PlaceError;
use crate::selection::SelectionError;
use crate::ssh::SshError;
use crate::transport::TransportError;
use crate::vm::VmError;
use std::fmt;
use std::io;

/// Why a call to a guest failed.
#[derive(Debug)]
pub enum GuestError {
    /// The target names no VM that runs.
    Vm(VmError),
    /// No way leads to the guest.
    Selection(SelectionError),
    /// The agent, or the way to it, failed.
    Channel(ChannelError),
    /// The guest's ssh server, or the way to it, failed.
    Ssh(SshError),
    /// The guest is reached by ssh, which cannot do this.
    NotOverSsh,
    /// This call cannot do what its transfer asks for.
    NotThisWay(&'static str),
    /// The agent does not serve what was asked for.
    NoFeature {
        /// What, by the name that `ping` would list.
        feature: &'static str,
        /// The agent's version.
        agent_version: String,
    },
    /// A command's captured output is longer than it may be; the command was killed.
    OutputTooLong {
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// A fetched file has no place here.
    Place(PlaceError),
    /// Something on this side cannot be read.
    Read {
        /// What, as a noun.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// This process has no thread or descriptor left, or its standard output is closed.
    Process(io::Error),
}

/// What kind of failure it was, whichever way led to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest cannot be reached, or the connection broke.
    Unreachable,
    /// The guest answered, and said no.
    Refused,
    /// The guest does not serve this, or not this way.
    Unsupported,
    /// The peer broke the protocol.
    Protocol,
    /// This side's deadline passed, or a transfer stood still.
    TimedOut,
    /// The caller gave up.
    Cancelled,
    /// The command could not be started.
    SpawnFailed,
    /// Something on this side failed: a file, a sink, the process itself.
    Local,
}

impl GuestError {
    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Vm(VmError::Cancelled) => ErrorKind::Cancelled,
            Self::Vm(_) | Self::Selection(_) => ErrorKind::Unreachable,
            Self::Channel(error) => kind_of(error),
            Self::Ssh(error) => kind_of_ssh(error),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                ErrorKind::TimedOut
            }
            Self::NotOverSsh | Self::NotThisWay(_) | Self::NoFeature { .. } => {
                ErrorKind::Unsupported
            }
            Self::OutputTooLong { .. } | Self::Place(_) | Self::Read { .. } | Self::Process(_) => {
                ErrorKind::Local
            }
        }
    }
}

fn kind_of(error: &ChannelError) -> ErrorKind {
    match error {
        ChannelError::Transport(TransportError::TimedOut)
        | ChannelError::TimedOut
        | ChannelError::Stalled => ErrorKind::TimedOut,
        ChannelError::Transport(TransportError::Cancelled) | ChannelError::Cancelled => {
            ErrorKind::Cancelled
        }
        ChannelError::Transport(_) => ErrorKind::Unreachable,
        ChannelError::Refused { .. } => ErrorKind::Refused,
        ChannelError::SpawnFailed { .. } => ErrorKind::SpawnFailed,
        ChannelError::NotAnAgent { .. }
        | ChannelError::ClosedEarly
        | ChannelError::Mismatched { .. } => ErrorKind::Protocol,
        ChannelError::Read { .. } | ChannelError::Write { .. } => ErrorKind::Local,
    }
}

fn kind_of_ssh(error: &SshError) -> ErrorKind {
    match error {
        SshError::Connect { .. } | SshError::Broken { .. } => ErrorKind::Unreachable,
        SshError::Refused { .. } | SshError::Unsendable { .. } => ErrorKind::Refused,
        SshError::TimedOut | SshError::Stalled => ErrorKind::TimedOut,
        SshError::Cancelled => ErrorKind::Cancelled,
        SshError::Program(_) | SshError::Read { .. } | SshError::Write { .. } => ErrorKind::Local,
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm(error) => error.fmt(formatter),
            Self::Selection(error) => error.fmt(formatter),
            Self::Channel(error) => error.fmt(formatter),
            Self::Ssh(error) => error.fmt(formatter),
            Self::NotOverSsh => formatter.write_str(
                "the guest is reached by ssh, which can run a shell's line and copy single files, and nothing else; this needs its agent",
            ),
            Self::NotThisWay(sentence) => formatter.write_str(sentence),
            Self::NoFeature {
                feature,
                agent_version,
            } => write!(
                formatter,
                "the guest's agent {agent_version} does not serve '{feature}'; a newer one is needed"
            ),
            Self::OutputTooLong { limit } => write!(
                formatter,
                "the command was killed because its output is longer than {limit} bytes"
            ),
            Self::Place(error) => error.fmt(formatter),
            Self::Read { what, .. } => write!(formatter, "cannot send {what}"),
            Self::Process(_) => formatter
                .write_str("this process lacks a thread, a descriptor or a standard stream"),
        }
    }
}

impl std::error::Error for GuestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Vm(error) => error.source(),
            Self::Selection(error) => error.source(),
            Self::Channel(error) => error.source(),
            Self::Ssh(error) => error.source(),
            Self::Place(error) => error.source(),
            Self::Read { source, .. } | Self::Process(source) => Some(source),
            Self::NotOverSsh
            | Self::NotThisWay(_)
            | Self::NoFeature { .. }
            | Self::OutputTooLong { .. } => None,
        }
    }
}

impl From<VmError> for GuestError {
    fn from(error: VmError) -> Self {
        Self::Vm(error)
    }
}

impl From<SelectionError> for GuestError {
    fn from(error: SelectionError) -> Self {
        Self::Selection(error)
    }
}

impl From<ChannelError> for GuestError {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl From<SshError> for GuestError {
    fn from(error: SshError) -> Self {
        Self::Ssh(error)
    }
}

impl From<PlaceError> for GuestError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}
