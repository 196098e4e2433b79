//! QEMU's program and arguments for one VM.
//!
//! Owns every flag that is passed, as a function of a [`QemuSpec`] alone: it looks at nothing and
//! starts nothing. Every device is named; QEMU's defaults are switched off.

use super::accelerator::Accelerator;
use super::machine::Machine;
use super::network::Network;
use crate::arch::Arch;
use crate::target::GuestCid;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What provides the guest's vsock device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VsockBackend {
    /// The host's kernel, through `/dev/vhost-vsock`.
    Kernel(GuestCid),
    /// A process that listens on this vhost-user socket.
    VhostUser(PathBuf),
}

/// One VM as QEMU should make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuSpec {
    /// The VM's name.
    pub name: String,
    /// The machine, and with it the guest's architecture.
    pub machine: Machine,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of CPUs.
    pub cpus: u32,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs's file, where there is one.
    pub initramfs: Option<PathBuf>,
    /// The file of the disk that the root is on, where it is on one.
    pub root_disk: Option<PathBuf>,
    /// The network.
    pub network: Network,
    /// The kernel's command line.
    pub cmdline: String,
    /// How fast this host's time stamp counter counts, where that is known ([`TSC_WORD`]).
    pub tsc_khz: Option<u32>,
    /// What provides the vsock device.
    pub vsock: VsockBackend,
    /// The file that the serial console is written to.
    pub console: PathBuf,
}

/// A microvm has no timer by which a kernel could find out how fast the time stamp counter counts, which it needs
/// for ticks: by what is left it finds out or not, as luck has it, and hangs without a word where it has not.
/// KVM tells its guests, an emulated one is told by this word.
const TSC_WORD: &str = "tsc_early_khz=";
/// The most that a machine adds to a kernel's command line, in bytes: the word, ten digits, a space.
pub(super) const MAX_ADDED_BYTES: usize = TSC_WORD.len() + 10 + 1;

/// The program that emulates an architecture.
#[must_use]
pub fn program(arch: Arch) -> String {
    format!("qemu-system-{arch}")
}

impl QemuSpec {
    /// The arguments, without the program.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.pair("-name", format!("smolvm-{}", self.name));
        arguments.pair("-machine", self.machine_options());
        if self.machine == Machine::Microvm {
            // Else a device shows the interface from before virtio 1, which vsock does not have.
            arguments.pair("-global", "virtio-mmio.force-legacy=false");
        }
        arguments.pair(
            "-accel",
            match self.accelerator {
                Accelerator::Kvm => "kvm",
                Accelerator::Tcg => "tcg,thread=multi",
            },
        );
        arguments.pair("-cpu", self.cpu());
        arguments.pair("-smp", self.cpus.to_string());
        arguments.pair("-m", format!("{}M", self.memory_mib));
        arguments.flag("-nodefaults");
        arguments.flag("-no-user-config");
        arguments.flag("-no-reboot");
        arguments.pair("-display", "none");
        arguments.pair(
            "-chardev",
            with_path("file,id=console,path=", &self.console),
        );
        arguments.pair("-serial", "chardev:console");
        self.push_vsock(&mut arguments);
        if let Some(disk) = &self.root_disk {
            let drive = with_path("if=none,id=root,format=raw,file=", disk);
            arguments.pair("-drive", drive);
            arguments.pair("-device", self.device("virtio-blk", "drive=root"));
        }
        if let Some(backend) = self.network.backend() {
            arguments.pair("-netdev", backend);
            let options = match self.machine {
                Machine::Microvm => "netdev=network",
                // Nobody boots from it, and the file for that is not always installed.
                Machine::Q35 | Machine::Virt => "netdev=network,romfile=",
            };
            arguments.pair("-device", self.device("virtio-net", options));
        }
        arguments.pair("-kernel", &self.kernel);
        if let Some(initramfs) = &self.initramfs {
            arguments.pair("-initrd", initramfs);
        }
        arguments.pair("-append", self.whole_cmdline());
        arguments.list
    }

    /// A caller's own words come last, and so win.
    fn whole_cmdline(&self) -> String {
        match (self.machine, self.accelerator, self.tsc_khz) {
            (Machine::Microvm, Accelerator::Tcg, Some(khz)) => {
                format!("{TSC_WORD}{khz} {}", self.cmdline)
            }
            _ => self.cmdline.clone(),
        }
    }

    fn device(&self, kind: &str, options: &str) -> String {
        format!("{kind}-{},{options}", self.machine.bus())
    }

    fn machine_options(&self) -> String {
        let machine = match self.machine {
            Machine::Q35 => "q35",
            // By ACPI the kernel finds the devices and can power off. The other way, words on its command line,
            // reaches no driver that is a module.
            Machine::Microvm => "microvm,acpi=on",
            Machine::Virt => "virt,gic-version=3",
        };
        match self.vsock {
            VsockBackend::Kernel(_) => machine.to_owned(),
            VsockBackend::VhostUser(_) => format!("{machine},memory-backend=memory"),
        }
    }

    /// Without `rdrand`, an emulated x86_64 guest has no entropy until somebody asks, and then takes a
    /// second or more. `max` boots no faster, and on ARM at half the speed.
    fn cpu(&self) -> &'static str {
        match (self.accelerator, self.machine.arch()) {
            (Accelerator::Kvm, _) => "host",
            (Accelerator::Tcg, Arch::Aarch64) => "cortex-a57",
            // Before 8.0 QEMU's emulation leaves wrong flags behind CMPXCHG16B, which kernels use where there is one: an interrupt
            // right there ends the guest in a general protection fault.
            (Accelerator::Tcg, Arch::X86_64) => "qemu64,+rdrand,-cx16",
        }
    }

    fn push_vsock(&self, arguments: &mut Arguments) {
        match &self.vsock {
            VsockBackend::Kernel(cid) => {
                let cid = format!("guest-cid={}", cid.number());
                arguments.pair("-device", self.device("vhost-vsock", &cid));
            }
            // The device's process reads and writes the guest's memory, so it has to be shared.
            VsockBackend::VhostUser(socket) => {
                let memory = format!(
                    "memory-backend-memfd,id=memory,size={}M,share=on",
                    self.memory_mib
                );
                arguments.pair("-object", memory);
                arguments.pair("-chardev", with_path("socket,id=vsock,path=", socket));
                arguments.pair("-device", self.device("vhost-user-vsock", "chardev=vsock"));
            }
        }
    }
}

