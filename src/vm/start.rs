//! Starting a VM: from an image to an agent that answers.
//!
//! Owns the order of the steps. Either the VM runs and is
//! registered at the end, or nothing of it is left: no process, no socket, no directory.

use super::accelerator::{Acceleration, Accelerator};
use super::attempt::boot;
use super::boot::{BootPlan, find_qemu, log_path};
use super::cid_pool::{CidLease, CidPool};
use super::device::{DeviceChoice, DeviceProvider, DeviceSockets};
use super::process::ProcessId;
use super::qemu::{QemuSpec, VsockBackend};
use super::record::{Phase, RECORD_FORMAT, Status, VmRecord, VsockPath, boot_id};
use super::registry::{Registry, RegistryLock};
use super::{Machine, Network, VmError, cmdline, disk, stop, tsc};
use crate::cancel::Cancel;
use crate::channel::Pong;
use crate::deadline::Deadline;
use crate::image::{Image, Variant};
use crate::target::{GuestCid, VmName};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How many CIDs are tried where others on this host have taken the first.
const CID_TRIES: u32 = 64;

/// What somebody wants of a VM.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The image folder.
    pub image: PathBuf,
    /// A disk to boot a copy of, in place of the root that the image has: an ext4 file system.
    pub disk: Option<PathBuf>,
    /// The VM's name; `None` takes the next free `vmN`.
    pub name: Option<VmName>,
    /// The machine; `None` takes its architecture's usual one.
    pub machine: Option<Machine>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of CPUs.
    pub cpus: u32,
    /// KVM, emulation, or whichever works.
    pub acceleration: Acceleration,
    /// The network.
    pub network: Network,
    /// What provides the vsock device.
    pub device: DeviceChoice,
    /// A public key, as its file's one line, that may log in as root by ssh.
    pub authorized_key: Option<String>,
    /// Words to add to the kernel's command line.
    pub kernel_append: Option<String>,
    /// How long the agent may take to answer, from QEMU's first start, whatever is tried meanwhile.
    pub ready_limit: Duration,
}

impl StartOptions {
    fn machine_for(&self, image: &Image) -> Machine {
        self.machine
            .unwrap_or_else(|| Machine::usual(image.manifest.arch))
    }

    fn checked_machine_for(&self, image: &Image) -> Result<Machine, VmError> {
        let (machine, arch) = (self.machine_for(image), image.manifest.arch);
        match machine.arch() == arch {
            true => Ok(machine),
            false => Err(VmError::WrongMachine { machine, arch }),
        }
    }
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A boot with this accelerator begins, because of this.
    Booting(Accelerator, String),
    /// KVM did not start the kernel.
    KvmFailed(String),
}

/// A VM that runs.
#[derive(Clone, Debug)]
pub struct Started {
    /// What is known of it.
    pub record: VmRecord,
    /// What its agent answered.
    pub pong: Pong,
}

/// Starts a VM and waits until its agent answers.
///
/// # Errors
/// [`VmError`]; nothing of the VM is left then.
pub fn start(
    registry: &Registry,
    options: &StartOptions,
    cancel: &Cancel,
    report: &mut dyn FnMut(Progress),
) -> Result<Started, VmError> {
    let image = Image::open(&options.image)?;
    let machine = options.checked_machine_for(&image)?;
    let cmdline = cmdline::of(&image, options)?;
    let disk = options.disk.as_deref().map(|disk| disk::find(disk, &image));
    let disk = disk.transpose()?;
    let qemu = find_qemu(image.manifest.arch)?;
    let provider = DeviceProvider::find(options.device)?;
    let mut cids = Cids::new(&provider)?;
    let (record, lease) = register(
        registry, options, &image, disk, &provider, &mut cids, cancel,
    )?;
    let mut vm = Unfinished {
        registry,
        record,
        kept: false,
    };
    options.network.check_ports()?;
    let dir = registry.dir(&vm.record.name);
    let device = match provider {
        DeviceProvider::Kernel => None,
        DeviceProvider::Program(program) => Some((program, DeviceSockets::in_dir(&dir)?)),
    };
    let mut plan = BootPlan {
        registry,
        init_is_ours: options.disk.is_none()
            && image.manifest.variant.parse::<Variant>().is_ok()
            && !names_an_init(options.kernel_append.as_deref().unwrap_or_default()),
        root_disk: vm.record.disk.clone().or_else(|| image.root_disk()),
        qemu,
        device,
        lease,
        tsc_khz: (machine == Machine::Microvm).then(tsc::khz).flatten(),
        ready_limit: options.ready_limit,
        deadline: Deadline::after(options.ready_limit),
        cancel,
        dir,
    };
    let mut tries = 1;
    let pong = loop {
        let spec = spec_of(options, &image, &plan, &cmdline, &vm.record.name);
        match boot(
            &plan,
            spec,
            options.acceleration,
            &image,
            &mut vm.record,
            report,
        ) {
            Err(VmError::CidTaken { cid }) if tries < CID_TRIES => cids.pass_over(cid),
            outcome => break outcome?,
        }
        tries += 1;
        plan.lease = cids.lease()?;
        vm.record.cid = plan.lease.cid().number();
        registry.save(&vm.record)?;
    };
    vm.kept = true;
    Ok(Started {
        record: vm.record.clone(),
        pong,
    })
}

