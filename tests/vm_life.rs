//! `smolctl vm` with stand-ins for QEMU and the vsock device: what a failing or interrupted start
//! leaves behind, and what is said.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/ignored.rs"]
mod ignored;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use ignored::{is_ignored, mask};
use rustix::process::{Pid, Signal};
use stand_ins::{
    DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, outcome, pid, start,
};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use wait::{is_running, soon};

#[test]
fn qemu_that_dies_is_told_with_its_last_lines() {
    let folder = folder_with(DEVICE, "echo 'qemu: no such machine' >&2; exit 1");
    let (code, sentence) = outcome(&mut start(&folder));
    assert_eq!(code, 1);
    assert!(
        sentence.ends_with(
            "smolctl: QEMU ended while the VM was starting:\n  qemu: qemu: no such machine\n"
        ),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}

#[test]
fn device_that_dies_is_told_with_its_last_lines() {
    let folder = folder_with("echo 'no device' >&2; exit 1", QEMU);
    let (code, sentence) = outcome(&mut start(&folder));
    assert_eq!(code, 1);
    assert!(sentence.contains("vhost-device-vsock ended"), "{sentence}");
    assert!(sentence.contains("device: no device"), "{sentence}");
    assert_nothing_left(&folder);
}

#[test]
fn agent_that_never_answers_costs_the_time_limit() {
    let folder = folder_with(DEVICE, QEMU);
    let (code, sentence) = outcome(start(&folder).args(["--timeout", "0.3"]));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("did not answer within 0.3 s"),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}

#[test]
fn interrupted_start_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)] {
        if is_ignored(signal) {
            continue;
        }
        let folder = folder_with(DEVICE, QEMU);
        let child = start(&folder).stderr(Stdio::null()).spawn().unwrap();
        assert!(soon(|| folder.path("qemu.pid").exists()));
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_nothing_left(&folder);
    }
}

