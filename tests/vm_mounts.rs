//! `smolctl vm` where this machine's mounts are not what they should be: no /proc, or a state folder that is full.
//! Each call gets mounts of its own, which only root can have.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use skip::skip;
use stand_ins::{
    DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, outcome, pid, start,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use wait::{is_running, soon};

/// The same command after `mounts`, a shell's line, in a mount namespace of its own, with `afterwards` run there in the
/// end; its exit code stays.
fn with_mounts(command: &Command, mounts: &str, afterwards: &str) -> Command {
    let mut shell = Command::new("unshare");
    // Its own PATH has stand-ins alone.
    let run = "PATH=$STAND_INS \"$@\"; code=$?";
    let line = format!("{mounts} || exit 99; {run}; {afterwards}; exit $code");
    shell.args(["-m", "/bin/sh", "-c", &line, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap());
    for (variable, value) in command.get_envs() {
        let is_path = variable == "PATH";
        shell.env(
            if is_path {
                "STAND_INS".as_ref()
            } else {
                variable
            },
            value.unwrap(),
        );
    }
    shell
}

/// Whether this process may have mounts of its own; says so where it may not.
fn may_mount() -> bool {
    let probe = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "t", "/proc"])
        .output();
    let may = probe.is_ok_and(|output| output.status.success());
    if !may {
        skip("mounts of one's own need root and unshare");
    }
    may
}

fn running_vm() -> Folder {
    let folder = folder_with(DEVICE, QEMU);
    let child = start(&folder).stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(
        &folder,
        "smolvm-guest-agent: listening on vsock port 1024\n",
        1,
    );
    assert_eq!(child.wait_with_output().unwrap().stdout, b"a\n");
    folder
}

#[test]
fn vm_is_neither_called_stopped_nor_forgotten_where_proc_does_not_tell_of_it() {
    if !may_mount() {
        return;
    }
    let folder = running_vm();
    for mounts in [
        "mount -t tmpfs t /proc",
        "mount -t proc -o subset=pid p /proc",
    ] {
        for (words, wanted) in [
            (&["vm", "list"][..], 1),
            (&["vm", "stop", "a"], 1),
            (&["vm", "timings", "a"], 125),
            (&["ping", "a"], 125),
            (&["run", "a", "-c", "true"], 125),
            (&["vm", "start", "--image", "image", "--name", "a"], 1),
        ] {
            let (code, sentence) = outcome(&mut with_mounts(&folder.smolctl(words), mounts, ":"));
            assert_eq!(code, wanted, "{words:?}: {sentence}");
            assert!(
                sentence.starts_with("smolctl: there is no whole /proc here"),
                "{sentence}"
            );
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
        }
    }
    assert!(is_running(&pid(&folder, "qemu.pid")));
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn cids_are_given_out_in_the_state_folder_where_the_host_has_no_place_for_it() {
    if !may_mount() {
        return;
    }
    let folder = folder_with(DEVICE, QEMU);
    let mut doctor = folder.smolctl(&["doctor"]);
    doctor.env("SMOLVM_CID_POOL", "");
    let output = with_mounts(&doctor, "mount -t tmpfs t /run", ":")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let own = folder.path("s/cids");
    let wanted = format!(
        "\nlimited  cid-pool            {}, so that other users' VMs",
        own.display()
    );
    assert!(told.contains(&wanted), "{told}");
    assert!(own.metadata().unwrap().is_file());
}

#[test]
fn start_whose_disk_does_not_fit_leaves_nothing_and_says_so_in_one_sentence() {
    if !may_mount() {
        return;
    }
    let folder = folder_with(DEVICE, QEMU);
    folder.write(
        "modules/kernel/virtio_blk.ko",
        &folder::elf(62, 1, b"vermagic=6.1.0-test SMP\0"),
    );
    folder.write(
        "modules/kernel/ext4.ko",
        &folder::elf(62, 1, b"vermagic=6.1.0-test SMP\0"),
    );
    let built = folder
        .image_build(&folder.path("image"))
        .args(["--variant", "disk"])
        .output();
    assert!(built.unwrap().status.success());
    let disk = File::create(folder.path("d.ext4")).unwrap();
    disk.write_all_at(&vec![7; 1 << 20], 0).unwrap();
    disk.write_all_at(b"\x53\xEF", 1080).unwrap();
    folder.write("s/here", b"");
    let mut start = start(&folder);
    start.args(["--disk", "d.ext4"]);
    let left = "ls -A s/vms >left";
    let (code, said) = outcome(&mut with_mounts(
        &start,
        "mount -t tmpfs -o size=512k t s",
        left,
    ));
    assert_eq!(code, 1, "{said}");
    let sentence = said.lines().last().unwrap();
    assert!(
        sentence.starts_with("smolctl: cannot copy the disk "),
        "{said}"
    );
    assert!(
        sentence.ends_with("No space left on device (os error 28)"),
        "{said}"
    );
    let left = std::fs::read_to_string(folder.path("left")).unwrap();
    assert_eq!(left, ".lock\n");
    assert!(!folder.path("qemu.pid").exists());
}

#[test]
fn start_in_a_state_folder_without_any_room_leaves_nothing() {
    if !may_mount() {
        return;
    }
    let folder = folder_with(DEVICE, QEMU);
    folder.write("s/here", b"");
    let full = "mount -t tmpfs -o size=64k t s && { head -c 1m /dev/zero >s/full 2>/dev/null; :; }";
    let left = "ls -A s/vms >left";
    let (code, said) = outcome(&mut with_mounts(&start(&folder), full, left));
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("smolctl: cannot keep track of VMs in "),
        "{said}"
    );
    let left = std::fs::read_to_string(folder.path("left")).unwrap();
    assert_eq!(left, ".lock\n");
}
