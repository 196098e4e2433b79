//! Which CID `smolctl vm start` gives a VM, and how long the VM has it, with stand-ins for QEMU and the device.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use smolvm_host::vm::CidPool;
use stand_ins::{
    DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, lowest_free_cid, outcome, pid,
    start,
};
use std::fs;
use std::process::{Child, Stdio};
use wait::soon;

const LISTENS: &str = "smolvm-guest-agent: listening on vsock port 1024\n";

fn spawn(folder: &Folder) -> Child {
    let child = start(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    child
}

fn end(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// The CIDs that the device was told, a try each.
fn told_cids(folder: &Folder) -> Vec<String> {
    let words = fs::read_to_string(folder.path("cids")).unwrap();
    let cid = |line: &str| line.split(',').next().unwrap().to_owned();
    words.lines().map(cid).collect()
}

#[test]
fn running_vm_keeps_its_cid_from_others_until_qemu_and_device_have_ended() {
    let folder = folder_with(DEVICE, QEMU);
    let mut child = spawn(&folder);
    answer_pings(&folder, LISTENS, 1);
    assert!(child.wait().unwrap().success());
    assert_eq!(lowest_free_cid(&folder), 4);
    end(&pid(&folder, "qemu.pid"));
    assert_eq!(lowest_free_cid(&folder), 4);
    end(&pid(&folder, "device.pid"));
    assert!(soon(|| lowest_free_cid(&folder) == 3));
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn killed_start_leaves_the_cid_to_its_qemu_and_stop_frees_it() {
    let folder = folder_with(DEVICE, QEMU);
    let mut child = spawn(&folder);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lowest_free_cid(&folder), 4);
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn cids_of_another_state_folder_are_passed_over() {
    let folder = folder_with(&format!("echo \"$2\" >>cids\n{DEVICE}"), QEMU);
    let theirs = CidPool::at(&folder.path("cids.pool"));
    let leases = [theirs.allocate().unwrap(), theirs.allocate().unwrap()];
    assert_eq!(outcome(start(&folder).args(["--timeout", "0.3"])).0, 1);
    assert_eq!(told_cids(&folder), ["guest-cid=5"]);
    drop(leases);
    assert_nothing_left(&folder);
}

#[test]
fn cid_of_a_vm_that_was_started_without_the_pool_is_passed_over_while_it_runs() {
    let folder = folder_with(&format!("echo \"$2\" >>cids\n{DEVICE}"), QEMU);
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start_time: u64 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split(' ')
        .nth(20)
        .unwrap()
        .parse()
        .unwrap();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut record = serde_json::json!({
        "format": 1, "name": "old", "phase": "running", "arch": "x86_64", "image": "/i",
        "accelerator": "tcg", "cid": 3, "vsock": "cid", "boot_id": boot_id.trim(),
        "starter": {"pid": 1, "start_time": 1},
        "qemu": {"pid": std::process::id(), "start_time": start_time}, "device": null
    });
    folder.write("s/vms/old/vm.json", record.to_string().as_bytes());
    let failing = || outcome(start(&folder).args(["--timeout", "0.3"]));
    assert_eq!(failing().0, 1);
    record["boot_id"] = "another".into();
    folder.write("s/vms/old/vm.json", record.to_string().as_bytes());
    assert_eq!(failing().0, 1);
    assert_eq!(told_cids(&folder), ["guest-cid=4", "guest-cid=3"]);
}

#[test]
fn pool_that_cannot_be_used_is_told_and_leaves_nothing() {
    let folder = folder_with(DEVICE, QEMU);
    fs::create_dir(folder.path("folder")).unwrap();
    let (code, sentence) = outcome(start(&folder).env("SMOLVM_CID_POOL", folder.path("folder")));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("cannot give out CIDs by ") && sentence.contains("set SMOLVM_CID_POOL"),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}