/// The pool of CIDs, and those that a VM must not have though the pool would give them out: programs that are
/// not ours know nothing of it.
struct Cids {
    pool: CidPool,
    passed_over: BTreeSet<u32>,
}

impl Cids {
    fn new(provider: &DeviceProvider) -> Result<Self, VmError> {
        let own = provider.own_cid().map(GuestCid::number);
        Ok(Self {
            pool: CidPool::host()?,
            passed_over: own.into_iter().collect(),
        })
    }

    fn pass_over(&mut self, cid: u32) {
        self.passed_over.insert(cid);
    }

    fn lease(&self) -> Result<CidLease, VmError> {
        self.pool
            .allocate_except(|cid| self.passed_over.contains(&cid.number()))
    }
}

/// A registered VM that goes again unless it is kept.
struct Unfinished<'start> {
    registry: &'start Registry,
    record: VmRecord,
    kept: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody could be told; the next start or stop of that name tries again.
            let _ = self.registry.lock_on_the_way_out().and_then(|lock| {
                lock.remove(&self.record.name, |now| now.is_of_start(&self.record))
            });
        }
    }
}

/// Gives out name and CID and makes the VM's directory. A stopped VM of that name makes room.
fn register(
    registry: &Registry,
    options: &StartOptions,
    image: &Image,
    disk: Option<PathBuf>,
    provider: &DeviceProvider,
    cids: &mut Cids,
    cancel: &Cancel,
) -> Result<(VmRecord, CidLease), VmError> {
    let lock = registry.lock(cancel)?;
    stop::reclaim(&lock, registry)?;
    let name = match &options.name {
        Some(name) => {
            make_room(&lock, registry, name)?;
            name.to_string()
        }
        None => lock.free_name()?,
    };
    let vsock = match provider {
        DeviceProvider::Kernel => VsockPath::Cid,
        DeviceProvider::Program(_) => {
            VsockPath::Socket(DeviceSockets::in_dir(&registry.dir(&name))?.guest)
        }
    };
    cids.passed_over.extend(lock.cids_in_use()?);
    let lease = cids.lease()?;
    let starter = ProcessId::of_this_process().ok_or(VmError::NoProc)?;
    let record = VmRecord {
        format: RECORD_FORMAT,
        name,
        phase: Phase::Starting,
        arch: image.manifest.arch,
        machine: Some(options.machine_for(image)),
        image: image.folder.clone(),
        disk,
        accelerator: None,
        cid: lease.cid().number(),
        vsock,
        ssh_port: options.network.ssh_port(),
        boot_id: boot_id(),
        starter,
        qemu: None,
        device: None,
    };
    lock.create(&record)?;
    Ok((record, lease))
}

fn make_room(lock: &RegistryLock<'_>, registry: &Registry, name: &VmName) -> Result<(), VmError> {
    match registry.get(name) {
        Ok(record)
            if record.status() == Status::Stopped || registry.has_failed_to_start(&record) =>
        {
            stop::clear(lock, &record)
        }
        Ok(record) => Err(VmError::NameTaken { name: record.name }),
        Err(VmError::NoSuchVm { .. }) => lock.remove(name.as_str(), |_| true),
        Err(error) => Err(error),
    }
}

fn spec_of(
    options: &StartOptions,
    image: &Image,
    plan: &BootPlan<'_>,
    cmdline: &str,
    name: &str,
) -> QemuSpec {
    QemuSpec {
        name: name.to_owned(),
        machine: options.machine_for(image),
        accelerator: Accelerator::Tcg,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        kernel: image.kernel(),
        initramfs: image.initramfs(),
        root_disk: plan.own_disk(),
        network: options.network.clone(),
        cmdline: cmdline.to_owned(),
        tsc_khz: plan.tsc_khz,
        vsock: match &plan.device {
            None => VsockBackend::Kernel(plan.lease.cid()),
            Some((_, sockets)) => VsockBackend::VhostUser(sockets.vhost_user.clone()),
        },
        console: log_path(&plan.dir, "console"),
    }
}

/// Whether words for the kernel say which program is process 1 (kernel-parameters.txt).
fn names_an_init(words: &str) -> bool {
    words
        .split_whitespace()
        .any(|word| word.starts_with("init=") || word.starts_with("rdinit="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_an_init_are_told_from_others() {
        for words in [
            "init=/bin/sh",
            "quiet rdinit=/x",
            "root=/dev/vda init=/init rw",
        ] {
            assert!(names_an_init(words), "{words}");
        }
        for words in ["", "quiet", "xinit=/a", "noinit", "smolvm.init=/a"] {
            assert!(!names_an_init(words), "{words}");
        }
    }
}
