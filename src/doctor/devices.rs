//! `/dev/kvm`, and the two ways to a guest's vsock.

use super::boot::Tried;
use super::remedy::as_root;
use super::{Finding, Subject, programs};
use crate::cancel::Cancel;
use crate::vm::Accelerator;
use crate::vm::device::{DEVICE_PROGRAM, KERNEL_DEVICE, device_program};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const KVM: &str = "/dev/kvm";

/// That the device can be opened says nothing of kernels, which only a boot does.
pub(super) fn kvm(tried: Option<&Tried>) -> Finding {
    let subject = Subject::Kvm;
    if let Err(error) = open(KVM) {
        let told = format!("{}; guests are emulated", unopened(KVM, &error));
        return Finding::limited(subject, told).mended_by(remedy_for_kvm(&error));
    }
    match tried.map(|tried| (&tried.outcome, &tried.reason)) {
        Some((Ok((Accelerator::Kvm, _)), _)) => Finding::ok(subject, "starts the image's kernel"),
        Some((_, Some(reason))) => Finding::limited(
            subject,
            format!("{KVM} can be opened and was not used ({reason}); guests are emulated"),
        ),
        Some((Err(_), None)) => Finding::limited(
            subject,
            format!("{KVM} can be opened; nothing was booted by it"),
        ),
        Some((Ok(_), None)) | None => Finding::limited(
            subject,
            format!("{KVM} can be opened; whether it starts a kernel was not tried"),
        )
        .mended_by("smolctl doctor --image DIR".to_owned()),
    }
}

/// Either is enough.
pub(super) fn vsock(cancel: &Cancel) -> [Finding; 2] {
    let kernel = open(KERNEL_DEVICE);
    let program = match device_program() {
        Some(path) => programs::version(&path, cancel),
        None => Err(format!(
            "{DEVICE_PROGRAM} is neither on the PATH nor in the cache"
        )),
    };
    let (has_kernel, has_program) = (kernel.is_ok(), program.is_ok());
    let of_kernel = match kernel {
        Ok(()) => Finding::ok(
            Subject::VhostVsock,
            format!("{KERNEL_DEVICE} can be opened"),
        ),
        Err(error) => {
            let told = unopened(KERNEL_DEVICE, &error);
            let finding = match has_program {
                true => Finding::limited(
                    Subject::VhostVsock,
                    format!("{told}; {DEVICE_PROGRAM} stands in for it"),
                ),
                false => Finding::missing(Subject::VhostVsock, told),
            };
            finding.mended_by(match error.kind() {
                io::ErrorKind::NotFound => Some(as_root("modprobe vhost_vsock")),
                io::ErrorKind::PermissionDenied => Some(remedy_for_rights(KERNEL_DEVICE)),
                _ => None,
            })
        }
    };
    let of_program = match program {
        Ok(version) => Finding::ok(Subject::VhostDeviceVsock, version),
        Err(told) => match has_kernel {
            true => Finding::limited(
                Subject::VhostDeviceVsock,
                format!("{told}; the kernel's device is enough"),
            ),
            false => Finding::missing(Subject::VhostDeviceVsock, told),
        }
        .mended_by(programs::remedy_for_device()),
    };
    [of_kernel, of_program]
}

fn open(device: &str) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(device);
    file.map(drop)
}

fn unopened(device: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {device}"),
        io::ErrorKind::PermissionDenied => match group_with_rights(device) {
            Some(group) => format!("{device} is for members of {group}, from their next login on"),
            None => format!("{device} is not for this user"),
        },
        _ => format!("{device} cannot be opened ({error})"),
    }
}

fn remedy_for_kvm(error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::NotFound => {}
        io::ErrorKind::PermissionDenied => return Some(remedy_for_rights(KVM)),
        _ => return None,
    }
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    module_for(&processor).map(|module| as_root(&format!("modprobe {module}")))
}

/// KVM's module for a processor, as its `/proc/cpuinfo` tells; none where it cannot do that, or needs no module.
fn module_for(processor: &str) -> Option<&'static str> {
    let flags = processor.lines().find(|line| line.starts_with("flags"))?;
    flags.split_whitespace().find_map(|flag| match flag {
        "vmx" => Some("kvm_intel"),
        "svm" => Some("kvm_amd"),
        _ => None,
    })
}

/// What lets this user open a device that is there.
fn remedy_for_rights(device: &str) -> String {
    as_root(&match group_with_rights(device) {
        Some(group) => format!("usermod -aG {group} $USER"),
        None => format!("chmod 666 {device}"),
    })
}

/// The group whose members may open a device, where that is not root's alone.
fn group_with_rights(device: &str) -> Option<String> {
    let metadata = Path::new(device).metadata().ok()?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    match (metadata.gid(), metadata.mode() & 0o060) {
        (gid @ 1.., 0o060) => group_of(&groups, gid).map(str::to_owned),
        _ => None,
    }
}

fn group_of(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_follows_the_processors_flags() {
        let of = |flags: &str| module_for(&format!("processor\t: 0\nflags\t\t: fpu {flags} x\n"));
        assert_eq!(of("vmx"), Some("kvm_intel"));
        assert_eq!(of("svm"), Some("kvm_amd"));
        assert_eq!(of("hypervisor"), None);
        assert_eq!(module_for("Features : fp asimd\n"), None);
    }

    #[test]
    fn group_is_found_by_its_number() {
        let groups = "root:x:0:\nkvm:x:104:me,you\nbroken\n";
        assert_eq!(group_of(groups, 104), Some("kvm"));
        assert_eq!(group_of(groups, 5), None);
    }
}
