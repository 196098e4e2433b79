//! Stand-ins for QEMU, the vsock device and a guest's agent, and what a failed start must not leave.

use crate::folder::Folder;
use crate::wait::{is_running, soon};
use smolvm_host::vm::CidPool;
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// Stands in for the device: makes its socket's file, writes its id, and lives on.
pub(crate) const DEVICE: &str = "echo $$ >device.pid.new; mv device.pid.new device.pid\n\
    : >\"${2##*,socket=}\"; exec sleep 60";
/// Stands in for QEMU: writes its id and lives on.
pub(crate) const QEMU: &str = "echo $$ >qemu.pid.new; mv qemu.pid.new qemu.pid; exec sleep 60";

/// A folder with an image and both stand-ins, which leave their ids in it.
pub(crate) fn folder_with(device: &str, qemu: &str) -> Folder {
    let folder = Folder::new();
    folder.write_image_inputs();
    let image = folder.path("image");
    assert!(folder.image_build(&image).status().unwrap().success());
    // smolctl's own has the stand-ins alone.
    let path = std::env::var("PATH").unwrap();
    let here = format!("cd {}\nPATH='{path}'\n", folder.path("").display());
    for (name, script) in [("vhost-device-vsock", device), ("qemu-system-x86_64", qemu)] {
        let script = format!("#!/bin/sh\n{here}{script}");
        let path = folder.write(&format!("bin/{name}"), script.as_bytes());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

pub(crate) fn start(folder: &Folder) -> Command {
    let mut command = folder.smolctl(&["vm", "start", "--tcg", "--vsock", "vhost-user"]);
    command.args(["--image", "image", "--name", "a"]);
    command
}

pub(crate) fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

pub(crate) fn pid(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path(name))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Neither a VM nor its processes nor its CID are left.
pub(crate) fn assert_nothing_left(folder: &Folder) {
    assert_eq!(folder.names("s/vms"), [".lock"]);
    for name in ["device.pid", "qemu.pid"] {
        let pid = pid(folder, name);
        assert!(pid.is_empty() || soon(|| !is_running(&pid)), "{name} lives");
    }
    assert!(soon(|| lowest_free_cid(folder) == 3), "its CID is taken");
}

/// The CID that the next VM of this folder would have.
pub(crate) fn lowest_free_cid(folder: &Folder) -> u32 {
    let pool = CidPool::at(&folder.path("cids.pool"));
    pool.allocate().unwrap().cid().number()
}

/// Stands in for a guest: says `words` on the console, and is asked for its version `pings` times.
pub(crate) fn answer_pings(folder: &Folder, words: &str, pings: usize) {
    answer_pings_as("a", folder, words, pings);
}

/// The same for a VM of another name; more can be answered on the socket.
pub(crate) fn answer_pings_as(
    name: &str,
    folder: &Folder,
    words: &str,
    pings: usize,
) -> UnixListener {
    folder.write(&format!("s/vms/{name}/console.log"), words.as_bytes());
    let device = UnixListener::bind(folder.path(&format!("s/vms/{name}/vsock.sock"))).unwrap();
    for _ in 0..pings {
        answer_ping(&device);
    }
    device
}

fn answer_ping(device: &UnixListener) {
    let pong = br#"{"ok": true, "op": "pong", "agent_version": "test-9", "proto": 1}"#;
    answer(device, pong);
}

/// Takes one connection and answers whatever it asks.
pub(crate) fn answer(device: &UnixListener, json: &[u8]) {
    let mut guest = BufReader::new(device.accept().unwrap().0);
    let mut line = String::new();
    guest.read_line(&mut line).unwrap();
    assert_eq!(line, "CONNECT 1024\n");
    guest.get_mut().write_all(b"OK 1\n").unwrap();
    let frame = encode_frame(FrameType::JSON, json);
    guest.get_mut().write_all(&frame).unwrap();
}
