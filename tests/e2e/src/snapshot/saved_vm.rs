//! The VM that is saved and restored: which QEMU has it now, and how that is told to save or to end.

use super::{Arguments, READY_LIMIT, address};
use crate::guest::{Checked, Guest};
use crate::monitor::Monitor;
use crate::process::{is_running, wait_until};
use serde_json::json;
use smolvm_host::channel::Channel;
use smolvm_host::target::GuestCid;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long QEMU may take to write a guest's memory to a file, or to read it.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// How long QEMU may take to listen, or to end.
const QEMU_LIMIT: Duration = Duration::from_secs(20);

/// The VM, and the QEMU that has it.
pub(super) struct SavedVm {
    cid: GuestCid,
    program: PathBuf,
    arguments: Vec<String>,
    monitor: PathBuf,
    folder: PathBuf,
    qemu: Qemu,
}

enum Qemu {
    /// Somebody else's child.
    Found(u32),
    /// Ours.
    Started(Child),
    /// None at the moment.
    Ended,
}

impl SavedVm {
    /// A VM that runs already.
    pub(super) fn of_a_running_one(arguments: &Arguments) -> Result<Self, String> {
        let told = fs::read_to_string(&arguments.arguments)
            .map_err(|error| format!("{}: {error}", arguments.arguments.display()))?;
        Ok(Self {
            cid: GuestCid::new(arguments.cid).ok_or("that is no guest's CID")?,
            program: arguments.program.clone(),
            arguments: told.lines().map(str::to_owned).collect(),
            monitor: arguments.monitor.clone(),
            folder: arguments.folder.clone(),
            qemu: Qemu::Found(arguments.qemu),
        })
    }

    pub(super) fn cid(&self) -> GuestCid {
        self.cid
    }

    /// The process id of the QEMU that has the VM.
    pub(super) fn qemu(&self) -> Result<u32, String> {
        match &self.qemu {
            Qemu::Found(pid) => Ok(*pid),
            Qemu::Started(child) => Ok(child.id()),
            Qemu::Ended => Err("no QEMU has the VM: an earlier case has failed".to_owned()),
        }
    }

    /// What has become of the QEMU that has the VM, for who asks why the guest does not answer.
    fn qemu_now(&self) -> String {
        if !self.qemu().is_ok_and(is_running) {
            return "its QEMU has ended".to_owned();
        }
        match self.status() {
            Ok(status) => format!("its QEMU says that it is {status}"),
            Err(error) => error,
        }
    }

    /// What the guest's QEMU says of it: `running`, `paused` and others of QMP's `RunState`.
    fn status(&self) -> Result<String, String> {
        Monitor::connect(&self.monitor)?.query("query-status", "status")
    }

    pub(super) fn guest(&self) -> Guest {
        Guest::reached_at(address(self.cid))
    }

    /// The guest, once its agent answers.
    pub(super) fn ready_guest(&self) -> Result<Guest, String> {
        let began = Instant::now();
        Channel::new(address(self.cid))
            .map_err(|error| error.to_string())?
            .wait_ready(READY_LIMIT)
            .map_err(|error| format!("the restored agent: {error}; {}", self.qemu_now()))?;
        let took = began.elapsed().as_millis();
        println!("measured: the restored agent answered after {took} ms");
        Ok(self.guest())
    }

    /// Stops the guest and writes it to a file, so that nothing hangs on how well QEMU keeps track of what a running guest
    /// writes while it is copied. Where it cannot be saved it goes on.
    pub(super) fn save(&self, name: &str) -> Checked {
        self.qemu()?;
        let mut monitor = Monitor::connect(&self.monitor)?;
        monitor.execute("stop", json!({}))?;
        self.write_to_file(&mut monitor, name).inspect_err(|_| {
            // Later cases ask the guest as well.
            let _ = monitor.execute("cont", json!({}));
        })
    }

    fn write_to_file(&self, monitor: &mut Monitor, name: &str) -> Checked {
        let file = self.folder.join(name);
        let file = file.to_str().ok_or("the folder is not UTF-8")?;
        let began = Instant::now();
        // The name appears when all is written, which may be after QEMU says that it is done.
        let uri = format!("exec:cat >'{file}.part' && mv '{file}.part' '{file}'");
        monitor.execute("migrate", json!({ "uri": uri }))?;
        let mut status = Ok(String::new());
        wait_until("the guest is saved", MIGRATION_LIMIT, || {
            status = monitor.query("query-migrate", "status");
            !matches!(status.as_deref(), Ok("setup" | "active" | "device" | ""))
        })?;
        match status?.as_str() {
            "completed" => {}
            other => return Err(format!("saving the guest has {other}")),
        }
        wait_until("the file is there", MIGRATION_LIMIT, || {
            fs::exists(file).unwrap_or(false)
        })?;
        let bytes = fs::metadata(file).map_err(|error| error.to_string())?.len();
        println!(
            "measured: saved {} MiB in {:.1} s",
            bytes >> 20,
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Ends the QEMU that has the VM. Its CID is free only then, and its connections are.
    pub(super) fn end(&mut self) -> Checked {
        let pid = self.qemu()?;
        // It may close its monitor before it has replied.
        let _ = Monitor::connect(&self.monitor)?.execute("quit", json!({}));
        wait_until("QEMU has ended", QEMU_LIMIT, || !is_running(pid))?;
        if let Qemu::Started(mut child) = std::mem::replace(&mut self.qemu, Qemu::Ended) {
            child.wait().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Starts another QEMU on a file, and has the guest go on.
    pub(super) fn restore(&mut self, name: &str, cid: GuestCid) -> Checked {
        let file = self.folder.join(name);
        let (old, new) = (
            format!("guest-cid={}", self.cid.number()),
            format!("guest-cid={}", cid.number()),
        );
        let arguments = self.arguments.iter().map(|word| word.replace(&old, &new));
        self.arguments = arguments.collect();
        self.cid = cid;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["-incoming", &format!("exec:cat '{}'", file.display())])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let pid = child.id();
        self.qemu = Qemu::Started(child);
        wait_until("the guest is restored", MIGRATION_LIMIT, || {
            self.status().is_ok_and(|status| status == "paused") || !is_running(pid)
        })
        .map_err(|error| format!("{error}; {}", self.qemu_now()))?;
        if !is_running(pid) {
            return Err("QEMU has ended while it restored the guest".to_owned());
        }
        Monitor::connect(&self.monitor)?.execute("cont", json!({}))?;
        println!(
            "measured: restored in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

impl Drop for SavedVm {
    fn drop(&mut self) {
        if let Qemu::Started(child) = &mut self.qemu {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
