//! Kernel modules, and whether a host can reach the guest at all.
//!
//! Owns the image's list, `/etc/smolvm/modules`: a file of `/lib/modules` a line, in load order. The
//! kernel unpacks compressed ones by itself (`finit_module(2)`).

use crate::log;
use crate::sys::{file, machine};
use std::fs::{self, File};
use std::io;

const LIST: &str = "/etc/smolvm/modules";
const FOLDER: &str = "/lib/modules";

/// There while the driver is, built in or loaded.
const TRANSPORT: &str = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport";

/// Loads what the list names; each failure is told, and the next one is tried. No list is an empty
/// one.
pub(super) fn load_all() {
    let list = match file::read_text(LIST) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return log::failure(&format_args!("cannot read {LIST}: {error}")),
    };
    for name in list.split_ascii_whitespace() {
        if let Err(error) = load(name) {
            log::failure(&format_args!("cannot load {name}: {error}"));
        }
    }
}

fn load(name: &str) -> io::Result<()> {
    let file = File::open(format!("{FOLDER}/{name}"))?;
    match machine::load_module(&file, is_compressed(name)) {
        // Loaded or built in.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        loaded => loaded,
    }
}

fn is_compressed(name: &str) -> bool {
    !name.ends_with(".ko")
}

/// Whether there is a driver for a vsock device; says so where the machine has no such device, and
/// only peers within the guest could reach the agent.
pub(super) fn has_vsock_transport() -> bool {
    let Ok(mut devices) = fs::read_dir(TRANSPORT) else {
        return false;
    };
    let is_device = |name: &[u8]| {
        let digits = name.strip_prefix(b"virtio").unwrap_or_default();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    if !devices
        .any(|entry| entry.is_ok_and(|entry| is_device(entry.file_name().as_encoded_bytes())))
    {
        log::failure(&"this machine has no vsock device: the host cannot reach the agent");
    }
    true
}
