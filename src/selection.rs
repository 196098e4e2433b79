//! Which way leads to a guest: its agent by vsock, or ssh.
//!
//! Owns the decision, which looks at facts alone: an explicit choice never falls back; the automatic one takes the
//! agent where host, VMM and guest can, and ssh where they cannot or where the agent does not answer. Refuses to
//! connect.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// How long an agent may take to answer before the automatic choice falls back to ssh.
pub const PROBE_LIMIT: Duration = Duration::from_millis(2500);

/// What the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The agent where possible, otherwise ssh.
    #[default]
    Automatic,
    /// The agent, or an error.
    Vsock,
    /// ssh, or an error.
    Ssh,
}

/// What a VMM has of vsock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    /// The host kernel's vhost-vsock (QEMU's `vhost-vsock-pci`): reached by AF_VSOCK.
    HostVsock,
    /// A Unix socket of its own (Firecracker, Cloud Hypervisor, vhost-device-vsock), or the agent's.
    SocketVsock,
    /// Nothing.
    WithoutVsock,
}

/// What runs in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestOs {
    /// Linux, for which there is an agent.
    #[default]
    Linux,
    /// Windows, for which there is none.
    Windows,
}

/// What the decision looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether this host's kernel has vhost-vsock ([`host_has_vsock`]).
    pub host_has_vsock: bool,
    /// What the VMM has.
    pub vmm: Vmm,
    /// What runs in the guest.
    pub guest_os: GuestOs,
    /// Whether it is known where an ssh server of the guest listens.
    pub ssh_is_known: bool,
}

/// The way that was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The agent, whatever comes.
    Agent,
    /// The agent if it answers, otherwise ssh.
    AgentOrSsh,
    /// ssh.
    Ssh,
}

/// Why the agent cannot be reached by vsock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VsockObstacle {
    /// There is no agent for Windows.
    WindowsGuest,
    /// The VMM has no vsock.
    VmmWithoutVsock,
    /// The host's kernel has no vhost-vsock.
    HostWithoutVsock,
}

impl fmt::Display for VsockObstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WindowsGuest => "there is no agent for Windows guests",
            Self::VmmWithoutVsock => "the guest's VMM has no vsock",
            Self::HostWithoutVsock => {
                "this host has no vsock for guests (no /dev/vhost-vsock; as root, 'modprobe vhost_vsock' may bring it)"
            }
        })
    }
}

/// Why no way leads to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionError {
    /// vsock was asked for and cannot work.
    Vsock(VsockObstacle),
    /// ssh was asked for and it is not known where the guest's server listens.
    NoSshDestination,
    /// vsock cannot work, and it is not known where an ssh server of the guest listens.
    NoWay(VsockObstacle),
}

impl fmt::Display for SelectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock(obstacle) => {
                write!(formatter, "{obstacle}; the guest can be reached by ssh alone")
            }
            Self::NoSshDestination => formatter.write_str(
                "it is not known where the guest's ssh server listens; name it as [USER@]HOST[:PORT]",
            ),
            Self::NoWay(obstacle) => write!(
                formatter,
                "{obstacle}; name the guest's ssh server as [USER@]HOST[:PORT] to reach it without"
            ),
        }
    }
}

impl std::error::Error for SelectionError {}

/// Decides.
///
/// # Errors
/// [`SelectionError`].
pub fn select(choice: Choice, facts: Facts) -> Result<Route, SelectionError> {
    let vsock = match obstacle(facts) {
        None => Ok(()),
        Some(obstacle) => Err(obstacle),
    };
    match (choice, vsock, facts.ssh_is_known) {
        (Choice::Ssh, _, true) | (Choice::Automatic, Err(_), true) => Ok(Route::Ssh),
        (Choice::Ssh, _, false) => Err(SelectionError::NoSshDestination),
        (Choice::Vsock, Ok(()), _) | (Choice::Automatic, Ok(()), false) => Ok(Route::Agent),
        (Choice::Vsock, Err(obstacle), _) => Err(SelectionError::Vsock(obstacle)),
        (Choice::Automatic, Ok(()), true) => Ok(Route::AgentOrSsh),
        (Choice::Automatic, Err(obstacle), false) => Err(SelectionError::NoWay(obstacle)),
    }
}

