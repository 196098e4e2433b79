//! A registered VM whose port leads to its ssh server, with stand-ins for QEMU, the device, the agent and ssh.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use stand_ins::{DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, outcome, start};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use wait::soon;

/// Starts the VM `a` with a stand-in agent that answers once, and never again.
fn start_with_port(folder: &Folder, forward: &str) {
    let mut start = start(folder);
    let child = start.args(["--forward", forward]);
    let child = child.stdout(Stdio::null()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(
        folder,
        "smolvm-guest-agent: listening on vsock port 1024\n",
        1,
    );
    assert!(child.wait_with_output().unwrap().status.success());
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn ssh_server_of_a_vm_is_known_by_the_port_that_leads_to_it() {
    let folder = folder_with(DEVICE, QEMU);
    let ssh = folder.write(
        "bin/ssh",
        b"#!/bin/sh\necho \"$@\" >ssh.arguments\nexit 255\n",
    );
    fs::set_permissions(ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let port = free_port();
    start_with_port(&folder, &format!("{port}:22"));

    let run = ["run", "a", "--ssh-identity", "key", "-c", "true"];
    let (code, said) = outcome(&mut folder.smolctl(&run));
    assert_eq!(code, 125, "{said}");
    let going_on = format!("going on by ssh to root@127.0.0.1:{port}");
    assert!(said.contains(&going_on), "{said}");
    let arguments = fs::read_to_string(folder.path("ssh.arguments")).unwrap();
    let expected = format!("-i key -p {port} ");
    assert!(arguments.contains(&expected), "{arguments}");
    assert!(
        arguments.contains("-- root@127.0.0.1 exec sh -c"),
        "{arguments}"
    );

    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn port_that_leads_elsewhere_is_no_ssh_server() {
    let folder = folder_with(DEVICE, QEMU);
    start_with_port(&folder, &format!("{}:80", free_port()));
    let run = ["run", "a", "--channel", "ssh", "-c", "true"];
    let (code, said) = outcome(&mut folder.smolctl(&run));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("name it with --ssh"), "{said}");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}
