//! What is known of one VM, as `vm.json` in its directory.
//!
//! Owns the record's format. It is written beside and renamed, so that a reader sees the old one or
//! the new. What a record says of processes is checked against the machine each time ([`Status`]).

use super::accelerator::Accelerator;
use super::machine::Machine;
use super::process::ProcessId;
use crate::arch::Arch;
use crate::target::GuestCid;
use crate::transport::Address;
use serde::{Deserialize, Serialize};
use smolvm_protocol::AGENT_PORT;
use std::fs;
use std::num::NonZeroU16;
use std::path::PathBuf;

/// The record's format that this program writes and reads.
pub const RECORD_FORMAT: u32 = 1;

/// How the host reaches the guest's vsock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VsockPath {
    /// By the host's own AF_VSOCK.
    Cid,
    /// By a socket that wants `CONNECT` first.
    Socket(PathBuf),
}

/// How far a VM has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its starter has not seen the agent answer yet.
    Starting,
    /// The agent has answered.
    Running,
}

/// What a VM does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Somebody is starting it.
    Starting,
    /// Its starter was killed before the agent had answered, and processes of it live on: the next start
    /// ends them.
    Abandoned,
    /// QEMU lives.
    Running,
    /// QEMU is gone.
    Stopped,
}

/// What is known of one VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub phase: Phase,
    /// The guest's architecture.
    pub arch: Arch,
    /// The machine; older records do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The image folder that it was started from.
    pub image: PathBuf,
    /// The disk that its own was copied from, where that was not the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<PathBuf>,
    /// What executes the guest's instructions; `None` until that is known.
    pub accelerator: Option<Accelerator>,
    /// The guest's CID.
    pub cid: u32,
    /// How the host reaches the guest's vsock.
    pub vsock: VsockPath,
    /// The port of 127.0.0.1 that leads to the guest's port 22, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_port: Option<NonZeroU16>,
    /// The boot of this machine in which it was started (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The process that starts it.
    pub starter: ProcessId,
    /// QEMU.
    pub qemu: Option<ProcessId>,
    /// The vsock device, where that is a process of its own.
    pub device: Option<ProcessId>,
}

impl VmRecord {
    /// What the VM does now.
    #[must_use]
    pub fn status(&self) -> Status {
        if !self.is_of_this_boot() {
            return Status::Stopped;
        }
        match self.phase {
            Phase::Starting if self.starter.is_alive() => Status::Starting,
            Phase::Starting if self.processes().any(ProcessId::is_alive) => Status::Abandoned,
            Phase::Running if self.qemu.is_some_and(ProcessId::is_alive) => Status::Running,
            _ => Status::Stopped,
        }
    }

    /// Whether its start ended without a word to anybody: it was killed, or this machine was.
    #[must_use]
    pub fn has_failed_to_start(&self) -> bool {
        self.phase == Phase::Starting && self.status() != Status::Starting
    }

    /// The VM's processes as far as they are of this boot of the machine: QEMU, then its device.
    pub(super) fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let processes = [self.qemu, self.device].into_iter().flatten();
        processes.filter(|_| self.is_of_this_boot())
    }

    /// Every path in the record.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let socket = match &self.vsock {
            VsockPath::Cid => None,
            VsockPath::Socket(path) => Some(path),
        };
        std::iter::once(&self.image).chain(&self.disk).chain(socket)
    }

    /// Where the VM's agent is reached.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        let port = AGENT_PORT;
        match &self.vsock {
            VsockPath::Cid => GuestCid::new(self.cid).map(|cid| Address::Vsock { cid, port }),
            VsockPath::Socket(path) => {
                let path = path.clone();
                Some(Address::ConnectSocket { path, port })
            }
        }
    }

    /// Whether this tells of the same start of a VM; its name may have been taken anew.
    pub(super) fn is_of_start(&self, other: &Self) -> bool {
        self.starter == other.starter && self.boot_id == other.boot_id
    }

    fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }
}

/// The identity of this machine's present boot; empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim_end().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::registry::tests::record;

    #[test]
    fn record_of_an_older_program_is_read() {
        let mut new = record("a", 3);
        let old = serde_json::to_string(&new).unwrap();
        assert!(!old.contains("ssh_port") && !old.contains("disk"));
        assert_eq!(serde_json::from_str::<VmRecord>(&old).unwrap(), new);
        new.ssh_port = NonZeroU16::new(2222);
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<VmRecord>(&text).unwrap(), new);
    }
}
