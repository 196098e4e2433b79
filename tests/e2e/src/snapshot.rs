//! A VM on the kernel's vhost-vsock that is saved to a file, ended, and restored from it by another QEMU.
//!
//! Owns the cases and the QEMUs that they start; the first one is somebody else's, who has told its arguments. What a
//! host has to do around a restore is in `docs/snapshots.md`.

mod saved_vm;
mod under_way;

use crate::cases::{self, resume};
use crate::guest::{AGENT, Checked, Guest, same};
use crate::report::{Case, run_cases};
use saved_vm::SavedVm;
use serde_json::{Value, json};
use smolvm_host::channel::ClockSet;
use smolvm_host::target::GuestCid;
use smolvm_host::transport::Address;
use smolvm_protocol::AGENT_PORT;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

/// How long a restored agent may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long what a stale connection left may be there.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What to save and restore.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The VM's CID; the next one that is not this machine's own is used as well.
    cid: u32,
    /// The process id of its QEMU.
    qemu: u32,
    /// QEMU's program, which makes its monitor listen at --monitor.
    #[arg(long)]
    program: PathBuf,
    /// A file of the arguments that the VM was started with, a line each.
    #[arg(long)]
    arguments: PathBuf,
    /// The socket of its monitor.
    #[arg(long)]
    monitor: PathBuf,
    /// Where saved VMs go.
    #[arg(long)]
    folder: PathBuf,
    /// Run only the cases whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
}

/// In this order: a later case restores what an earlier one saved.
const ALL: &[Case<RefCell<SavedVm>>] = &[
    (
        "guest_saved_at_rest_goes_on_where_it_stood_and_its_agent_answers",
        at_rest,
    ),
    (
        "command_and_upload_under_way_when_saved_are_ended_on_both_sides",
        under_way::end_on_both_sides,
    ),
    (
        "guest_restored_under_another_cid_answers_there",
        under_another_cid,
    ),
    (
        "resumed_guest_has_the_hosts_time_and_a_seed_of_the_hosts",
        resumed,
    ),
    ("restored_guest_ends_in_order", ends_in_order),
];

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match SavedVm::of_a_running_one(arguments) {
        Ok(vm) => run_cases(&RefCell::new(vm), ALL, &arguments.only),
        Err(error) => {
            eprintln!("smolvm-e2e: {error}");
            ExitCode::from(2)
        }
    }
}

/// Where the agent of a CID is reached.
fn address(cid: GuestCid) -> Address {
    Address::Vsock {
        cid,
        port: AGENT_PORT,
    }
}

/// What of an agent must be the same before and after.
#[derive(Debug, PartialEq)]
struct AgentState {
    pid: String,
    threads: u64,
    descriptors: String,
}

impl AgentState {
    fn of(guest: &Guest) -> Result<Self, String> {
        Ok(Self {
            pid: guest.text(AGENT)?,
            threads: guest.agent_threads()?,
            descriptors: guest.agent_descriptors()?,
        })
    }
}

fn at_rest(vm: &RefCell<SavedVm>) -> Checked {
    let mut vm = vm.borrow_mut();
    let guest = vm.guest();
    let daemon = guest
        .text("echo kept >/tmp/kept; setsid sleep 100000 </dev/null >/dev/null 2>&1 & echo $!")?;
    let before = AgentState::of(&guest)?;
    vm.save("rest")?;
    vm.end()?;
    let cid = vm.cid();
    vm.restore("rest", cid)?;
    let guest = vm.ready_guest()?;
    same("the agent", &AgentState::of(&guest)?, &before)?;
    same("a file", &guest.text("cat /tmp/kept")?, &"kept".to_owned())?;
    guest.text(&format!("kill -0 {daemon}")).map(drop)
}

fn under_another_cid(vm: &RefCell<SavedVm>) -> Checked {
    let mut vm = vm.borrow_mut();
    let old = vm.cid();
    let new = next_cid(old)?;
    vm.end()?;
    vm.restore("rest", new)?;
    let guest = vm.ready_guest()?;
    same("a file", &guest.text("cat /tmp/kept")?, &"kept".to_owned())?;
    let clock = guest.text("date +%s")?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    println!(
        "measured: the guest's clock says {clock}, the host's {}",
        now.as_secs()
    );
    match Guest::reached_at(address(old)).text("true") {
        Err(error) if error.contains("no running VM of this host has that CID") => Ok(()),
        other => Err(format!("the old CID: {other:?}")),
    }
}

/// Another CID for a guest. The kernel gives none the CID that this machine, a guest itself, is reached by.
fn next_cid(old: GuestCid) -> Result<GuestCid, String> {
    let own = vsock::get_local_cid().ok();
    let next = (old.number() + 1..).find(|number| Some(*number) != own);
    next.and_then(GuestCid::new)
        .ok_or_else(|| "there is no next CID".to_owned())
}

/// By `smolctl`, which is on the PATH there.
fn resumed(vm: &RefCell<SavedVm>) -> Checked {
    let mut vm = vm.borrow_mut();
    let cid = vm.cid();
    resume::set_clock_wrong(&vm.guest())?;
    vm.save("wrong")?;
    vm.end()?;
    vm.restore("wrong", cid)?;
    let guest = vm.ready_guest()?;
    let output = Command::new("smolctl")
        .args(["resume", &format!("cid:{}", cid.number()), "--json"])
        .output()
        .map_err(|error| format!("smolctl: {error}"))?;
    let told: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("smolctl: {error} in {output:?}"))?;
    same("whether it is reseeded", &told["reseeded"], &json!(true))?;
    let clock = ClockSet {
        stepped: told["stepped"] == true,
        offset_ns: told["offset_ns"].as_i64().unwrap_or_default(),
    };
    resume::check_clock_is_right(&guest, clock)
}

fn ends_in_order(vm: &RefCell<SavedVm>) -> Checked {
    let vm = vm.borrow();
    let (_, end) = cases::LAST;
    end(address(vm.cid()), vm.qemu()?)
}
