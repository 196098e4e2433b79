//! Why a verb failed, as a sentence and an exit code.
//!
//! Owns the table of exit codes: those of `docker exec` and `timeout` where they have one.

use anyhow::Error;
use smolvm_host::GuestError;
use smolvm_host::channel::ChannelError;
use smolvm_host::files::PlaceError;
use smolvm_host::image::ImageError;
use smolvm_host::selection::SelectionError;
use smolvm_host::ssh::SshError;
use smolvm_host::transport::TransportError;
use smolvm_host::vm::VmError;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io;

/// Anything that failed on this side.
pub(crate) const LOCAL: u8 = 1;
/// A wrong call.
pub(crate) const USAGE: u8 = 2;
/// The agent killed the command at its time limit.
pub(crate) const TIMED_OUT: u8 = 124;
/// The agent or the way to it failed.
pub(crate) const AGENT: u8 = 125;
/// The command is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The command is not there.
const NOT_FOUND: u8 = 127;
/// 128 + N: signal N ended the command, or us.
pub(crate) const SIGNAL: u8 = 128;
const BROKEN_PIPE: u8 = SIGNAL + 13;
const INTERRUPTED: u8 = SIGNAL + 2;

const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;

/// Why a verb failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: Option<Error>,
    is_cancelled: bool,
}

impl Failure {
    fn new(code: u8, error: Error) -> Self {
        Self {
            code,
            error: Some(error),
            is_cancelled: false,
        }
    }

    fn quiet(code: u8) -> Self {
        Self {
            code,
            error: None,
            is_cancelled: false,
        }
    }

    /// We were told to end.
    pub(crate) fn cancelled() -> Self {
        Self {
            is_cancelled: true,
            ..Self::quiet(INTERRUPTED)
        }
    }

    /// A wrong call.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(USAGE, Error::msg(sentence.to_string()))
    }

    /// Something failed on this side.
    pub(crate) fn local(error: impl Into<Error>) -> Self {
        Self::new(LOCAL, error.into())
    }

    /// Standard output failed; a reader that has gone is nothing to talk about.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(BROKEN_PIPE),
            _ => Self::new(
                LOCAL,
                Error::new(error).context("cannot write standard output"),
            ),
        }
    }

    /// A call to the agent of `target` failed.
    pub(crate) fn channel(target: &OsStr, error: ChannelError) -> Self {
        let code = match &error {
            ChannelError::Cancelled | ChannelError::Transport(TransportError::Cancelled) => {
                return Self::cancelled();
            }
            ChannelError::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                return Self::quiet(BROKEN_PIPE);
            }
            ChannelError::Read { .. } | ChannelError::Write { .. } => LOCAL,
            ChannelError::SpawnFailed { errno, .. } => match errno {
                Some(ENOENT) => NOT_FOUND,
                Some(EACCES | ENOEXEC) => NOT_EXECUTABLE,
                _ => AGENT,
            },
            _ => AGENT,
        };
        Self::new(code, error.into()).about(target)
    }

    /// A call to the guest `target` failed.
    pub(crate) fn guest(target: &OsStr, error: GuestError) -> Self {
        let code = match error {
            GuestError::Vm(error) => return Self::unreachable(error),
            GuestError::Channel(error) => return Self::channel(target, error),
            GuestError::Ssh(error) => return Self::ssh(target, error),
            GuestError::Selection(SelectionError::NoSshDestination) => {
                return Self::usage(
                    "it is not known where the guest's ssh server listens; name it with --ssh [USER@]HOST[:PORT]",
                );
            }
            GuestError::Place(error @ PlaceError::NoName { .. }) => return Self::usage(error),
            GuestError::Place(_) | GuestError::Read { .. } | GuestError::Process(_) => {
                return Self::local(error);
            }
            _ => AGENT,
        };
        Self::new(code, error.into()).about(target)
    }

    /// A call by ssh to the guest `target` failed.
    fn ssh(target: &OsStr, error: SshError) -> Self {
        let code = match &error {
            SshError::Cancelled => return Self::cancelled(),
            SshError::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
                return Self::quiet(BROKEN_PIPE);
            }
            SshError::Read { .. } | SshError::Write { .. } | SshError::Program(_) => LOCAL,
            _ => AGENT,
        };
        Self::new(code, error.into()).about(target)
    }

    /// A VM's name says more than its socket; any other target stands in the sentence already.
    fn about(self, target: &OsStr) -> Self {
        let target = target.to_string_lossy().into_owned();
        let is_told = |error: &Error| target.contains(':') && error.to_string().contains(&target);
        Self {
            error: self.error.map(|error| match is_told(&error) {
                true => error,
                false => error.context(target.clone()),
            }),
            ..self
        }
    }

    /// No agent of that name can be asked.
    pub(crate) fn unreachable(error: VmError) -> Self {
        Self::new(AGENT, error.into())
    }

    /// The same for `run`, whose exit code 1 would be taken for the command's own.
    pub(crate) fn of_run(self) -> Self {
        let code = match self.code {
            LOCAL => AGENT,
            code => code,
        };
        Self { code, ..self }
    }

    /// The same for `image diff`, whose exit code 1 says that two things differ.
    pub(crate) fn of_diff(self) -> Self {
        let code = match self.code {
            LOCAL => USAGE,
            code => code,
        };
        Self { code, ..self }
    }

    /// The failure as seen by somebody who knows which signal, if any, has arrived.
    pub(crate) fn seen_with(self, signal: Option<u8>) -> Self {
        match signal {
            Some(signal) if self.is_cancelled => Self::quiet(SIGNAL + signal),
            _ => self,
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What to say; `None` where nothing helps.
    pub(crate) fn sentence(&self) -> Option<String> {
        self.error.as_ref().map(|error| format!("{error:#}"))
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Cancelled => Self::cancelled(),
            ImageError::WrongCall { .. } | ImageError::PackagesMissing => {
                Self::new(USAGE, error.into())
            }
            error => Self::local(error),
        }
    }
}

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        match error {
            VmError::Cancelled => Self::cancelled(),
            VmError::Agent(_) => Self::new(AGENT, error.into()),
            VmError::UnsuitableDisk { .. }
            | VmError::NoDiskDriver { .. }
            | VmError::NoSshServer { .. }
            | VmError::WrongMachine { .. }
            | VmError::CommandLineTooLong { .. } => Self::new(USAGE, error.into()),
            error => Self::local(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(error: ChannelError) -> u8 {
        Failure::channel("vm".as_ref(), error).code()
    }

    fn spawn_failed(errno: Option<i32>) -> ChannelError {
        ChannelError::SpawnFailed {
            sentence: String::new(),
            errno,
        }
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        assert_eq!(code_of(ChannelError::TimedOut), 125);
        assert_eq!(code_of(ChannelError::ClosedEarly), 125);
        assert_eq!(code_of(ChannelError::Cancelled), 130);
        assert_eq!(code_of(spawn_failed(Some(2))), 127);
        assert_eq!(code_of(spawn_failed(Some(13))), 126);
        assert_eq!(code_of(spawn_failed(Some(8))), 126);
        assert_eq!(code_of(spawn_failed(Some(7))), 125);
        assert_eq!(code_of(spawn_failed(None)), 125);
        assert_eq!(
            Failure::output(io::ErrorKind::BrokenPipe.into()).code(),
            141
        );
        assert_eq!(Failure::cancelled().seen_with(Some(15)).code(), 143);
    }
}
