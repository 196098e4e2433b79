//! `smolctl vm start` with stand-ins for QEMU and the vsock device: disks, ports and keys of the caller's, what is
//! refused, and when the agent is asked.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::{Folder, elf};
use stand_ins::{DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, outcome, start};
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use wait::soon;

/// Stands in for QEMU, and keeps the arguments it had.
const WRITING_QEMU: &str = "printf '%s\\n' \"$@\" >qemu.arguments\n\
    echo $$ >qemu.pid.new; mv qemu.pid.new qemu.pid; exec sleep 60";

/// The shortest file that passes for an ext4 file system.
fn ext4() -> Vec<u8> {
    let mut disk = vec![7; 4096];
    disk[1080..1082].copy_from_slice(b"\x53\xEF");
    disk
}

/// The same folder with an image that has drivers for disks, as `image`.
fn folder_with_disk_image(qemu: &str) -> Folder {
    let folder = folder_with(DEVICE, qemu);
    for name in ["virtio_blk", "ext4"] {
        let info = b"depends=\0vermagic=6.1.0-test SMP\0";
        folder.write(&format!("modules/kernel/{name}.ko"), &elf(62, 1, info));
    }
    let image = folder.path("image");
    let built = folder
        .image_build(&image)
        .args(["--variant", "disk"])
        .output();
    assert!(built.unwrap().status.success());
    folder
}