fn obstacle(facts: Facts) -> Option<VsockObstacle> {
    match (facts.guest_os, facts.vmm) {
        (GuestOs::Windows, _) => Some(VsockObstacle::WindowsGuest),
        (GuestOs::Linux, Vmm::WithoutVsock) => Some(VsockObstacle::VmmWithoutVsock),
        (GuestOs::Linux, Vmm::HostVsock) if !facts.host_has_vsock => {
            Some(VsockObstacle::HostWithoutVsock)
        }
        (GuestOs::Linux, Vmm::HostVsock | Vmm::SocketVsock) => None,
    }
}

/// Whether this host's kernel has vhost-vsock. Where a container hides the device's node, sysfs still tells of
/// the module: connecting needs no node.
#[must_use]
pub fn host_has_vsock() -> bool {
    ["/dev/vhost-vsock", "/sys/module/vhost_vsock"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Choice::{Automatic, Ssh, Vsock};
    use GuestOs::{Linux, Windows};
    use SelectionError::{NoSshDestination, NoWay};
    use VsockObstacle::{HostWithoutVsock, VmmWithoutVsock, WindowsGuest};

    /// What comes of each choice with an ssh destination, and without one.
    type Decisions = [Result<Route, SelectionError>; 6];

    fn decisions(guest_os: GuestOs, vmm: Vmm, host_has_vsock: bool) -> Decisions {
        let decide = |(choice, ssh_is_known)| {
            let facts = Facts {
                host_has_vsock,
                vmm,
                guest_os,
                ssh_is_known,
            };
            select(choice, facts)
        };
        [
            (Automatic, true),
            (Vsock, true),
            (Ssh, true),
            (Automatic, false),
            (Vsock, false),
            (Ssh, false),
        ]
        .map(decide)
    }

    #[test]
    fn every_combination_has_its_way_or_its_reason() {
        let possible = [
            Ok(Route::AgentOrSsh),
            Ok(Route::Agent),
            Ok(Route::Ssh),
            Ok(Route::Agent),
            Ok(Route::Agent),
            Err(NoSshDestination),
        ];
        let impossible = |obstacle| {
            [
                Ok(Route::Ssh),
                Err(SelectionError::Vsock(obstacle)),
                Ok(Route::Ssh),
                Err(NoWay(obstacle)),
                Err(SelectionError::Vsock(obstacle)),
                Err(NoSshDestination),
            ]
        };
        let table = [
            (Linux, Vmm::HostVsock, true, possible),
            (Linux, Vmm::HostVsock, false, impossible(HostWithoutVsock)),
            (Linux, Vmm::SocketVsock, true, possible),
            (Linux, Vmm::SocketVsock, false, possible),
            (Linux, Vmm::WithoutVsock, true, impossible(VmmWithoutVsock)),
            (Linux, Vmm::WithoutVsock, false, impossible(VmmWithoutVsock)),
            (Windows, Vmm::HostVsock, true, impossible(WindowsGuest)),
            (Windows, Vmm::HostVsock, false, impossible(WindowsGuest)),
            (Windows, Vmm::SocketVsock, true, impossible(WindowsGuest)),
            (Windows, Vmm::SocketVsock, false, impossible(WindowsGuest)),
            (Windows, Vmm::WithoutVsock, true, impossible(WindowsGuest)),
            (Windows, Vmm::WithoutVsock, false, impossible(WindowsGuest)),
        ];
        for (guest_os, vmm, host_has_vsock, expected) in table {
            assert_eq!(
                decisions(guest_os, vmm, host_has_vsock),
                expected,
                "{guest_os:?}, {vmm:?}, {host_has_vsock}"
            );
        }
    }

    #[test]
    fn sentences_say_what_was_wrong_and_what_to_do() {
        let sentence = SelectionError::NoWay(HostWithoutVsock).to_string();
        assert!(sentence.contains("/dev/vhost-vsock") && sentence.contains("HOST"));
        assert!(
            SelectionError::Vsock(WindowsGuest)
                .to_string()
                .contains("by ssh")
        );
    }
}