#[derive(Default)]
struct Arguments {
    list: Vec<OsString>,
}

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.list.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.flag(name);
        self.list.push(value.as_ref().to_owned());
    }
}

/// An option list that ends with a path; a comma in it is doubled, as QEMU wants.
fn with_path(options: &str, path: &Path) -> OsString {
    let mut bytes = options.as_bytes().to_vec();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below each heading are the arguments.
    const SNAPSHOTS: &str = include_str!("qemu/arguments.txt");

    fn spec(
        machine: Machine,
        accelerator: Accelerator,
        is_kernels: bool,
        has_all: bool,
    ) -> QemuSpec {
        let words = match machine {
            Machine::Virt => "console=ttyAMA0",
            Machine::Q35 | Machine::Microvm => "console=ttyS0 quiet",
        };
        QemuSpec {
            name: "a".to_owned(),
            machine,
            accelerator,
            memory_mib: if has_all { 1024 } else { 256 },
            cpus: if has_all { 4 } else { 1 },
            kernel: "/i/vmlinuz".into(),
            initramfs: (!has_all).then(|| "/i/initramfs.cpio.gz".into()),
            root_disk: has_all.then(|| "/s,t/root.ext4".into()),
            network: match has_all {
                true => Network::User(vec!["2222:22".parse().unwrap()]),
                false => Network::None,
            },
            cmdline: words.to_owned(),
            tsc_khz: Some(2_600_000),
            vsock: match is_kernels {
                true => VsockBackend::Kernel(GuestCid::FIRST),
                false => VsockBackend::VhostUser("/s,t/device.sock".into()),
            },
            console: "/s,t/console.log".into(),
        }
    }

    /// An option a line.
    fn told(spec: &QemuSpec) -> String {
        let words = spec.arguments();
        let words = words.iter().map(|word| word.to_str().unwrap());
        words.fold(String::new(), |told, word| match word.starts_with('-') {
            true => format!("{told}\n{word}"),
            false => format!("{told} {word}"),
        })
    }

    #[test]
    fn arguments_are_those_of_the_snapshots() {
        let mut told_of_each = Vec::new();
        for machine in [Machine::Q35, Machine::Microvm, Machine::Virt] {
            for is_kernels in [false, true] {
                for (accelerator, has_all) in [(Accelerator::Tcg, false), (Accelerator::Kvm, true)]
                {
                    let vsock = if is_kernels {
                        "the kernel's vsock"
                    } else {
                        "vhost-user vsock"
                    };
                    let more = if has_all { ", disk and network" } else { "" };
                    let told = told(&spec(machine, accelerator, is_kernels, has_all));
                    let heading = format!("# {machine} with {accelerator}, {vsock}{more}");
                    told_of_each.push(format!("{heading}{told}\n"));
                }
            }
        }
        let told = told_of_each.join("\n");
        assert!(told == SNAPSHOTS, "arguments.txt should be:\n{told}");
    }

    #[test]
    fn emulated_microvm_where_the_counters_speed_is_unknown_gets_no_word_of_it() {
        let mut spec = spec(Machine::Microvm, Accelerator::Tcg, false, false);
        spec.tsc_khz = None;
        assert!(told(&spec).ends_with("\n-append console=ttyS0 quiet"));
        spec.tsc_khz = Some(u32::MAX);
        let added = spec.whole_cmdline().len() - spec.cmdline.len();
        assert_eq!(added, MAX_ADDED_BYTES);
    }
}
