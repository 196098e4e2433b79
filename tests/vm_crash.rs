//! `smolctl vm start` that is interrupted or killed at many moments, and two at once, with stand-ins for QEMU and the
//! vsock device.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/ignored.rs"]
mod ignored;
#[allow(dead_code, reason = "shared with tests in which a guest answers")]
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use ignored::{is_ignored, mask};
use rustix::process::{Pid, Signal, kill_process};
use stand_ins::{DEVICE, QEMU, assert_nothing_left, folder_with, outcome, pid, start};
use std::fs;
use std::process::{Child, Stdio};
use wait::{is_running, soon};

/// Moments of a start, each as what is there by then.
const MOMENTS: [&str; 8] = [
    "",
    "s/vms/.lock",
    "s/vms/a",
    "s/vms/a/device.process",
    "device.pid",
    "s/vms/a/device.sock",
    "s/vms/a/qemu.log",
    "qemu.pid",
];

/// Spawns a start and comes back at a moment of it, once it listens to signals.
fn spawn_until(folder: &Folder, moment: &str) -> Child {
    for left in ["device.pid", "qemu.pid"] {
        let _ = fs::remove_file(folder.path(left));
    }
    let child = start(folder).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string();
    let terminates = 1 << (Signal::TERM.as_raw() - 1);
    assert!(soon(|| mask(&pid, "SigCgt:") & terminates != 0));
    assert!(soon(|| folder.path(moment).exists()), "{moment}");
    child
}

#[test]
fn start_that_is_interrupted_at_any_moment_leaves_nothing() {
    let folder = folder_with(DEVICE, QEMU);
    for moment in MOMENTS {
        for signal in [Signal::INT, Signal::TERM] {
            if is_ignored(signal) {
                continue;
            }
            let mut child = spawn_until(&folder, moment);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let code = child.wait().unwrap().code();
            assert_eq!(code, Some(128 + signal.as_raw()), "{moment}");
            if !folder.names("s/vms").is_empty() {
                assert_nothing_left(&folder);
            }
        }
    }
}

#[test]
fn start_that_is_killed_at_any_moment_is_reclaimed_by_the_next_of_another_name() {
    let folder = folder_with(DEVICE, QEMU);
    for moment in MOMENTS {
        let mut child = spawn_until(&folder, moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let old = ["device.pid", "qemu.pid"].map(|name| pid(&folder, name));
        let mut other = folder.smolctl(&["vm", "start", "--tcg", "--vsock", "vhost-user"]);
        other.args(["--image", "image", "--name", "b", "--timeout", "0.3"]);
        let (code, sentence) = outcome(&mut other);
        assert_eq!(code, 1, "{moment}: {sentence}");
        assert!(
            sentence.contains("did not answer within"),
            "{moment}: {sentence}"
        );
        for pid in old {
            assert!(pid.is_empty() || !is_running(&pid), "{moment}");
        }
        assert_nothing_left(&folder);
    }
}

#[test]
fn of_two_starts_of_one_name_at_once_one_is_refused() {
    let folder = folder_with(DEVICE, QEMU);
    let spawn = || start(&folder).stderr(Stdio::piped()).spawn().unwrap();
    let mut children = [spawn(), spawn()];
    let mut first = None;
    assert!(soon(|| {
        first = children
            .iter_mut()
            .position(|child| child.try_wait().unwrap().is_some());
        first.is_some()
    }));
    let [zero, one] = children;
    let (refused, other) = if first == Some(0) {
        (zero, one)
    } else {
        (one, zero)
    };
    let output = refused.wait_with_output().unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{sentence}");
    assert!(sentence.contains("a VM named a runs already"), "{sentence}");
    assert!(soon(|| folder.path("qemu.pid").exists()));
    kill_process(Pid::from_child(&other), Signal::TERM).unwrap();
    assert_eq!(other.wait_with_output().unwrap().status.code(), Some(143));
    assert_nothing_left(&folder);
}
