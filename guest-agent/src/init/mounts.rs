//! The file systems of the kernel, links and nodes of `/dev`, and the console.
//!
//! Owns what a program finds below `/proc`, `/sys`, `/dev`, `/run` and `/tmp`. What is mounted
//! already stays as it is. `/tmp` gets a file system of its own only where the root is in memory:
//! on a disk it stays there, since package managers fill it with more than memory holds.

use crate::log;
use crate::sys::{file, machine, mount};
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

/// A mount point, its file system's type, flags and options.
type Mount = (&'static CStr, &'static CStr, mount::Flags, &'static CStr);

const NO_DEVICES: mount::Flags = libc::MS_NOSUID | libc::MS_NODEV;
const NO_PROGRAMS: mount::Flags = NO_DEVICES | libc::MS_NOEXEC;

const MOUNTS: [Mount; 7] = [
    (c"/proc", c"proc", NO_PROGRAMS, c""),
    (c"/sys", c"sysfs", NO_PROGRAMS, c""),
    (c"/dev", c"devtmpfs", libc::MS_NOSUID, c"mode=0755"),
    (
        c"/dev/pts",
        c"devpts",
        libc::MS_NOSUID | libc::MS_NOEXEC,
        c"gid=5,mode=0620,ptmxmode=0666",
    ),
    (c"/dev/shm", c"tmpfs", NO_DEVICES, c"mode=1777"),
    (c"/run", c"tmpfs", NO_DEVICES, c"mode=0755"),
    (c"/sys/fs/cgroup", c"cgroup2", NO_PROGRAMS, c""),
];

/// What no init can do without; the agent cannot even be started.
const NEEDED: [&CStr; 3] = [c"/dev", c"/proc", c"/sys"];

const TMP: Mount = (c"/tmp", c"tmpfs", NO_DEVICES, c"mode=1777");

/// Nodes that a kernel without devtmpfs leaves to us: path, mode, major and minor number.
const NODES: [(&CStr, u32, u32, u32); 9] = [
    (c"/dev/console", 0o600, 5, 1),
    (c"/dev/full", 0o666, 1, 7),
    (c"/dev/kmsg", 0o600, 1, 11),
    (c"/dev/null", 0o666, 1, 3),
    (c"/dev/ptmx", 0o666, 5, 2),
    (c"/dev/random", 0o666, 1, 8),
    (c"/dev/tty", 0o666, 5, 0),
    (c"/dev/urandom", 0o666, 1, 9),
    (c"/dev/zero", 0o666, 1, 5),
];

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Mounts `/proc`, and gives what the kernel was told there: all else may depend on it.
pub(super) fn command_line() -> String {
    mount_one(&MOUNTS[0]);
    file::read_text("/proc/cmdline").unwrap_or_default()
}

/// A kernel mounts the root read-only unless it is told `rw`: only `ro` means it so.
pub(super) fn make_root_writable(command_line: &str) {
    if command_line
        .split_ascii_whitespace()
        .any(|word| word == "ro")
        || !mount::is_read_only(c"/")
    {
        return;
    }
    if let Err(error) = mount::make_writable(c"/") {
        log::failure(&format_args!("cannot make the root writable: {error}"));
    }
}

/// Gives a root in memory a `/tmp` that programs of any user can write to.
pub(super) fn mount_tmp() {
    if mount::is_in_memory(c"/") {
        mount_one(&TMP);
    }
}

/// Mounts what is the kernel's and completes `/dev`. What fails is told; the guest goes on without it.
pub(super) fn mount_all() {
    for mount in &MOUNTS {
        mount_one(mount);
    }
    for (path, mode, major, minor) in NODES {
        // It may be there already; without the right to make nodes, nothing can be done.
        let _ = machine::make_device(path, mode, major, minor);
    }
    for (path, target) in LINKS {
        // It may be there already.
        let _ = symlink(target, path);
    }
}

/// Has process 1, and so its children, speak on the console, which the kernel finds for it only where
/// the image has the node. Where that fails, its streams stay as they are.
pub(super) fn speak_on_console() {
    let console = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/console");
    let _ = console.and_then(file::replace_standard_streams);
}

/// A folder that the root needs and has not, and that cannot be made there.
pub(super) fn missing_place() -> Option<&'static CStr> {
    NEEDED.into_iter().find(|path| !has_place(path))
}

/// Whether nothing goes without that folder of the root.
pub(super) fn is_needed(path: &CStr) -> bool {
    NEEDED.contains(&path)
}

/// Makes a folder, where that is possible; says whether it is there now.
pub(super) fn has_place(path: &CStr) -> bool {
    // It is there already, or the root is read-only.
    let _ = file::make_directory(path);
    file::open_directory(path).is_ok()
}

fn mount_one(&(target, kind, flags, options): &Mount) {
    // Where it has none, the mount fails, and that is told.
    let _ = has_place(target);
    if is_mount_point(target) {
        return;
    }
    match mount::mount(kind, target, kind, flags, options) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
            let shown = path_of(target).display();
            log::failure(&format_args!("cannot mount {shown}: {error}"));
        }
        _ => {}
    }
}

/// Whether another file system begins at `path` than its parent is on.
pub(super) fn is_mount_point(path: &CStr) -> bool {
    let path = path_of(path);
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    path.parent().is_some_and(|up| device(up) != device(path))
}

/// A path of our tables, which are all ASCII.
fn path_of(path: &CStr) -> &Path {
    Path::new(path.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn folder_is_made_where_it_is_missing_and_a_file_in_its_place_is_none() {
        let base = std::env::temp_dir().join(format!("smolvm-places-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        fs::write(base.join("file"), "").unwrap();
        let has_place =
            |name| has_place(&CString::new(base.join(name).into_os_string().into_vec()).unwrap());
        assert!(has_place("new"));
        assert!(has_place("new"));
        assert!(!has_place("file"));
        assert!(!has_place("absent/new"));
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn mount_points_are_told_from_folders() {
        assert!(is_mount_point(c"/proc"));
        assert!(!is_mount_point(c"/proc/self"));
    }
}
