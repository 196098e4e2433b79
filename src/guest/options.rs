//! How a guest is connected to, where the default is not meant.
//!
//! Owns the way from a target to facts, and from the decision to a [`Guest`].

use super::{Guest, GuestError, Way};
use crate::cancel::Cancel;
use crate::channel::{Channel, ChannelError};
use crate::selection::{
    Choice, Facts, GuestOs, PROBE_LIMIT, Route, SelectionError, Vmm, host_has_vsock, select,
};
use crate::ssh::{SshChannel, SshDestination};
use crate::target::Target;
use crate::transport::Address;
use crate::vm::Registry;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// How a guest is connected to, where the default is not meant.
#[derive(Clone, Debug, Default)]
pub struct GuestOptions {
    choice: Choice,
    vmm: Option<Vmm>,
    guest_os: GuestOs,
    ssh: Option<SshDestination>,
    ssh_identity: Option<PathBuf>,
    probe_limit: Option<Duration>,
    cancel: Option<Cancel>,
}

impl GuestOptions {
    /// The default: the automatic choice, for a Linux guest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which way to take.
    #[must_use]
    pub fn channel(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// What the guest's VMM has of vsock; otherwise what the target tells.
    #[must_use]
    pub fn vmm(mut self, vmm: Vmm) -> Self {
        self.vmm = Some(vmm);
        self
    }

    /// What runs in the guest; otherwise Linux.
    #[must_use]
    pub fn guest_os(mut self, guest_os: GuestOs) -> Self {
        self.guest_os = guest_os;
        self
    }

    /// Where the guest's ssh server is; otherwise, for a registered VM, the port of this machine that leads to the
    /// guest's port 22, if one does.
    #[must_use]
    pub fn ssh(mut self, destination: SshDestination) -> Self {
        self.ssh = Some(destination);
        self
    }

    /// The private key for the guest's ssh server, wherever that is.
    #[must_use]
    pub fn ssh_identity(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh_identity = Some(file.into());
        self
    }

    /// How long the agent may take to answer before the automatic choice falls back to ssh; otherwise
    /// [`PROBE_LIMIT`].
    #[must_use]
    pub fn probe_limit(mut self, limit: Duration) -> Self {
        self.probe_limit = Some(limit);
        self
    }

    /// Ends the guest's calls, and connecting, when `cancel` is told so. [`Guest::canceller`] ends those of that
    /// guest alone.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`GuestError::Vm`] where no such VM runs, [`GuestError::Selection`] where no way leads to it. An agent that
    /// does not answer is an error of the first call.
    pub fn connect(&self, target: &Target) -> Result<Guest, GuestError> {
        let cancel = match &self.cancel {
            Some(cancel) => cancel.part(),
            None => Cancel::new(),
        }
        .map_err(GuestError::Process)?;
        let (address, ssh) = self.places(target)?;
        let ssh = match &self.ssh_identity {
            Some(file) => ssh.map(|destination| destination.identity(file)),
            None => ssh,
        };
        let facts = Facts {
            host_has_vsock: host_has_vsock(),
            vmm: self.vmm.unwrap_or(match address {
                Address::Vsock { .. } => Vmm::HostVsock,
                Address::ConnectSocket { .. } | Address::Unix { .. } => Vmm::SocketVsock,
            }),
            guest_os: self.guest_os,
            ssh_is_known: ssh.is_some(),
        };
        let channel = Channel::with_cancel(address, cancel.clone());
        match (select(self.choice, facts)?, ssh) {
            (Route::Agent, _) | (Route::AgentOrSsh, None) => {
                Ok(Guest::new(Way::Agent(channel), cancel, None))
            }
            (Route::AgentOrSsh, Some(ssh)) => self.probe(channel, ssh, cancel),
            (Route::Ssh, Some(ssh)) => {
                let channel = SshChannel::new(ssh, cancel.clone());
                Ok(Guest::new(Way::Ssh(channel), cancel, None))
            }
            (Route::Ssh, None) => Err(SelectionError::NoSshDestination.into()),
        }
    }

    /// Where the agent and the ssh server are.
    fn places(&self, target: &Target) -> Result<(Address, Option<SshDestination>), GuestError> {
        let Target::Name(name) = target else {
            return Ok((target.address()?, self.ssh.clone()));
        };
        let registry = Registry::open()?;
        let address = registry.address_of(name)?;
        let forwarded = registry.get(name)?.ssh_port.map(of_own_vm);
        Ok((address, self.ssh.clone().or(forwarded)))
    }

    /// Asks the agent, and takes ssh where it does not answer in time.
    fn probe(
        &self,
        channel: Channel,
        ssh: SshDestination,
        cancel: Cancel,
    ) -> Result<Guest, GuestError> {
        match channel.wait_ready(self.probe_limit.unwrap_or(PROBE_LIMIT)) {
            Ok(pong) => {
                let guest = Guest::new(Way::Agent(channel), cancel, None);
                let _ = guest.inner.pong.set(pong);
                Ok(guest)
            }
            Err(ChannelError::Cancelled) => Err(ChannelError::Cancelled.into()),
            Err(error) => {
                let channel = SshChannel::new(ssh, cancel.clone());
                Ok(Guest::new(Way::Ssh(channel), cancel, Some(error)))
            }
        }
    }
}

/// The server behind a port that the VM's own QEMU holds. Each VM makes host keys of its own, so the port's last
/// one is worth nothing.
fn of_own_vm(port: NonZeroU16) -> SshDestination {
    SshDestination::forwarded(port)
        .option("StrictHostKeyChecking=no")
        .option("UserKnownHostsFile=/dev/null")
}
