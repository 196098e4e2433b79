//! What an image gives to every user before the agent is asked for anything.

use super::super::own_agent::OwnAgent;
use super::told;
use crate::guest::{Checked, same};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The kernel's own views: what may be done there is the kernel's to say.
const KERNELS: [&str; 2] = ["/proc", "/sys"];

/// Devices of everybody's: `full`, `null`, `ptmx`, `random`, `tty`, `urandom`, `zero`.
const OPEN_DEVICES: [&str; 8] = [
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts/ptmx",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const EVERYBODYS: u32 = 0o002;

pub(crate) fn files(_: &OwnAgent) -> Checked {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/")];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?
        {
            let path = entry.map_err(told)?.path();
            // It may be a file of the cases, gone by now.
            let Ok(status) = fs::symlink_metadata(&path) else {
                continue;
            };
            if status.is_dir() && !KERNELS.iter().any(|kernels| path == Path::new(kernels)) {
                folders.push(path.clone());
            }
            if is_open(&path, &status) {
                found.push(format!("{} {:o}", path.display(), status.mode()));
            }
        }
    }
    found.sort();
    same("files that give a user more", &found, &Vec::new())
}

fn is_open(path: &Path, status: &fs::Metadata) -> bool {
    let mode = status.mode();
    let kind = status.file_type();
    if kind.is_symlink() || KERNELS.iter().any(|kernels| path.starts_with(kernels)) {
        return false;
    }
    let is_device = kind.is_char_device() || kind.is_block_device();
    if is_device && OPEN_DEVICES.iter().any(|device| path == Path::new(device)) {
        return false;
    }
    let is_everybodys = mode & EVERYBODYS != 0 && !(kind.is_dir() && mode & STICKY != 0);
    is_everybodys || (kind.is_file() && mode & SET_ID != 0)
}

pub(crate) fn settings(_: &OwnAgent) -> Checked {
    for (name, wanted) in [
        ("fs/protected_fifos", "1"),
        ("fs/protected_hardlinks", "1"),
        ("fs/protected_regular", "1"),
        ("fs/protected_symlinks", "1"),
        // Linux 6.2.
        ("dev/tty/legacy_tiocsti", "0"),
    ] {
        match fs::read_to_string(Path::new("/proc/sys").join(name)) {
            Ok(value) => same(name, &value.trim_end(), &wanted)?,
            Err(_) if name.starts_with("dev/") => println!("this kernel has no {name}"),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(())
}