/// Refused as a wrong call, with this in the one sentence, and before anything is made.
fn assert_refused(folder: &Folder, command: &mut Command, wanted: &str) {
    let (code, sentence) = outcome(command);
    assert_eq!(code, 2, "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    assert!(sentence.contains(wanted), "{sentence}");
    assert!(folder.names("s/vms").is_empty());
}

#[test]
fn disk_of_the_callers_is_the_root_and_only_a_copy_of_it_is_the_vms() {
    let folder = folder_with_disk_image(WRITING_QEMU);
    let disk = folder.write("my disk.ext4", &ext4());
    let mut start = start(&folder);
    start.args([
        "--disk",
        "my disk.ext4",
        "--kernel-append",
        "init=/sbin/init",
    ]);
    let child = start.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(
        &folder,
        "smolvm-guest-agent: listening on vsock port 1024\n",
        1,
    );
    assert_eq!(child.wait_with_output().unwrap().stdout, b"a\n");
    let own = folder.path("s/vms/a/root.ext4");
    assert_eq!(fs::read(&own).unwrap(), ext4());
    let arguments = fs::read_to_string(folder.path("qemu.arguments")).unwrap();
    for wanted in [
        format!("if=none,id=root,format=raw,file={}", own.display()),
        "console=ttyS0 panic=-1 quiet root=/dev/vda rw init=/sbin/init".to_owned(),
    ] {
        assert!(arguments.lines().any(|line| line == wanted), "{arguments}");
    }
    let list = folder.smolctl(&["vm", "list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["disk"], disk.display().to_string());
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_eq!(fs::read(&disk).unwrap(), ext4());
    assert_nothing_left(&folder);
}

#[test]
fn microvm_has_its_devices_on_virtio_mmio_and_is_told_how_fast_its_counter_counts() {
    let folder = folder_with_disk_image(WRITING_QEMU);
    folder.write("d.ext4", &ext4());
    let mut start = start(&folder);
    start.args([
        "--machine",
        "microvm",
        "--disk",
        "d.ext4",
        "--net",
        "user",
        "--timeout",
        "0.3",
    ]);
    assert!(
        outcome(&mut start)
            .1
            .contains("did not answer within 0.3 s")
    );
    let arguments = fs::read_to_string(folder.path("qemu.arguments")).unwrap();
    for wanted in [
        "microvm,acpi=on,memory-backend=memory",
        "vhost-user-vsock-device,chardev=vsock",
        "virtio-blk-device,drive=root",
        "virtio-net-device,netdev=network",
    ] {
        assert!(arguments.lines().any(|line| line == wanted), "{arguments}");
    }
    let words = arguments.lines().last().unwrap();
    assert!(
        words.ends_with("console=ttyS0 panic=-1 quiet root=/dev/vda rw"),
        "{words}"
    );
    let is_told = words.starts_with("tsc_early_khz=");
    assert_eq!(is_told, cfg!(target_arch = "x86_64"), "{words}");
    assert_nothing_left(&folder);
}

#[test]
fn machine_of_another_architecture_is_a_wrong_call() {
    let folder = folder_with(DEVICE, QEMU);
    let wanted = "the machine virt is one of aarch64, and the image is for x86_64; leave --machine out, or take q35";
    assert_refused(&folder, start(&folder).args(["--machine", "virt"]), wanted);
    let wanted =
        "--machine <MACHINE> cannot be 'pc': use q35 or microvm for x86_64, virt for aarch64";
    assert_refused(&folder, start(&folder).args(["--machine", "pc"]), wanted);
}

#[test]
fn image_without_drivers_for_a_disk_is_refused() {
    let folder = folder_with(DEVICE, QEMU);
    folder.write("d.ext4", &ext4());
    let wanted = "no driver for a disk; build one with smolctl image build --variant disk";
    assert_refused(&folder, start(&folder).args(["--disk", "d.ext4"]), wanted);
}

#[test]
fn what_is_no_ext4_file_system_is_refused_as_a_disk() {
    let folder = folder_with_disk_image(QEMU);
    folder.write("d.tar", &[b'x'; 4096]);
    folder.write("short", b"x");
    let pipe = folder.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    for (name, wanted) in [
        (
            "d.tar",
            "it holds no ext4 file system; smolctl image inject -o NAME.ext4 makes one",
        ),
        ("short", "holds no ext4 file system"),
        ("image", "is no regular file"),
        ("pipe", "is no regular file"),
        ("nowhere", "cannot be read (No such file"),
    ] {
        assert_refused(&folder, start(&folder).args(["--disk", name]), wanted);
    }
}

#[test]
fn port_that_is_taken_is_told_and_leaves_nothing() {
    let folder = folder_with(DEVICE, QEMU);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, sentence) = outcome(start(&folder).args(["--forward", &format!("{port}:22")]));
    assert_eq!(code, 1, "{sentence}");
    let wanted = format!(
        "smolctl: port {port} of this machine is taken; choose another HOSTPORT for --forward\n"
    );
    assert_eq!(sentence, wanted);
    assert_nothing_left(&folder);
}

#[test]
fn port_that_is_taken_before_qemu_asks_for_it_is_told_as_well() {
    let qemu = "echo \"qemu-system-x86_64: -netdev user,id=network: Could not set up host forwarding rule \
        'tcp:127.0.0.1:40022-172.16.0.2:22'\" >&2; exit 1";
    let folder = folder_with(DEVICE, qemu);
    // Its own is any that is free.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (code, sentence) = outcome(start(&folder).args(["--forward", &format!("{free}:22")]));
    assert_eq!(code, 1, "{sentence}");
    assert!(
        sentence.ends_with(
            "smolctl: port 40022 of this machine is taken; choose another HOSTPORT for --forward\n"
        ),
        "{sentence}"
    );
    assert_nothing_left(&folder);
}

#[test]
fn port_that_is_named_twice_is_a_wrong_call() {
    let folder = folder_with(DEVICE, QEMU);
    let mut start = start(&folder);
    start.args(["--forward", "2222:22", "--forward", "2222:80"]);
    assert_refused(
        &folder,
        &mut start,
        "--forward names port 2222 of this machine twice",
    );
}

#[test]
fn key_is_refused_where_no_ssh_server_would_read_it() {
    let folder = folder_with(DEVICE, QEMU);
    folder.write("key.pub", b"ssh-ed25519 AAAA me\n");
    let wanted = "has no ssh server that would read a key; leave --ssh-key out";
    assert_refused(
        &folder,
        start(&folder).args(["--ssh-key", "key.pub"]),
        wanted,
    );
}

#[test]
fn key_that_is_no_regular_file_is_refused_at_once() {
    let folder = folder_with(DEVICE, QEMU);
    let pipe = folder.path("pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
    for name in ["pipe", "image"] {
        let wanted =
            format!("{name} cannot be read (it is no regular file); name a public key file");
        assert_refused(&folder, start(&folder).args(["--ssh-key", name]), &wanted);
    }
}

#[test]
fn command_line_that_the_kernel_would_cut_is_refused() {
    let folder = folder_with_disk_image(WRITING_QEMU);
    let wanted =
        "command line would have 2048 bytes, and a kernel reads 2047; shorten --kernel-append";
    let own = "console=ttyS0 panic=-1 quiet ".len();
    let words = "x".repeat(2048 - own);
    assert_refused(
        &folder,
        start(&folder).args(["--kernel-append", &words]),
        wanted,
    );
    // A key counts, too.
    folder.write("d.ext4", &ext4());
    folder.write(
        "key.pub",
        format!("ssh-rsa {} me\n", "A".repeat(2000)).as_bytes(),
    );
    let mut with_key = start(&folder);
    with_key.args(["--disk", "d.ext4", "--ssh-key", "key.pub"]);
    assert_refused(&folder, &mut with_key, "a kernel reads 2047");
    let mut longest = start(&folder);
    longest.args(["--timeout", "0.3", "--kernel-append", &words[1..]]);
    assert!(
        outcome(&mut longest)
            .1
            .contains("did not answer within 0.3 s")
    );
    assert!(folder.path("qemu.arguments").exists());
}

#[test]
fn guest_that_never_says_a_word_is_asked_all_the_same() {
    let folder = folder_with_disk_image(QEMU);
    folder.write("d.ext4", &ext4());
    let mut start = start(&folder);
    start.args(["--disk", "d.ext4"]);
    let child = start.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(&folder, "", 2);
    assert_eq!(child.wait_with_output().unwrap().stdout, b"a\n");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn guest_that_never_falls_silent_is_asked_all_the_same() {
    let talk = "(while echo '[ *** ] A start job is running'; do sleep 0.2; done >s/vms/a/console.log) &\n\
        echo $! >talk.pid";
    let folder = folder_with_disk_image(&format!("{talk}\n{QEMU}"));
    folder.write("d.ext4", &ext4());
    let mut start = start(&folder);
    start.args(["--disk", "d.ext4"]);
    let child = start.stdout(Stdio::piped()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(&folder, "", 2);
    let output = child.wait_with_output().unwrap();
    let talking = fs::read_to_string(folder.path("talk.pid")).unwrap();
    let talking: i32 = talking.trim().parse().unwrap();
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(talking).unwrap(),
        rustix::process::Signal::KILL,
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"a\n");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}
