//! Why a call over ssh failed: each way told apart.

use crate::printable::printable;
use std::fmt;
use std::io;

/// Why a call over ssh failed.
#[derive(Debug)]
pub enum SshError {
    /// The system's `ssh` cannot be started.
    Program(io::Error),
    /// ssh cannot carry what was asked for.
    Unsendable {
        /// What is wrong with it, as a sentence.
        sentence: String,
    },
    /// Nobody could be talked to.
    Connect {
        /// Where to.
        destination: String,
        /// What ssh said, or the guest.
        sentence: String,
    },
    /// The connection ended before the guest's answer was complete.
    Broken {
        /// Where to.
        destination: String,
        /// What ssh said, or the guest.
        sentence: String,
    },
    /// The guest does not serve the request.
    Refused {
        /// What it said.
        sentence: String,
    },
    /// The call's deadline on this side passed.
    TimedOut,
    /// The transfer stood still for [`crate::channel::STALL_LIMIT`].
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

impl fmt::Display for SshError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(error) if error.kind() == io::ErrorKind::NotFound => {
                formatter.write_str("there is no program 'ssh' here; install OpenSSH's client")
            }
            Self::Program(_) => formatter.write_str("cannot run ssh"),
            Self::Unsendable { sentence } => formatter.write_str(sentence),
            Self::Connect {
                destination,
                sentence,
            } => write!(
                formatter,
                "cannot reach {destination} by ssh: {}{}",
                printable(sentence),
                advice_on(sentence)
            ),
            Self::Broken {
                destination,
                sentence,
            } => write!(
                formatter,
                "the ssh connection to {destination} ended too early: {}",
                printable(sentence)
            ),
            Self::Refused { sentence } => {
                write!(formatter, "refused by the guest: {}", printable(sentence))
            }
            Self::TimedOut => formatter.write_str("no answer by ssh in time"),
            Self::Stalled => write!(
                formatter,
                "the transfer stood still for {} seconds",
                crate::channel::STALL_LIMIT.as_secs()
            ),
            Self::Cancelled => formatter.write_str("interrupted"),
            Self::Read { what, .. } => write!(formatter, "cannot read {what}"),
            Self::Write { what, .. } => write!(formatter, "cannot write {what}"),
        }
    }
}

/// What to do about the one thing that is no fault of the guest's: ssh may not ask whether a new key is right.
fn advice_on(sentence: &str) -> &'static str {
    match sentence.contains("Host key verification failed") {
        true => {
            " Log in once with ssh to accept its key, or set StrictHostKeyChecking for it in ssh's configuration."
        }
        false => "",
    }
}

impl std::error::Error for SshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Program(source) if source.kind() != io::ErrorKind::NotFound => Some(source),
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}
