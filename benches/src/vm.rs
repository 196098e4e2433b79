//! The same over virtio-vsock: boots our minimal image, and has its agent and a program with no agent take turns.
//!
//! Owns the VM, which is gone when the measuring ends, however it does. The Python agent is left out: an image with Python is
//! another image. So is memory, which other tests measure there.

use crate::arguments::RunArguments;
use crate::competitor::{Agent, Competitor, Floor, Name};
use crate::connection::{Address, Connection};
use crate::results::{Outcome, Task};
use crate::rounds::Run;
use crate::work::{Place, Work};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const AGENT_PORT: u32 = smolvm_protocol::AGENT_PORT;
const FLOOR_PORT: u32 = 5000;
const FLOOR_PROGRAM: &str = "/run/floor";
/// Files are in the guest's memory, of which they may take half, and a new one is beside the old until it is whole.
const MEMORY_MIB: &str = "2048";
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const LEFT_OUT: &str = "an image with Python is not the one that is measured";

/// Measures in a VM, where one can be had.
pub(crate) fn measure(run: &mut Run<'_>, arguments: &RunArguments) -> Result<()> {
    if !run.has_tasks(Place::Vm) {
        return Ok(());
    }
    run.check()?;
    let task = Task {
        place: Place::Vm,
        work: Work::Ping,
        bytes: None,
    };
    let why = Outcome::Skipped(LEFT_OUT.to_owned());
    run.results.push(task, Name::Python, why);
    let (Some(smolctl), Some(image)) = (&arguments.smolctl, &arguments.image) else {
        let why = Outcome::Skipped(arguments.reason("vm"));
        run.results.push(task, Name::Ours, why);
        return Ok(());
    };
    let began = Instant::now();
    let vm = match Vm::start(smolctl, image) {
        Ok(vm) => vm,
        Err(error) => {
            let outcome = Outcome::Failed(format!("{error:#}"));
            run.results.push(task, Name::Ours, outcome);
            return Ok(());
        }
    };
    eprintln!("VM: {:.1} s", began.elapsed().as_secs_f64());
    let about = &mut run.results.about.machine;
    about.push(("the VM".to_owned(), vm.told.clone()));
    let floor = match vm.floor(&arguments.floor) {
        Ok(floor) => floor,
        Err(error) => {
            let outcome = Outcome::Failed(format!("{error:#}"));
            eprintln!("nothing is measured in the VM: {}", outcome.reason());
            run.results.push(task, Name::Floor, outcome);
            let why = Outcome::Skipped("there is no floor to hold it against".to_owned());
            run.results.push(task, Name::Ours, why);
            return Ok(());
        }
    };
    let competitors: Vec<Box<dyn Competitor>> = vec![
        Box::new(floor),
        Box::new(Agent::at(Name::Ours, vm.address(AGENT_PORT), "/tmp/ours-")),
    ];
    run.all(Place::Vm, &competitors)
}

/// A running VM of ours.
struct Vm {
    smolctl: PathBuf,
    name: String,
    /// Its target as `smolctl vm list` tells it.
    target: String,
    /// How it runs, for the report.
    told: String,
}

impl Vm {
    fn start(smolctl: &Path, image: &Path) -> Result<Self> {
        let mut vm = Self {
            smolctl: smolctl.to_owned(),
            name: format!("bench-{}", std::process::id()),
            target: String::new(),
            told: String::new(),
        };
        let mut start = vm.command(&["vm", "start", "--name"]);
        start
            .arg(&vm.name)
            .args(["--memory", MEMORY_MIB, "--image"]);
        output(start.arg(image))?;
        let listed = output(&mut vm.command(&["vm", "list", "--json"]))?;
        let listed: Vec<Value> = serde_json::from_str(&listed)?;
        let of_ours = listed.iter().find(|listed| listed["name"] == *vm.name);
        let of_ours = of_ours.context("smolctl lists no such VM")?;
        let text = |member: &str| of_ours[member].as_str().map(str::to_owned);
        vm.target = text("target").context("smolctl tells no target")?;
        let kernel = output(vm.command(&["run", &vm.name]).args(["-c", "uname -r"]))?;
        vm.told = format!(
            "{}, {MEMORY_MIB} MiB, kernel {}, by {}",
            text("accelerator").unwrap_or_default(),
            kernel.trim(),
            match vm.target.starts_with("cid:") {
                true => "this machine's vhost-vsock",
                false => "vhost-device-vsock",
            }
        );
        Ok(vm)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.smolctl);
        command.args(words).stdin(Stdio::null());
        command
    }

    fn address(&self, port: u32) -> Address {
        match self.target.split_once(':') {
            Some(("cid", cid)) => Address::Vsock(cid.parse().unwrap_or(0), port),
            Some((_, path)) => Address::Connect(path.into(), port),
            None => Address::Connect(self.target.clone().into(), port),
        }
    }

    /// Has the agent run the floor's program in the guest, until the guest ends.
    fn floor(&self, program: &Path) -> Result<Floor> {
        let mut put = self.command(&["put", &self.name]);
        output(put.arg(program).args([FLOOR_PROGRAM, "--mode", "755"]))?;
        let line = format!("{FLOOR_PROGRAM} vsock:{FLOOR_PORT} </dev/null >/dev/null 2>&1 &");
        let mut run = self.command(&["run", &self.name, "--until", "exit"]);
        output(run.args(["-c", &line]))?;
        let address = self.address(FLOOR_PORT);
        let began = Instant::now();
        // A device says OK before the guest has, so that only an answer says that somebody listens.
        let floor = Floor::at(address.clone(), "/tmp/floor-");
        while floor.ping().is_err() {
            ensure!(
                began.elapsed() < LISTEN_LIMIT,
                "the floor does not listen in the guest"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(Connection::open(&address));
        Ok(floor)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = output(self.command(&["vm", "rm", "--force"]).arg(&self.name));
    }
}

/// What it prints on standard output; what it says otherwise is the error where it fails.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("smolctl cannot be run")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
