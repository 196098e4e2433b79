//! Why a VM cannot be started, found or ended: one sentence each, with what to do.

use super::machine::Machine;
use crate::arch::Arch;
use crate::channel::ChannelError;
use crate::image::ImageError;
use crate::places::NoPlace;
use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a VM cannot be started, found or ended.
#[derive(Debug)]
pub enum VmError {
    /// There is no folder for what is known of VMs.
    NoPlace(NoPlace),
    /// This machine has no `/proc`, by which a VM's processes and this boot of the machine are known.
    NoProc,
    /// What is known of VMs cannot be read or written.
    State {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others have been giving out names, or ending VMs, for too long.
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// What is known of a VM makes no sense.
    BrokenRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A path cannot be put down in a record.
    NotUtf8 {
        /// The image folder, or a socket in the state folder.
        path: PathBuf,
    },
    /// A VM of that name lives.
    NameTaken {
        /// The name.
        name: String,
    },
    /// No VM of that name is known.
    NoSuchVm {
        /// The name.
        name: String,
    },
    /// The VM is known, but does not run.
    NotRunning {
        /// The name.
        name: String,
        /// What it booted.
        image: PathBuf,
        /// The disk that it had besides.
        disk: Option<PathBuf>,
    },
    /// The VM runs, and is not to be ended.
    StillRunning {
        /// The name.
        name: String,
    },
    /// The VM has no such log.
    NoLog {
        /// The name.
        name: String,
        /// Which one, as the option names it.
        kind: &'static str,
    },
    /// Somebody is starting the VM.
    StillStarting {
        /// The name.
        name: String,
        /// The process that starts it.
        pid: i32,
    },
    /// The machine is another architecture's.
    WrongMachine {
        /// The machine.
        machine: Machine,
        /// The image's architecture.
        arch: Arch,
    },
    /// The pool of CIDs cannot be used.
    CidPool {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Every CID is taken.
    NoCidLeft,
    /// Somebody else on this host has the CID; others were tried.
    CidTaken {
        /// The CID.
        cid: u32,
    },
    /// A Unix socket's path has at most 107 bytes.
    SocketPathTooLong {
        /// The path that would be needed.
        path: PathBuf,
    },
    /// The image cannot be used.
    Image(ImageError),
    /// What should be the root's disk is none.
    UnsuitableDisk {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        reason: String,
    },
    /// The image cannot lead to a disk.
    NoDiskDriver {
        /// The image folder.
        image: PathBuf,
    },
    /// The disk cannot be copied for the VM.
    DiskCopy {
        /// The disk.
        from: PathBuf,
        /// The VM's own.
        to: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is a key for ssh, and nobody in the image who would read it.
    NoSshServer {
        /// The image folder.
        image: PathBuf,
    },
    /// The kernel would cut its command line.
    CommandLineTooLong {
        /// How long it would be.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A port of this machine cannot be led to the guest.
    HostPort {
        /// The port.
        port: NonZeroU16,
        /// Why not.
        source: io::Error,
    },
    /// QEMU is not installed.
    QemuMissing {
        /// The program.
        program: String,
        /// The guest's architecture.
        arch: Arch,
    },
    /// There is neither `/dev/vhost-vsock` nor `vhost-device-vsock`.
    DeviceMissing,
    /// `/dev/vhost-vsock` was asked for and cannot be opened.
    KernelDevice {
        /// Why not.
        source: io::Error,
    },
    /// `vhost-device-vsock` was asked for and is not there.
    DeviceProgramMissing,
    /// A program cannot be started.
    Spawn {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended while the VM was starting.
    Died {
        /// The program.
        program: String,
        /// The last lines that it and the guest's console said.
        last_lines: String,
    },
    /// The agent did not answer in time.
    NotReady {
        /// How long was waited.
        limit: Duration,
        /// The last lines that QEMU and the guest's console said.
        last_lines: String,
    },
    /// KVM was demanded and cannot be used.
    Kvm {
        /// Why not.
        reason: String,
    },
    /// What answers in the guest is no agent that can be used.
    Agent(ChannelError),
    /// A process did not end.
    WouldNotEnd {
        /// Its id.
        pid: i32,
    },
    /// The caller gave up.
    Cancelled,
}

impl fmt::Display for VmError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace(error) => error.fmt(formatter),
            Self::NoProc => formatter.write_str(
                "there is no whole /proc here, and a VM's processes are known by it; mount it (mount -t proc \
                 proc /proc) and try again",
            ),
            Self::State { path, .. } => {
                write!(formatter, "cannot keep track of VMs in {}", path.display())
            }
            Self::Locked { path, limit } => write!(
                formatter,
                "another process has held {} for {} s; try again once it is done, or end it",
                path.display(),
                limit.as_secs_f64()
            ),
            Self::BrokenRecord { path, reason } => write!(
                formatter,
                "{} is broken ({reason}); remove its folder once the VM's processes are gone",
                path.display()
            ),
            Self::NotUtf8 { path } => write!(
                formatter,
                "{} is not UTF-8, which a VM's record has to be; move the image, or set \
                 SMOLVM_STATE_DIR to another folder",
                path.display()
            ),
            Self::NameTaken { name } => write!(
                formatter,
                "a VM named {name} runs already; choose another --name, or end it with smolctl vm \
                 stop {name}"
            ),
            Self::NoSuchVm { name } => write!(
                formatter,
                "there is no VM named {name}; smolctl vm list shows those there are"
            ),
            Self::NotRunning { name, image, disk } => {
                write!(
                    formatter,
                    "the VM {name} has stopped; start it anew with smolctl vm start --name \
                     {name} --image {}",
                    shell_word(image)
                )?;
                match disk {
                    Some(disk) => write!(formatter, " --disk {}", shell_word(disk)),
                    None => Ok(()),
                }
            }
            Self::StillRunning { name } => write!(
                formatter,
                "the VM {name} runs; end it first with smolctl vm stop {name}, or give --force"
            ),
            Self::NoLog { name, kind } => write!(
                formatter,
                "the VM {name} has no {kind} log; another may say more: --of console, qemu or device"
            ),
            Self::StillStarting { name, pid } => write!(
                formatter,
                "the VM {name} is still being started by process {pid}; wait, or interrupt that one"
            ),
            Self::WrongMachine { machine, arch } => write!(
                formatter,
                "the machine {machine} is one of {}, and the image is for {arch}; leave --machine out, or take {}",
                machine.arch(),
                Machine::usual(*arch)
            ),
            Self::CidPool { path, .. } => write!(
                formatter,
                "cannot give out CIDs by {}; have its owner remove it, or set SMOLVM_CID_POOL to another file",
                path.display()
            ),
            Self::NoCidLeft => formatter.write_str("every CID is taken; stop a VM first"),
            Self::CidTaken { cid } => write!(
                formatter,
                "other VMs on this host have every CID that was tried, {cid} the last; stop one first"
            ),
            Self::SocketPathTooLong { path } => write!(
                formatter,
                "the socket {} has a longer path than the 107 bytes allowed; set SMOLVM_STATE_DIR \
                 to a shorter folder",
                path.display()
            ),
            Self::Image(error) => error.fmt(formatter),
            Self::UnsuitableDisk { path, reason } => write!(
                formatter,
                "{} cannot be the root's disk, because it {reason}; smolctl image inject -o NAME.ext4 \
                 makes one",
                path.display()
            ),
            Self::NoDiskDriver { image } => write!(
                formatter,
                "the image {} has no driver for a disk; build one with smolctl image build --variant \
                 disk, which has",
                image.display()
            ),
            Self::DiskCopy { from, to, .. } => write!(
                formatter,
                "cannot copy the disk {} to {}",
                from.display(),
                to.display()
            ),
            Self::NoSshServer { image } => write!(
                formatter,
                "the image {} has no ssh server that would read a key; leave --ssh-key out, or build one \
                 with smolctl image build --variant ssh",
                image.display()
            ),
            Self::CommandLineTooLong { bytes, limit } => write!(
                formatter,
                "the kernel's command line would have {bytes} bytes, and a kernel reads {limit}; shorten \
                 --kernel-append, or take a shorter --ssh-key"
            ),
            Self::HostPort { port, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    formatter,
                    "port {port} of this machine is taken; choose another HOSTPORT for --forward"
                ),
                _ => write!(
                    formatter,
                    "port {port} of this machine cannot be had ({source}); choose another HOSTPORT for \
                     --forward, from 1024 on"
                ),
            },
            Self::QemuMissing { program, arch } => write!(
                formatter,
                "{program} is not installed; scripts/vm-tools.sh --arch {arch} installs it"
            ),
            Self::DeviceMissing => formatter.write_str(
                "this host has neither a usable /dev/vhost-vsock nor vhost-device-vsock; \
                 scripts/vm-tools.sh brings the latter",
            ),
            Self::KernelDevice { .. } => formatter.write_str(
                "cannot open /dev/vhost-vsock; load the module vhost_vsock, or take --vsock vhost-user",
            ),
            Self::DeviceProgramMissing => formatter
                .write_str("vhost-device-vsock is not installed; scripts/vm-tools.sh brings it"),
            Self::Spawn { program, .. } => write!(formatter, "cannot start {program}"),
            Self::Died {
                program,
                last_lines,
            } => write!(
                formatter,
                "{program} ended while the VM was starting{}",
                match last_lines.as_str() {
                    "" => " without a word; a kernel with too little --memory does so",
                    lines => lines,
                }
            ),
            Self::NotReady { limit, last_lines } => write!(
                formatter,
                "the agent in the VM did not answer within {} s{last_lines}",
                limit.as_secs_f64()
            ),
            Self::Kvm { reason } => {
                write!(formatter, "KVM cannot be used: {reason}; try --tcg")
            }
            Self::Agent(error) => error.fmt(formatter),
            Self::WouldNotEnd { pid } => write!(
                formatter,
                "process {pid} could not be ended; the VM is kept in the list"
            ),
            Self::Cancelled => formatter.write_str("interrupted"),
        }
    }
}

impl std::error::Error for VmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::State { source, .. }
            | Self::CidPool { source, .. }
            | Self::DiskCopy { source, .. }
            | Self::Spawn { source, .. }
            | Self::KernelDevice { source } => Some(source),
            Self::Image(error) => error.source(),
            Self::Agent(error) => error.source(),
            _ => None,
        }
    }
}

/// A path as one word of a shell's command line.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl From<NoPlace> for VmError {
    fn from(error: NoPlace) -> Self {
        Self::NoPlace(error)
    }
}

impl From<ImageError> for VmError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Cancelled => Self::Cancelled,
            error => Self::Image(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_quoted_for_a_shell_where_it_has_to_be() {
        for (path, word) in [
            ("/images/x86_64-6.12", "/images/x86_64-6.12"),
            ("/my images/a", "'/my images/a'"),
            ("/it's/$a", r"'/it'\''s/$a'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
