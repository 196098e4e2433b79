//! What this host can do for VMs, found out by trying, and what mends what it cannot.
//!
//! Owns the list of what is looked at ([`Subject`]) and the judgement whether a VM can be started. Nothing is
//! installed or changed; what a try makes is gone afterwards. That a device's file is there proves nothing, so
//! each is opened, each program is run, and where an image is given a VM of it is booted.

mod boot;
mod devices;
mod folders;
mod programs;
mod remedy;

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::image::Image;
use crate::vm::VmError;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `/proc`, by which a VM's processes are known.
    Proc,
    /// Where records of VMs are kept.
    StateFolder,
    /// Whether sockets in there have a path that is short enough.
    SocketPath,
    /// By what CIDs are given out.
    CidPool,
    /// QEMU for guests of an architecture.
    Qemu(Arch),
    /// `/dev/kvm`, and whether it starts a kernel.
    Kvm,
    /// The kernel's vsock device for VMs.
    VhostVsock,
    /// The program that stands in for it.
    VhostDeviceVsock,
    /// A VM of the image.
    Boot,
    /// The client, for images with an ssh server.
    Ssh,
    /// What makes a disk's file system.
    Mke2fs,
    /// What fills it.
    Debugfs,
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Proc => "proc",
            Self::StateFolder => "state-folder",
            Self::SocketPath => "socket-path",
            Self::CidPool => "cid-pool",
            Self::Qemu(Arch::X86_64) => "qemu-x86_64",
            Self::Qemu(Arch::Aarch64) => "qemu-aarch64",
            Self::Kvm => "kvm",
            Self::VhostVsock => "vhost-vsock",
            Self::VhostDeviceVsock => "vhost-device-vsock",
            Self::Boot => "boot",
            Self::Ssh => "ssh",
            Self::Mke2fs => "mke2fs",
            Self::Debugfs => "debugfs",
        })
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How it is about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// It works in part, or something slower or narrower stands in for it.
    Limited,
    /// It is not there, or does not work.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        })
    }
}

/// What was found out about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: Subject,
    /// How it is.
    pub state: State,
    /// The same in words, on one line.
    pub told: String,
    /// The one command that mends it, where one does.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(subject: Subject, told: impl Into<String>) -> Self {
        Self::new(subject, State::Ok, told)
    }

    fn limited(subject: Subject, told: impl Into<String>) -> Self {
        Self::new(subject, State::Limited, told)
    }

    fn missing(subject: Subject, told: impl Into<String>) -> Self {
        Self::new(subject, State::Missing, told)
    }

    fn new(subject: Subject, state: State, told: impl Into<String>) -> Self {
        let told = crate::printable::printable(&told.into());
        Self {
            subject,
            state,
            told,
            remedy: None,
        }
    }

    fn mended_by(self, remedy: impl Into<Option<String>>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }
}

/// All that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether a VM can be started: of the image, or else of this machine's architecture.
    pub can_start_vm: bool,
    /// A finding each.
    pub findings: Vec<Finding>,
}

/// Looks at everything, and boots a VM where there is an image.
///
/// # Errors
/// [`VmError::Cancelled`]; whatever else goes wrong is a finding.
pub fn examine(image: Option<&Path>, cancel: &Cancel) -> Result<Diagnosis, VmError> {
    let arch = image.and_then(|image| Some(Image::open(image).ok()?.manifest.arch));
    let arch = arch.or_else(Arch::of_this_host);
    let mut findings = folders::examine();
    findings.extend(programs::qemus(cancel));
    let tried = match image {
        Some(image) => Some(boot::try_image(image, cancel)?),
        None => None,
    };
    findings.push(devices::kvm(tried.as_ref()));
    findings.extend(devices::vsock(cancel));
    findings.extend(tried.map(boot::Tried::into_finding));
    findings.extend(programs::others());
    if cancel.is_cancelled() {
        return Err(VmError::Cancelled);
    }
    Ok(Diagnosis {
        can_start_vm: can_start_vm(&findings, arch),
        findings,
    })
}

/// KVM is not among what is needed: emulation takes its place.
fn can_start_vm(findings: &[Finding], arch: Option<Arch>) -> bool {
    let state = |subject| {
        let mut of_subject = findings.iter().filter(|found| found.subject == subject);
        of_subject.next().map(|found| found.state)
    };
    let is_there = |subject| state(subject) != Some(State::Missing);
    let works = |subject| state(subject) == Some(State::Ok);
    let qemu = match arch {
        Some(arch) => works(Subject::Qemu(arch)),
        None => works(Subject::Qemu(Arch::X86_64)) || works(Subject::Qemu(Arch::Aarch64)),
    };
    let vsock = works(Subject::VhostVsock)
        || (works(Subject::VhostDeviceVsock) && is_there(Subject::SocketPath));
    let kept = [Subject::Proc, Subject::StateFolder, Subject::CidPool];
    kept.into_iter().all(is_there) && qemu && vsock && is_there(Subject::Boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Vec<Finding> {
        vec![
            Finding::ok(Subject::Proc, ""),
            Finding::ok(Subject::StateFolder, ""),
            Finding::limited(Subject::SocketPath, ""),
            Finding::limited(Subject::CidPool, ""),
            Finding::ok(Subject::Qemu(Arch::X86_64), ""),
            Finding::missing(Subject::Qemu(Arch::Aarch64), ""),
            Finding::missing(Subject::Kvm, ""),
            Finding::limited(Subject::VhostVsock, ""),
            Finding::ok(Subject::VhostDeviceVsock, ""),
        ]
    }

    #[test]
    fn vm_can_be_started_without_kvm_and_by_either_vsock_device() {
        assert!(can_start_vm(&able(), Some(Arch::X86_64)));
        assert!(can_start_vm(&able(), None));
        let mut findings = able();
        findings[7].state = State::Ok;
        findings[8].state = State::Missing;
        findings[2].state = State::Missing;
        assert!(can_start_vm(&findings, Some(Arch::X86_64)));
    }

    #[test]
    fn vm_cannot_be_started_where_anything_that_it_needs_is_missing() {
        assert!(!can_start_vm(&able(), Some(Arch::Aarch64)));
        for index in [0, 1, 2, 3, 4, 8] {
            let mut findings = able();
            findings[index].state = State::Missing;
            assert!(!can_start_vm(&findings, Some(Arch::X86_64)), "{index}");
        }
        let mut findings = able();
        findings.push(Finding::missing(Subject::Boot, ""));
        assert!(!can_start_vm(&findings, Some(Arch::X86_64)));
    }
}
