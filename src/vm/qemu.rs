//! QEMU's program and arguments for one VM.
//!
//! Owns every flag that is passed, as a function of a [`QemuSpec`] alone: it looks at nothing and
//! starts nothing. Every device is named; QEMU's defaults are switched off.

use super::accelerator::Accelerator;
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
    /// The guest's architecture.
    pub arch: Arch,
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
    /// What provides the vsock device.
    pub vsock: VsockBackend,
    /// The file that the serial console is written to.
    pub console: PathBuf,
}

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
        arguments.pair("-machine", self.machine());
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
            arguments.pair("-device", "virtio-blk-pci,drive=root");
        }
        if let Some(backend) = self.network.backend() {
            arguments.pair("-netdev", backend);
            // Nobody boots from it, and the file for that is not always installed.
            arguments.pair("-device", "virtio-net-pci,netdev=network,romfile=");
        }
        arguments.pair("-kernel", &self.kernel);
        if let Some(initramfs) = &self.initramfs {
            arguments.pair("-initrd", initramfs);
        }
        arguments.pair("-append", &self.cmdline);
        arguments.list
    }

    fn machine(&self) -> String {
        let machine = match self.arch {
            Arch::X86_64 => "q35",
            Arch::Aarch64 => "virt,gic-version=3",
        };
        match self.vsock {
            VsockBackend::Kernel(_) => machine.to_owned(),
            VsockBackend::VhostUser(_) => format!("{machine},memory-backend=memory"),
        }
    }

    /// Without `rdrand`, an emulated x86_64 guest has no entropy until somebody asks, and then takes a
    /// second or more. `max` boots no faster, and on ARM at half the speed.
    fn cpu(&self) -> &'static str {
        match (self.accelerator, self.arch) {
            (Accelerator::Kvm, _) => "host",
            (Accelerator::Tcg, Arch::Aarch64) => "cortex-a57",
            (Accelerator::Tcg, Arch::X86_64) => "qemu64,+rdrand",
        }
    }

    fn push_vsock(&self, arguments: &mut Arguments) {
        match &self.vsock {
            VsockBackend::Kernel(cid) => {
                let device = format!("vhost-vsock-pci,guest-cid={}", cid.number());
                arguments.pair("-device", device);
            }
            // The device's process reads and writes the guest's memory, so it has to be shared.
            VsockBackend::VhostUser(socket) => {
                let memory = format!(
                    "memory-backend-memfd,id=memory,size={}M,share=on",
                    self.memory_mib
                );
                arguments.pair("-object", memory);
                arguments.pair("-chardev", with_path("socket,id=vsock,path=", socket));
                arguments.pair("-device", "vhost-user-vsock-pci,chardev=vsock");
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

    fn spec() -> QemuSpec {
        QemuSpec {
            name: "a".to_owned(),
            arch: Arch::X86_64,
            accelerator: Accelerator::Tcg,
            memory_mib: 256,
            cpus: 1,
            kernel: "/i/vmlinuz".into(),
            initramfs: Some("/i/initramfs.cpio.gz".into()),
            root_disk: None,
            network: Network::None,
            cmdline: "console=ttyS0 quiet".to_owned(),
            vsock: VsockBackend::VhostUser("/s,t/device.sock".into()),
            console: "/s,t/console.log".into(),
        }
    }

    fn line(spec: &QemuSpec) -> String {
        let words = spec.arguments();
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn emulated_x86_64_with_vhost_user_vsock() {
        assert_eq!(
            line(&spec()),
            "-name smolvm-a -machine q35,memory-backend=memory -accel tcg,thread=multi \
             -cpu qemu64,+rdrand -smp 1 -m 256M -nodefaults -no-user-config -no-reboot -display none \
             -chardev file,id=console,path=/s,,t/console.log -serial chardev:console \
             -object memory-backend-memfd,id=memory,size=256M,share=on \
             -chardev socket,id=vsock,path=/s,,t/device.sock \
             -device vhost-user-vsock-pci,chardev=vsock \
             -kernel /i/vmlinuz -initrd /i/initramfs.cpio.gz -append console=ttyS0 quiet"
        );
    }

    #[test]
    fn emulated_aarch64_with_vhost_user_vsock() {
        let spec = QemuSpec {
            arch: Arch::Aarch64,
            cmdline: "console=ttyAMA0".to_owned(),
            ..spec()
        };
        assert_eq!(
            line(&spec),
            "-name smolvm-a -machine virt,gic-version=3,memory-backend=memory \
             -accel tcg,thread=multi -cpu cortex-a57 -smp 1 \
             -m 256M -nodefaults -no-user-config -no-reboot -display none \
             -chardev file,id=console,path=/s,,t/console.log -serial chardev:console \
             -object memory-backend-memfd,id=memory,size=256M,share=on \
             -chardev socket,id=vsock,path=/s,,t/device.sock \
             -device vhost-user-vsock-pci,chardev=vsock \
             -kernel /i/vmlinuz -initrd /i/initramfs.cpio.gz -append console=ttyAMA0"
        );
    }

    #[test]
    fn disk_and_network_are_named_and_an_initramfs_only_where_there_is_one() {
        let spec = QemuSpec {
            initramfs: None,
            root_disk: Some("/s,t/root.ext4".into()),
            network: Network::User(vec!["2222:22".parse().unwrap()]),
            ..spec()
        };
        let line = line(&spec);
        assert!(line.contains(
            " -drive if=none,id=root,format=raw,file=/s,,t/root.ext4 -device virtio-blk-pci,drive=root \
             -netdev user,id=network,net=172.16.0.0/24,host=172.16.0.1,dns=172.16.0.3,ipv6=off,\
             hostfwd=tcp:127.0.0.1:2222-172.16.0.2:22 \
             -device virtio-net-pci,netdev=network,romfile= -kernel /i/vmlinuz -append "
        ));
    }

    #[test]
    fn x86_64_with_kvm_and_the_kernels_vsock() {
        let spec = QemuSpec {
            accelerator: Accelerator::Kvm,
            cpus: 4,
            memory_mib: 1024,
            vsock: VsockBackend::Kernel(GuestCid::FIRST),
            ..spec()
        };
        assert_eq!(
            line(&spec),
            "-name smolvm-a -machine q35 -accel kvm -cpu host -smp 4 \
             -m 1024M -nodefaults -no-user-config -no-reboot -display none \
             -chardev file,id=console,path=/s,,t/console.log -serial chardev:console \
             -device vhost-vsock-pci,guest-cid=3 \
             -kernel /i/vmlinuz -initrd /i/initramfs.cpio.gz -append console=ttyS0 quiet"
        );
    }

    #[test]
    fn aarch64_with_kvm_and_the_kernels_vsock() {
        let spec = QemuSpec {
            arch: Arch::Aarch64,
            accelerator: Accelerator::Kvm,
            vsock: VsockBackend::Kernel(GuestCid::FIRST),
            ..spec()
        };
        assert!(line(&spec).starts_with(
            "-name smolvm-a -machine virt,gic-version=3 -accel kvm -cpu host -smp 1 -m 256M "
        ));
    }
}
