//! `smolctl doctor` with stand-ins for the programs that it runs.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/skip.rs"]
mod skip;
#[allow(dead_code, reason = "shared with tests in which a guest answers")]
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skip::skip;
use stand_ins::{DEVICE, QEMU, answer, answer_pings_as, assert_nothing_left, folder_with};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wait::soon;

/// What a stand-in does where it is asked for its version.
const VERSION: &str = "[ \"$1\" != --version ] || { echo 'stand-in 1.2'; exit; }\n";

fn able_folder(qemu: &str) -> Folder {
    folder_with(&format!("{VERSION}{DEVICE}"), &format!("{VERSION}{qemu}"))
}

fn examined(command: &mut Command, code: i32) -> Value {
    let output = command.arg("--json").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(output.stderr.is_empty());
    serde_json::from_str(&told).unwrap()
}

fn finding<'told>(told: &'told Value, subject: &str) -> &'told Value {
    let mut findings = told["findings"].as_array().unwrap().iter();
    findings
        .find(|finding| finding["subject"] == subject)
        .unwrap()
}

#[test]
fn host_with_qemu_and_a_vsock_device_can_start_a_vm() {
    let folder = able_folder(QEMU);
    let told = examined(&mut folder.smolctl(&["doctor"]), 0);
    assert_eq!(told["can_start_vm"], true);
    for subject in [
        "proc",
        "state-folder",
        "socket-path",
        "cid-pool",
        "vhost-device-vsock",
    ] {
        assert_eq!(finding(&told, subject)["state"], "ok", "{told}");
    }
    let qemu = finding(&told, "qemu-x86_64");
    assert_eq!(qemu["told"], "stand-in 1.2");
    assert_eq!(finding(&told, "qemu-aarch64")["state"], "missing");
    assert_ne!(finding(&told, "kvm")["state"], "ok");
    assert_nothing_left(&folder);
}

#[test]
fn what_is_missing_is_told_a_line_each_and_no_vm_can_be_started() {
    let folder = Folder::new();
    let output = folder.smolctl(&["doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("\nmissing  qemu-x86_64         qemu-system-x86_64 is not on the PATH"),
        "{told}"
    );
    assert!(
        told.ends_with("\nNo VM can be started here before what is missing is mended.\n"),
        "{told}"
    );
}

#[test]
fn program_of_another_system_is_missing() {
    let folder = able_folder(QEMU);
    let program = folder.write("bin/qemu-system-x86_64", b"#!/nowhere\n");
    let told = examined(&mut folder.smolctl(&["doctor"]), 1);
    let qemu = finding(&told, "qemu-x86_64");
    let wanted = format!("{} does not run: ", program.display());
    assert!(
        qemu["told"].as_str().unwrap().starts_with(&wanted),
        "{qemu}"
    );
}

#[test]
fn folder_that_makes_paths_of_sockets_too_long_is_told_with_what_helps() {
    let folder = able_folder(QEMU);
    let long = folder.path(&"s".repeat(90));
    let told = examined(
        folder.smolctl(&["doctor"]).env("SMOLVM_STATE_DIR", &long),
        1,
    );
    let path = finding(&told, "socket-path");
    assert_eq!(path["state"], "missing");
    assert_eq!(
        path["remedy"],
        "export SMOLVM_STATE_DIR=/var/tmp/smolvm-$USER"
    );
    let length = 107 - "/vms/".len() - 20 - "/device.sock".len();
    let base = folder.path("");
    let rest = length - base.as_os_str().len();
    let shorter = base.join("s".repeat(rest));
    let told = examined(
        folder
            .smolctl(&["doctor"])
            .env("SMOLVM_STATE_DIR", &shorter),
        0,
    );
    let path = finding(&told, "socket-path");
    assert_eq!(path["told"], "short enough for names of up to 20 letters");
}

#[test]
fn image_that_boots_is_the_proof_and_its_vm_is_gone_afterwards() {
    if Path::new("/dev/vhost-vsock").exists() {
        skip("no stand-in takes the place of this machine's /dev/vhost-vsock");
        return;
    }
    let folder = able_folder(QEMU);
    let mut doctor = folder.smolctl(&["doctor", "--image", "image"]);
    let child = doctor.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    let name = format!("doctor-{}", child.id());
    let listens = "smolvm-guest-agent: listening on vsock port 1024\n";
    let device = answer_pings_as(&name, &folder, listens, 1);
    // No agent any more when it is to end, so that nobody waits for it.
    answer(&device, br#"{"ok": true, "op": "hello"}"#);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("\nok       boot                a VM of image was ready"),
        "{told}"
    );
    assert!(told.ends_with("\nA VM can be started here.\n"), "{told}");
    assert_nothing_left(&folder);
}

#[test]
fn image_that_does_not_boot_is_told_and_leaves_nothing() {
    let folder = able_folder("echo 'no such machine' >&2; exit 1");
    let mut doctor = folder.smolctl(&["doctor", "--image", "image"]);
    let told = examined(&mut doctor, 1);
    let boot = finding(&told, "boot");
    assert_eq!(boot["state"], "missing");
    assert!(
        boot["told"].as_str().unwrap().contains("no such machine"),
        "{boot}"
    );
    assert_nothing_left(&folder);
    let told = examined(&mut folder.smolctl(&["doctor", "--image", "none"]), 1);
    let boot = finding(&told, "boot");
    assert!(
        boot["told"]
            .as_str()
            .unwrap()
            .contains("cannot read the image none"),
        "{boot}"
    );
    assert_eq!(boot["remedy"], json!(null));
}

#[test]
fn interrupted_doctor_waits_for_no_program() {
    let asked = "[ \"$1\" != --version ] || { : >asked; exec sleep 60; }\n";
    let folder = folder_with(DEVICE, &format!("{asked}{QEMU}"));
    let mut doctor = folder.smolctl(&["doctor"]);
    let child = doctor.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("asked").exists()));
    let begin = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.is_empty() && begin.elapsed() < Duration::from_secs(8));
}

#[test]
fn interrupted_doctor_leaves_nothing() {
    let folder = able_folder(QEMU);
    let mut doctor = folder.smolctl(&["doctor", "--image", "image"]);
    let child = doctor.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    assert!(output.stdout.is_empty());
    assert_nothing_left(&folder);
}
