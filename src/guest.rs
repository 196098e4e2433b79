//! A guest as a program sees it: commands and files, in the manner of `std::process`.
//!
//! Owns the choice of the way when it connects, and what is known of the agent, which is asked once. Blocking; a
//! [`Guest`] is cheap to clone, and can be used from several threads at once: each call has its own connection.
//! Everything that the wire knows is [`Channel`]'s, below.

mod error;
mod forward;
mod options;
mod resume;
mod stream;
mod transfer;
mod tree;

pub use error::{ErrorKind, GuestError};
pub use forward::{Listener, MAX_FORWARDED_STREAMS};
pub use options::GuestOptions;
pub use stream::GuestStream;

use crate::cancel::Cancel;
use crate::channel::{Channel, ChannelError, Pong, SHUTDOWN, ShutdownMode, TIMINGS};
use crate::command::Command;
use crate::deadline::Deadline;
use crate::ssh::{SshChannel, SshDestination};
use crate::target::Target;
use smolvm_protocol::request::RunRequest;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the agent may take to say what it serves, where a call has to know that first.
pub const FEATURES_LIMIT: Duration = Duration::from_secs(10);

/// One guest.
///
/// ```no_run
/// use smolvm_host::{Guest, GuestError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let guest = Guest::connect(&"vm1".parse()?)?;
/// let listing = guest.command("ls -l /").output()?;
/// assert!(listing.outcome.is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Guest {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    way: Way,
    cancel: Cancel,
    pong: OnceLock<Pong>,
    fallback: Option<ChannelError>,
    forwarded: forward::Permits,
}

/// What leads to a guest.
#[derive(Debug)]
pub(crate) enum Way {
    /// Its agent.
    Agent(Channel),
    /// Its ssh server.
    Ssh(SshChannel),
}

impl Guest {
    /// The guest that a target names, by the way that the automatic choice takes ([`GuestOptions`] for any other).
    ///
    /// Nothing is said to the guest yet, unless there is a choice to make.
    ///
    /// # Errors
    /// [`GuestError::Vm`] where no such VM runs, [`GuestError::Selection`] where no way leads to it.
    pub fn connect(target: &Target) -> Result<Self, GuestError> {
        GuestOptions::new().connect(target)
    }

