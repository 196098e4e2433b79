//! One try at booting a VM: device, QEMU, and the wait until the agent answers.
//!
//! Owns the children until the VM is handed over: dropped before that, it ends them. Nothing is said
//! to the vsock device before the guest's console tells that the agent listens: a connection
//! that falls into the moment in which the guest's driver comes up can wedge vhost-device-vsock for
//! good.

use super::VmError;
use super::accelerator::Accelerator;
use super::cid_pool::CidLease;
use super::console::{Console, end_of, last_lines};
use super::detached::{self, Detached};
use super::device::{DEVICE_PROGRAM, DeviceSockets};
use super::network::refused_port;
use super::qemu::{self, QemuSpec};
use super::record::VmRecord;
use super::registry::Registry;
use crate::cancel::Cancel;
use crate::channel::{Channel, ChannelError, Pong};
use crate::deadline::Deadline;
use crate::transport::pause;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often files and processes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the device may take to listen.
const DEVICE_LIMIT: Duration = Duration::from_secs(10);
/// How long a kernel may take under KVM to say its first word, at most half of all the time there is.
const KVM_FIRST_WORD_LIMIT: Duration = Duration::from_secs(10);
/// After so much silence on a console that has said something, the agent is asked even though nothing
/// told that it was started: another `/init` may not say so, or the kernel may have talked in between.
const UNMARKED_SILENCE: Duration = Duration::from_secs(5);
/// After so long it is asked whatever the console does, where process 1 may be another than ours. It may never
/// fall silent: systemd shows what it waits for several times a second, for as long as it waits. It may never
/// say anything: a quiet kernel, and an `/init` that sends the agent's words elsewhere.
const UNMARKED_LIMIT: Duration = Duration::from_secs(10);
/// What QEMU says where the host's kernel has given the CID to another VM.
const CID_TAKEN: &str = "unable to set guest cid";
/// How long the agent is asked before QEMU is looked at again.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The name of a VM's own disk in its directory.
const ROOT_DISK_NAME: &str = "root.ext4";

/// What does not change from one try to the next.
pub(super) struct BootPlan<'start> {
    pub(super) registry: &'start Registry,
    pub(super) dir: PathBuf,
    /// Whether process 1 is ours for certain, which always tells on the console that the agent listens.
    pub(super) init_is_ours: bool,
    /// The disk that is copied for the VM, where its root is on one.
    pub(super) root_disk: Option<PathBuf>,
    pub(super) qemu: PathBuf,
    pub(super) device: Option<(PathBuf, DeviceSockets)>,
    /// The VM's CID.
    pub(super) lease: CidLease,
    /// How fast this host's time stamp counter counts, where that matters.
    pub(super) tsc_khz: Option<u32>,
    pub(super) ready_limit: Duration,
    /// By when the agent has to answer.
    pub(super) deadline: Deadline,
    pub(super) cancel: &'start Cancel,
}

impl BootPlan<'_> {
    /// The VM's own copy.
    pub(super) fn own_disk(&self) -> Option<PathBuf> {
        self.root_disk.as_ref()?;
        Some(self.dir.join(ROOT_DISK_NAME))
    }

    fn kvm_first_word_limit(&self) -> Duration {
        KVM_FIRST_WORD_LIMIT.min(self.ready_limit / 2)
    }

    /// Whether silence under KVM says something about KVM, and not about the time limit.
    pub(super) fn is_patient_with_kvm(&self) -> bool {
        self.kvm_first_word_limit() == KVM_FIRST_WORD_LIMIT
    }
}

/// A VM on its way up.
pub(super) struct Boot<'start> {
    plan: &'start BootPlan<'start>,
    device: Option<Detached>,
    qemu: Option<Detached>,
    kept: bool,
}

impl<'start> Boot<'start> {
    pub(super) fn new(plan: &'start BootPlan<'start>) -> Self {
        Self {
            plan,
            device: None,
            qemu: None,
            kept: false,
        }
    }

    /// Boots and waits for the agent; `record` is kept up to date on the way.
    pub(super) fn run(&mut self, spec: &QemuSpec, record: &mut VmRecord) -> Result<Pong, VmError> {
        record.qemu = None;
        record.device = None;
        record.accelerator = Some(spec.accelerator);
        self.start_device(record)?;
        let qemu = detached::spawn(
            &self.plan.qemu,
            &spec.arguments(),
            &self.log("qemu"),
            &self.plan.lease,
        )?;
        record.qemu = Some(qemu.process);
        self.qemu = Some(qemu);
        self.plan.registry.save(record)?;
        let outcome = self
            .wait_for_console(spec.accelerator, record)
            .and_then(|()| self.wait_for_agent(record));
        outcome.map_err(|error| self.explain(error, spec.accelerator))
    }