#[test]
fn signal_that_was_ignored_before_stays_ignored() {
    let folder = folder_with(DEVICE, QEMU);
    let start = start(&folder);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    shell.arg(start.get_program()).args(start.get_args());
    shell.current_dir(folder.path(""));
    for (variable, value) in start.get_envs() {
        shell.env(variable, value.unwrap());
    }
    let child = shell.stderr(Stdio::null()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    let pid = child.id().to_string();
    assert_eq!(mask(&pid, "SigIgn:") & 1, 1);
    assert_eq!(mask(&pid, "SigCgt:") & 1, 0);
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert_nothing_left(&folder);
}

#[test]
fn start_whose_result_cannot_be_written_stops_the_vm_again() {
    let folder = folder_with(DEVICE, QEMU);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut start = start(&folder);
    let child = start.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(
        &folder,
        "smolvm-guest-agent: listening on vsock port 1024\n",
        1,
    );
    let output = child.wait_with_output().unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{sentence}");
    assert!(sentence.contains("a is stopped again"), "{sentence}");
    assert!(
        sentence.contains("cannot write standard output"),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}

#[test]
fn guest_that_never_says_that_its_agent_was_started_is_asked_all_the_same() {
    let folder = folder_with(DEVICE, QEMU);
    let child = start(&folder).stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(&folder, "another init\n", 2);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"a\n");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn cid_that_another_vm_of_this_host_has_is_passed_over() {
    let device = format!("echo \"$2\" >>cids\n{DEVICE}");
    let taken = "vhost-vsock: unable to set guest cid: Address already in use";
    let qemu = format!("[ -e tried ] || {{ : >tried; echo '{taken}' >&2; exit 1; }}\n{QEMU}");
    let folder = folder_with(&device, &qemu);
    let (code, sentence) = outcome(start(&folder).args(["--timeout", "3"]));
    assert_eq!(code, 1);
    assert!(sentence.contains("did not answer"), "{sentence}");
    let cids = fs::read_to_string(folder.path("cids")).unwrap();
    let cids: Vec<&str> = cids.lines().map(|line| &line[..11]).collect();
    assert_eq!(cids, ["guest-cid=3", "guest-cid=4"]);
    assert_nothing_left(&folder);
    let folder = folder_with(DEVICE, &format!("echo '{taken}' >&2; exit 1"));
    let (code, sentence) = outcome(&mut start(&folder));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("every CID that was tried, 66 the last"),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}

#[test]
fn path_that_is_not_utf8_is_told_and_leaves_nothing() {
    let folder = folder_with(DEVICE, QEMU);
    let image = folder.path("").join(OsStr::from_bytes(b"i\xff"));
    fs::rename(folder.path("image"), &image).unwrap();
    let mut start = folder.smolctl(&["vm", "start", "--tcg", "--name", "a"]);
    let (code, sentence) = outcome(start.arg("--image").arg(&image));
    assert_eq!(code, 1, "{sentence}");
    assert!(sentence.contains("is not UTF-8"), "{sentence}");
    assert_nothing_left(&folder);
    fs::rename(&image, folder.path("image")).unwrap();
    let state = folder.path("").join(OsStr::from_bytes(b"s\xff"));
    let mut start = folder.smolctl(&[
        "vm",
        "start",
        "--tcg",
        "--vsock",
        "vhost-user",
        "--name",
        "a",
        "--image",
        "image",
    ]);
    let (code, sentence) = outcome(start.env("SMOLVM_STATE_DIR", &state));
    assert_eq!(code, 1, "{sentence}");
    assert!(sentence.contains("is not UTF-8"), "{sentence}");
}

#[test]
fn killed_start_is_shown_as_abandoned_and_cleared_by_stop() {
    let folder = folder_with(DEVICE, QEMU);
    let mut child = start(&folder).stderr(Stdio::null()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    let taken = outcome(&mut start(&folder));
    assert_eq!(taken.0, 1);
    assert!(taken.1.contains("a VM named a runs already"), "{}", taken.1);
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "stop", "a"]));
    assert_eq!(code, 1);
    assert!(sentence.contains("is still being started"), "{sentence}");
    assert!(soon(|| !record(&folder)["qemu"].is_null()));
    child.kill().unwrap();
    child.wait().unwrap();
    let list = folder.smolctl(&["vm", "list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["status"], "abandoned");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

/// Starts a VM whose starter is killed on the way, once the record knows of QEMU.
fn start_and_kill_the_starter(folder: &Folder) -> serde_json::Value {
    let mut child = start(folder).stderr(Stdio::null()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    assert!(soon(|| !record(folder)["qemu"].is_null()));
    child.kill().unwrap();
    child.wait().unwrap();
    record(folder)
}

fn record(folder: &Folder) -> serde_json::Value {
    let json = fs::read(folder.path("s/vms/a/vm.json")).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}

#[test]
fn start_killed_before_the_record_tells_of_processes_leaves_none_after_stop() {
    let folder = folder_with(DEVICE, QEMU);
    let mut record = start_and_kill_the_starter(&folder);
    record["qemu"] = serde_json::Value::Null;
    record["device"] = serde_json::Value::Null;
    folder.write("s/vms/a/vm.json", record.to_string().as_bytes());
    let list = folder.smolctl(&["vm", "list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["status"], "abandoned");
    assert_eq!(list[0]["pid"].to_string(), pid(&folder, "qemu.pid"));
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn interrupted_stop_keeps_the_vm() {
    let folder = folder_with(DEVICE, QEMU);
    start_and_kill_the_starter(&folder);
    let silent = UnixListener::bind(folder.path("s/vms/a/vsock.sock")).unwrap();
    let mut stop = folder.smolctl(&["vm", "stop", "a"]);
    let child = stop.stderr(Stdio::null()).spawn().unwrap();
    let asked = silent.accept().unwrap();
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(is_running(&pid(&folder, "qemu.pid")));
    assert!(is_running(&pid(&folder, "device.pid")));
    drop((asked, silent));
    assert_eq!(outcome(&mut stop).0, 0);
    assert_nothing_left(&folder);
}

#[test]
fn stopped_vm_makes_room_for_one_of_its_name() {
    let folder = folder_with(DEVICE, "exit 3");
    let mut record = serde_json::json!({
        "format": 1, "name": "a", "phase": "running", "arch": "x86_64", "image": "/i",
        "accelerator": "tcg", "cid": 3, "vsock": {"socket": "/x"}, "boot_id": "another",
        "starter": {"pid": 1, "start_time": 1}, "qemu": {"pid": 1, "start_time": 1}, "device": null
    });
    folder.write("s/vms/a/vm.json", record.to_string().as_bytes());
    let (code, sentence) = outcome(&mut folder.smolctl(&["ping", "a"]));
    assert_eq!(code, 125);
    assert!(sentence.contains("the VM a has stopped"), "{sentence}");
    assert!(outcome(&mut start(&folder)).1.contains("QEMU ended"));
    assert_nothing_left(&folder);
    record["format"] = 9.into();
    folder.write("s/vms/a/vm.json", record.to_string().as_bytes());
    let (code, sentence) = outcome(&mut start(&folder));
    assert_eq!(code, 1);
    assert!(sentence.contains("vm.json is broken"), "{sentence}");
}

#[test]
fn missing_programs_and_bad_images_are_told_before_anything_is_made() {
    let folder = folder_with(DEVICE, QEMU);
    let expect = |wanted: &str| {
        let (code, sentence) = outcome(&mut start(&folder));
        assert_eq!(code, 1, "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
        assert!(folder.names("s/vms").is_empty());
    };
    fs::remove_file(folder.path("bin/vhost-device-vsock")).unwrap();
    expect("vhost-device-vsock is not installed; scripts/vm-tools.sh brings it");
    fs::remove_file(folder.path("bin/qemu-system-x86_64")).unwrap();
    expect("qemu-system-x86_64 is not installed; scripts/vm-tools.sh --arch x86_64");
    folder.write("image/vmlinuz", b"x");
    expect("vmlinuz is not what its manifest says");
    folder.write("image/manifest.json", b"{}");
    expect("its manifest is broken");
    fs::remove_dir_all(folder.path("image")).unwrap();
    expect("cannot read the image");
}

#[test]
fn kernels_device_that_is_not_there_is_told() {
    let folder = folder_with(DEVICE, QEMU);
    fs::remove_file(folder.path("bin/vhost-device-vsock")).unwrap();
    if Path::new("/dev/vhost-vsock").exists() {
        return;
    }
    for (words, wanted) in [
        (
            &["--vsock", "kernel"][..],
            "cannot open /dev/vhost-vsock; load the module vhost_vsock",
        ),
        (
            &[],
            "neither a usable /dev/vhost-vsock nor vhost-device-vsock",
        ),
    ] {
        let mut command = folder.smolctl(&["vm", "start", "--tcg", "--image", "image"]);
        let (code, sentence) = outcome(command.args(words));
        assert_eq!(code, 1);
        assert!(sentence.contains(wanted), "{sentence}");
        assert!(folder.names("s/vms").is_empty());
    }
}

#[test]
fn wrong_names_and_numbers_end_with_2() {
    let folder = Folder::new();
    for arguments in [
        &["vm", "start", "--image", "i", "--name", "a/b"][..],
        &["vm", "start", "--image", "i", "--memory", "1"],
        &["vm", "start", "--image", "i", "--cpus", "0"],
        &["vm", "start", "--image", "i", "--kvm", "--tcg"],
        &["vm", "start"],
        &["vm", "stop", ".."],
        &["vm", "rm", "a", "b/c"],
        &["vm", "stop"],
        &["vm", "rm", "--all", "a"],
        &["vm", "logs", "a", "--of", "x"],
    ] {
        assert_eq!(
            outcome(&mut folder.smolctl(arguments)).0,
            2,
            "{arguments:?}"
        );
    }
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "stop", "gone"]));
    assert_eq!(code, 1);
    assert!(sentence.contains("there is no VM named gone"), "{sentence}");
}

#[test]
fn socket_path_that_is_too_long_is_told() {
    let folder = folder_with(DEVICE, QEMU);
    let long = folder.path(&"s".repeat(90));
    let (code, sentence) = outcome(start(&folder).env("SMOLVM_STATE_DIR", &long));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("set SMOLVM_STATE_DIR to a shorter folder"),
        "{sentence}"
    );
}