    /// The guest whose agent a channel leads to; whatever cancels `cancel` ends every call.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn over_channel(channel: &Channel, cancel: &Cancel) -> io::Result<Self> {
        let cancel = cancel.part()?;
        Ok(Self::new(Way::Agent(channel.until(&cancel)), cancel, None))
    }

    /// The guest whose ssh server is there, whatever else could lead to it.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn over_ssh(destination: &SshDestination, cancel: &Cancel) -> io::Result<Self> {
        let cancel = cancel.part()?;
        let channel = SshChannel::new(destination.clone(), cancel.clone());
        Ok(Self::new(Way::Ssh(channel), cancel, None))
    }

    fn new(way: Way, cancel: Cancel, fallback: Option<ChannelError>) -> Self {
        Self {
            inner: Arc::new(Inner {
                way,
                cancel,
                pong: OnceLock::new(),
                fallback,
                forwarded: forward::Permits::default(),
            }),
        }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.inner.way
    }

    /// Why the automatic choice fell back to ssh, where it did: the agent did not answer. Worth saying once.
    #[must_use]
    pub fn fallback(&self) -> Option<&ChannelError> {
        self.inner.fallback.as_ref()
    }

    /// Where the guest's ssh server is, where the guest is reached by it. A shell's `command`, the transfers of one
    /// file and `wait_ready` are served then, all else is refused, such as trees.
    #[must_use]
    pub fn ssh_destination(&self) -> Option<&SshDestination> {
        match &self.inner.way {
            Way::Agent(_) => None,
            Way::Ssh(channel) => Some(channel.destination()),
        }
    }

    /// What ends every call of this guest and its clones, present and future, from another thread.
    #[must_use]
    pub fn canceller(&self) -> Cancel {
        self.inner.cancel.clone()
    }

    /// The layer below, for what has no method here.
    ///
    /// # Errors
    /// [`GuestError::NotOverSsh`].
    pub fn channel(&self) -> Result<&Channel, GuestError> {
        match &self.inner.way {
            Way::Agent(channel) => Ok(channel),
            Way::Ssh(_) => Err(GuestError::NotOverSsh),
        }
    }

    /// A command line for the guest's shell, not started yet.
    pub fn command(&self, line: impl AsRef<OsStr>) -> Command<'static> {
        let request = RunRequest {
            command: line.as_ref().as_bytes().to_vec(),
            ..RunRequest::default()
        };
        Command::new(self.clone(), request)
    }

    /// A program for the guest, not started yet: no shell takes it and its arguments ([`Command::arg`]). Without a `/`, it is
    /// found by the guest's `PATH`.
    pub fn program(&self, name: impl AsRef<OsStr>) -> Command<'static> {
        let request = RunRequest {
            argv: vec![name.as_ref().as_bytes().to_vec()],
            ..RunRequest::default()
        };
        Command::new(self.clone(), request)
    }

    /// Waits until the guest answers, for `timeout` in all.
    ///
    /// # Errors
    /// [`GuestError`]: at once where the peer answers but is no agent.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), GuestError> {
        match &self.inner.way {
            Way::Agent(channel) => {
                let pong = channel.wait_ready(timeout)?;
                let _ = self.inner.pong.set(pong);
            }
            Way::Ssh(channel) => channel.wait_ready(timeout)?,
        }
        Ok(())
    }

    /// Asks the agent whether it is there, within `timeout` in all.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn ping(&self, timeout: Duration) -> Result<Pong, GuestError> {
        let pong = self.channel()?.ping(timeout)?;
        let _ = self.inner.pong.set(pong.clone());
        Ok(pong)
    }

    /// What the agent said of itself when it was first asked, which is now (within [`FEATURES_LIMIT`]) where it was
    /// not yet.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn agent(&self) -> Result<&Pong, GuestError> {
        self.agent_by(Deadline::NEVER)
    }

    fn agent_by(&self, deadline: Deadline) -> Result<&Pong, GuestError> {
        if let Some(pong) = self.inner.pong.get() {
            return Ok(pong);
        }
        let left = deadline.remaining().unwrap_or(FEATURES_LIMIT);
        let pong = self.channel()?.ping(left.min(FEATURES_LIMIT))?;
        Ok(self.inner.pong.get_or_init(|| pong))
    }

    /// Makes sure that the agent serves `feature`, as [`Self::agent`] knows.
    ///
    /// # Errors
    /// [`GuestError::NoFeature`] where it does not.
    pub fn require(&self, feature: &'static str) -> Result<&Channel, GuestError> {
        self.require_by(feature, Deadline::NEVER)
    }

    /// The same for a call that has a deadline of its own.
    pub(crate) fn require_by(
        &self,
        feature: &'static str,
        deadline: Deadline,
    ) -> Result<&Channel, GuestError> {
        let agent = self.agent_by(deadline)?;
        if !agent.serves(feature) {
            return Err(GuestError::NoFeature {
                feature,
                agent_version: agent.agent_version.clone(),
            });
        }
        self.channel()
    }

    /// Has the guest end in order; the answer comes before it does, within `timeout`.
    ///
    /// # Errors
    /// [`GuestError`]; [`ErrorKind::Refused`] where the guest's process 1 is none of ours.
    pub fn shutdown(&self, mode: ShutdownMode, timeout: Duration) -> Result<(), GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(SHUTDOWN, deadline)?;
        Ok(channel.shutdown(mode, left_until(deadline))?)
    }

    /// When things were done while the guest booted, by name: microseconds since its kernel started. Answered
    /// within `timeout`.
    ///
    /// # Errors
    /// [`GuestError`]; [`ErrorKind::Refused`] where the guest's process 1 is none of ours.
    pub fn timings(&self, timeout: Duration) -> Result<BTreeMap<String, u64>, GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(TIMINGS, deadline)?;
        Ok(channel.timings(left_until(deadline))?)
    }
}

/// As a span; so long a one that no clock has it where there is no deadline.
fn left_until(deadline: Deadline) -> Duration {
    deadline.remaining().unwrap_or(Duration::MAX)
}