    /// Leaves the processes running.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn start_device(&mut self, record: &mut VmRecord) -> Result<(), VmError> {
        let Some((program, sockets)) = &self.plan.device else {
            return Ok(());
        };
        for socket in [&sockets.vhost_user, &sockets.guest] {
            let _ = std::fs::remove_file(socket);
        }
        let arguments = sockets.arguments(self.plan.lease.cid());
        let device = detached::spawn(program, &arguments, &self.log("device"), &self.plan.lease)?;
        record.device = Some(device.process);
        self.device = Some(device);
        self.plan.registry.save(record)?;
        let deadline = Deadline::after(DEVICE_LIMIT);
        while !sockets.vhost_user.exists() {
            self.check_processes()?;
            if deadline.has_passed() {
                return Err(self.died(DEVICE_PROGRAM));
            }
            self.pause()?;
        }
        Ok(())
    }

    fn wait_for_console(
        &mut self,
        accelerator: Accelerator,
        record: &VmRecord,
    ) -> Result<(), VmError> {
        let mut asked = Instant::now();
        let mut console = Console::new(&self.log("console"));
        let first_word = Deadline::after(self.plan.kvm_first_word_limit());
        loop {
            console.look();
            if console.agent_has_listened() {
                return Ok(());
            }
            self.check_processes()?;
            let is_time = match console.is_silent_for(UNMARKED_SILENCE) {
                true => asked.elapsed() >= UNMARKED_SILENCE,
                false => !self.plan.init_is_ours && asked.elapsed() >= UNMARKED_LIMIT,
            };
            if is_time {
                let left = self.plan.deadline.remaining().unwrap_or(PING_LIMIT);
                if self.channel(record).ping(left.min(PING_LIMIT)).is_ok() {
                    return Ok(());
                }
                asked = Instant::now();
            }
            if accelerator == Accelerator::Kvm {
                self.check_kvm(&console, first_word)?;
            }
            if self.plan.deadline.has_passed() {
                return Err(self.not_ready());
            }
            self.pause()?;
        }
    }

    /// KVM that fails need not end QEMU: it pauses the guest, or the guest spins without a word.
    fn check_kvm(&self, console: &Console, first_word: Deadline) -> Result<(), VmError> {
        if end_of(&self.log("qemu")).contains("KVM internal error") {
            return Err(VmError::Kvm {
                reason: "QEMU reports a KVM internal error".to_owned(),
            });
        }
        if !console.has_begun() && first_word.has_passed() {
            let seconds = self.plan.kvm_first_word_limit().as_secs_f64();
            return Err(VmError::Kvm {
                reason: format!("the kernel said nothing for {seconds} s"),
            });
        }
        Ok(())
    }

    fn wait_for_agent(&mut self, record: &VmRecord) -> Result<Pong, VmError> {
        let deadline = self.plan.deadline;
        let channel = self.channel(record);
        loop {
            self.check_processes()?;
            let left = deadline.remaining().unwrap_or(PING_LIMIT);
            match channel.wait_ready(left.min(PING_LIMIT)) {
                Ok(pong) => return Ok(pong),
                Err(ChannelError::Cancelled) => return Err(VmError::Cancelled),
                Err(error @ ChannelError::NotAnAgent { .. }) => return Err(VmError::Agent(error)),
                Err(_) if deadline.has_passed() => return Err(self.not_ready()),
                Err(_) => self.pause()?,
            }
        }
    }

    fn channel(&self, record: &VmRecord) -> Channel {
        let address = record
            .address()
            .expect("the record was made with a guest's CID");
        Channel::with_cancel(address, self.plan.cancel.clone())
    }

    fn check_processes(&mut self) -> Result<(), VmError> {
        if self.device.as_mut().is_some_and(Detached::has_ended) {
            return Err(self.died(DEVICE_PROGRAM));
        }
        if self.qemu.as_mut().is_some_and(Detached::has_ended) {
            return Err(self.died("QEMU"));
        }
        Ok(())
    }

    fn pause(&self) -> Result<(), VmError> {
        pause(LOOK_INTERVAL, self.plan.cancel).map_err(|_| VmError::Cancelled)
    }

    fn died(&self, program: &str) -> VmError {
        VmError::Died {
            program: program.to_owned(),
            last_lines: self.last_lines(),
        }
    }

    /// QEMU tells three of the reasons for which it ends, and something helps against each.
    fn explain(&self, error: VmError, accelerator: Accelerator) -> VmError {
        if !matches!(error, VmError::Died { .. }) {
            return error;
        }
        let log = self.log("qemu");
        let said = end_of(&log);
        if said.contains(CID_TAKEN) {
            let cid = self.plan.lease.cid().number();
            return VmError::CidTaken { cid };
        }
        if let Some(port) = refused_port(&said) {
            let source = std::io::ErrorKind::AddrInUse.into();
            return VmError::HostPort { port, source };
        }
        if accelerator == Accelerator::Kvm && ["kvm", "KVM"].iter().any(|word| said.contains(word))
        {
            let lines = last_lines(&[("qemu", &log)]);
            let line = lines.lines().last().unwrap_or_default().trim();
            let reason = format!("QEMU ended ({line})");
            return VmError::Kvm { reason };
        }
        error
    }

    fn not_ready(&self) -> VmError {
        VmError::NotReady {
            limit: self.plan.ready_limit,
            last_lines: self.last_lines(),
        }
    }

    fn last_lines(&self) -> String {
        let [device, qemu, console] = ["device", "qemu", "console"].map(|name| self.log(name));
        last_lines(&[("device", &device), ("qemu", &qemu), ("console", &console)])
    }

    fn log(&self, name: &str) -> PathBuf {
        log_path(&self.plan.dir, name)
    }
}

impl Drop for Boot<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for process in [&mut self.qemu, &mut self.device].into_iter().flatten() {
            process.kill();
        }
    }
}

/// The file that holds what QEMU, the device or the guest's console said.
pub(super) fn log_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// QEMU's program for an architecture, from the `PATH`.
pub(super) fn find_qemu(arch: crate::arch::Arch) -> Result<PathBuf, VmError> {
    let program = qemu::program(arch);
    super::device::find_program(&program).ok_or(VmError::QemuMissing { program, arch })
}
