//! `smolctl vm list` with many VMs; `scripts/check-promises` prints how long it takes.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[allow(dead_code, reason = "shared with tests that build images")]
#[path = "support/folder.rs"]
mod folder;

use folder::Folder;
use serde_json::{Value, json};
use std::fs;

const VMS: u32 = 200;

/// When this process started, in clock ticks since the machine did.
fn start_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let rest = stat.rsplit(')').next().unwrap();
    rest.split(' ').nth(20).unwrap().parse().unwrap()
}

#[test]
fn two_hundred_vms_are_listed_by_name_each_with_its_state() {
    let folder = Folder::new();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for number in 0..VMS {
        let name = format!("vm-{number:03}");
        let start_time = start_time() + u64::from(number % 2);
        let record = json!({
            "format": 1, "name": name, "phase": "running", "arch": "x86_64", "machine": "microvm",
            "image": "/i", "accelerator": "tcg", "cid": 3 + number, "vsock": "cid",
            "boot_id": boot_id.trim(), "starter": {"pid": 1, "start_time": 1},
            "qemu": {"pid": std::process::id(), "start_time": start_time}, "device": null
        });
        folder.write(
            &format!("s/vms/{name}/vm.json"),
            record.to_string().as_bytes(),
        );
    }
    let output = folder.smolctl(&["vm", "list", "--json"]).output().unwrap();
    assert!(output.status.success());
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), VMS as usize);
    for (number, vm) in listed.iter().enumerate() {
        assert_eq!(vm["name"], format!("vm-{number:03}"));
        assert_eq!(vm["machine"], "microvm");
        match number % 2 {
            0 => assert_eq!(
                (&vm["status"], &vm["cid"]),
                (&json!("running"), &json!(3 + number))
            ),
            _ => assert_eq!(
                (&vm["status"], &vm["cid"]),
                (&json!("stopped"), &Value::Null)
            ),
        }
    }
    let output = folder.smolctl(&["vm", "list"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), VMS as usize + 1);
}
