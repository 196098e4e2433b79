//! `smolctl vm list`, and a VM as JSON.

use super::say;
use crate::failure::{Failure, LOCAL};
use crate::output::print_line;
use serde_json::{Value, json};
use smolvm_host::vm::{Registry, Status, VmRecord};

pub(super) fn list_vms(as_json: bool) -> Result<u8, Failure> {
    let registry = Registry::open().map_err(Failure::local)?;
    let mut code = 0;
    let mut records = Vec::new();
    for record in registry.list()? {
        match record {
            Ok(record) => records.push(record),
            Err(error) => {
                code = LOCAL;
                say(&error.to_string());
            }
        }
    }
    if as_json {
        print_line(&Value::from_iter(records.iter().map(json_of)).to_string())?;
        return Ok(code);
    }
    let row = |[name, status, arch, accelerator, cid, pid, image]: [&str; 7]| {
        print_line(&format!(
            "{name:<16} {status:<9} {arch:<8} {accelerator:<9} {cid:<5} {pid:<8} {image}"
        ))
    };
    row(["NAME", "STATUS", "ARCH", "WITH", "CID", "PID", "IMAGE"])?;
    for record in &records {
        let accelerator = record
            .accelerator
            .map(|accelerator| accelerator.to_string());
        let (cid, pid) = cid_and_pid(record);
        let [cid, pid] = [cid.map(i64::from), pid.map(i64::from)]
            .map(|number| number.map_or("-".to_owned(), |number| number.to_string()));
        row([
            &record.name,
            &status_of(record),
            record.arch.name(),
            accelerator.as_deref().unwrap_or("-"),
            &cid,
            &pid,
            &record.image.display().to_string(),
        ])?;
    }
    Ok(code)
}

pub(super) fn json_of(record: &VmRecord) -> Value {
    let (cid, pid) = cid_and_pid(record);
    json!({
        "name": record.name,
        "status": record.status(),
        "arch": record.arch,
        "machine": record.machine,
        "accelerator": record.accelerator,
        "cid": cid,
        "target": cid.and(record.address()).map(|address| address.to_string()),
        "pid": pid,
        "image": record.image.display().to_string(),
        "disk": record.disk.as_ref().map(|disk| disk.display().to_string()),
    })
}

fn status_of(record: &VmRecord) -> String {
    match json!(record.status()) {
        Value::String(status) => status,
        other => other.to_string(),
    }
}

/// What a VM that has stopped had is another's by now.
fn cid_and_pid(record: &VmRecord) -> (Option<u32>, Option<i32>) {
    match record.status() {
        Status::Stopped => (None, None),
        _ => (Some(record.cid), record.qemu.map(|qemu| qemu.pid)),
    }
}
