//! How a guest is connected to, where the default is not meant.
//!
//! Owns the way from a target to facts, and from the decision to a [`Guest`].

use super::{Guest, GuestError};
use crate::cancel::Cancel;
use crate::channel::Channel;
use crate::selection::{Choice, Facts, GuestOs, Route, Vmm, host_has_vsock, select};
use crate::target::Target;
use crate::transport::Address;

/// How a guest is connected to, where the default is not meant.
#[derive(Clone, Debug, Default)]
pub struct GuestOptions {
    choice: Choice,
    vmm: Option<Vmm>,
    guest_os: GuestOs,
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

    /// Ends the guest's calls, and connecting, when `cancel` is told so. [`Guest::canceller`] ends those of that guest alone.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`GuestError::Vm`] where no such VM runs, [`GuestError::Selection`] where no way leads to it.
    pub fn connect(&self, target: &Target) -> Result<Guest, GuestError> {
        let cancel = match &self.cancel {
            Some(cancel) => cancel.part(),
            None => Cancel::new(),
        }
        .map_err(GuestError::Process)?;
        let address = target.address()?;
        let vmm = self.vmm.unwrap_or(match address {
            Address::Vsock { .. } => Vmm::HostVsock,
            Address::ConnectSocket { .. } | Address::Unix { .. } => Vmm::SocketVsock,
        });
        let facts = Facts {
            host_has_vsock: host_has_vsock(),
            vmm,
            guest_os: self.guest_os,
            ssh_is_known: false,
        };
        match select(self.choice, facts)? {
            Route::Agent | Route::AgentOrSsh | Route::Ssh => {
                let channel = Channel::with_cancel(address, cancel.clone());
                Ok(Guest::new(&channel, cancel))
            }
        }
    }
}
