//! Stage one: from an initramfs to the root on a disk, where the kernel's command line has `root=`.
//!
//! Owns what the command line says of the root, the wait for its disk, and the switch: what is mounted
//! goes along, the initramfs's files go away, and the root's own init is executed in this process's
//! place. Refuses to search for a root by label or identifier. Returns only where that is not possible,
//! with what to do about it.

use super::mounts::{has_place, is_mount_point, is_needed};
use super::timings::{self, Timings};
use crate::log;
use crate::sys::{entry, file, mount, signal, spawn};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, chroot};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long the disk may take to appear once the modules are loaded.
const DEVICE_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks for it. It mostly is there at the first: to have the kernel's messages about
/// devices sent here would be more code than this saves looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Where the root is mounted within the initramfs.
const NEW_ROOT: &CStr = c"/new_root";

/// What goes along to the root, with all that is mounted below, and to where.
const KEPT: [(&CStr, &CStr); 4] = [
    (c"/dev", c"/new_root/dev"),
    (c"/proc", c"/new_root/proc"),
    (c"/run", c"/new_root/run"),
    (c"/sys", c"/new_root/sys"),
];

/// What is tried first where nothing is said about the file system.
const USUAL_KIND: &str = "ext4";

/// What a kernel starts where nothing is said about it, with the name by which our images know it.
const INITS: [&str; 5] = ["/init", "/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// How a failure names all of them, and all file systems.
const ANY_INIT: &str = "/init, /sbin/init or any other init";
const ANY_KIND: &str = "any file system of this kernel's";

/// What the kernel's command line says of the root (`kernel-parameters.txt`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Root<'a> {
    pub(super) device: &'a str,
    pub(super) kinds: Option<&'a str>,
    pub(super) options: &'a str,
    pub(super) read_only: bool,
    pub(super) init: Option<&'a str>,
}

impl<'a> Root<'a> {
    /// `None` where it has no `root=`. The last of several words of a kind counts; what follows `--`
    /// is the init's.
    pub(super) fn parse(command_line: &'a str) -> Option<Self> {
        let mut root = Self::default();
        let words = command_line.split_ascii_whitespace();
        for word in words.take_while(|word| *word != "--") {
            match word.split_once('=') {
                Some(("root", device)) => root.device = device,
                Some(("rootfstype", kinds)) => root.kinds = Some(kinds),
                Some(("rootflags", options)) => root.options = options,
                Some(("init", init)) => root.init = Some(init),
                None if word == "ro" || word == "rw" => root.read_only = word == "ro",
                _ => {}
            }
        }
        (!root.device.is_empty()).then_some(root)
    }

    /// Mounts the root and has its init take this process over.
    pub(super) fn switch(&self, timings: &mut Timings) -> RootError {
        match self.try_switch(timings) {
            Ok(error) | Err(error) => error,
        }
    }

    fn try_switch(&self, timings: &mut Timings) -> Result<RootError, RootError> {
        self.wait_for_device()?;
        self.mount()?;
        timings.mark(timings::ROOT_MOUNTED);
        timings.save();
        if let Some((from, _)) = KEPT
            .iter()
            .find(|(from, to)| is_needed(from) && !has_place(to))
        {
            return Err(RootError::NoPlace(from));
        }
        enter().map_err(RootError::Enter)?;
        Ok(self.execute_init(execute))
    }

    fn wait_for_device(&self) -> Result<(), RootError> {
        let device = || self.device.to_owned();
        if !self.device.starts_with("/dev/") {
            return Err(RootError::NotByName(device()));
        }
        let deadline = Instant::now() + DEVICE_LIMIT;
        loop {
            match fs::metadata(self.device) {
                Ok(found) if found.file_type().is_block_device() => return Ok(()),
                Ok(_) => return Err(RootError::NoDisk(device())),
                Err(_) if is_never_a_disk(self.device) => return Err(RootError::NoDisk(device())),
                Err(_) if Instant::now() >= deadline => return Err(RootError::Absent(device())),
                Err(_) => thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    fn mount(&self) -> Result<(), RootError> {
        let known = file::read_text("/proc/filesystems").unwrap_or_default();
        let kinds = match self.kinds {
            Some(kinds) => kinds.split(',').collect(),
            None => kinds_for_disks(&known),
        };
        // It may be there already.
        let _ = file::make_directory(NEW_ROOT);
        let mut last = io::ErrorKind::NotFound.into();
        for kind in &kinds {
            match self.mount_as(kind) {
                Ok(()) if !mount::is_in_memory(NEW_ROOT) => return Ok(()),
                Ok(()) => last = io::ErrorKind::InvalidInput.into(),
                Err(error) => last = error,
            }
        }
        Err(RootError::Mount {
            device: self.device.to_owned(),
            kinds: self.kinds.unwrap_or(ANY_KIND).to_owned(),
            error: last,
        })
    }

    /// Read-only, too, where the disk itself is.
    fn mount_as(&self, kind: &str) -> io::Result<()> {
        let [device, kind, options] = [self.device, kind, self.options].map(CString::new);
        let (device, kind, options) = (device?, kind?, options?);
        let mount = |flags| mount::mount(&device, NEW_ROOT, &kind, flags, &options);
        match mount(if self.read_only { libc::MS_RDONLY } else { 0 }) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EROFS)) => {
                mount(libc::MS_RDONLY)
            }
            mounted => mounted,
        }
    }

    /// Goes through the inits as a kernel does; one that is named has to work.
    fn execute_init(&self, mut execute: impl FnMut(&str) -> io::Error) -> RootError {
        if let Some(init) = self.init {
            return RootError::Init {
                init: init.to_owned(),
                error: execute(init),
            };
        }
        let mut last = io::ErrorKind::NotFound.into();
        for init in INITS {
            let error = execute(init);
            if error.kind() != io::ErrorKind::NotFound {
                log::failure(&format_args!("cannot execute {init} of the root: {error}"));
                last = error;
            }
        }
        RootError::Init {
            init: ANY_INIT.to_owned(),
            error: last,
        }
    }
}

/// Whether a kernel means something of its own by that name: the initramfs itself, a network's root, or
/// whatever the boot loader said.
fn is_never_a_disk(device: &str) -> bool {
    let name = device.strip_prefix("/dev/").unwrap_or_default();
    name.starts_with("ram") || ["cifs", "nfs", "root"].contains(&name)
}

/// Names of file systems that are on disks, from the text of `/proc/filesystems`: those that need none
/// are marked there.
fn kinds_for_disks(known: &str) -> Vec<&str> {
    let mut kinds = vec![USUAL_KIND];
    let others = known.lines().filter_map(|line| line.strip_prefix('\t'));
    kinds.extend(others.filter(|kind| *kind != USUAL_KIND));
    kinds
}

/// Makes the mounted root the root of everything.
fn enter() -> io::Result<()> {
    for (from, to) in KEPT {
        if is_mount_point(from) {
            take_along(from, to)?;
        }
    }
    remove_below(Path::new("/"), fs::metadata("/")?.dev());
    std::env::set_current_dir("/new_root")?;
    mount::move_mount(c".", c"/")?;
    chroot(".")?;
    std::env::set_current_dir("/")
}

fn take_along(from: &CStr, to: &CStr) -> io::Result<()> {
    // It may be there already, or not to be made: a root that is read-only.
    let _ = file::make_directory(to);
    mount::move_mount(from, to).or_else(|error| {
        let shown = from.to_str().unwrap_or_default();
        log::failure(&format_args!("the root has no {shown} to use: {error}"));
        mount::detach(from)
    })
}

/// Removes what a folder holds on its own file system, `device`: an initramfs's memory is given back by
/// that alone.
fn remove_below(folder: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.dev() == device && found.is_dir() => {
                remove_below(&path, device);
                // The place of another file system stays.
                let _ = fs::remove_dir(&path);
            }
            Ok(found) if found.dev() == device => {
                let _ = fs::remove_file(&path);
            }
            _ => {}
        }
    }
}

/// Executes an init with the arguments and the environment that this one has from the kernel; returns
/// why that was not possible.
fn execute(init: &str) -> io::Error {
    let mut arguments = Vec::new();
    for word in iter::once(init.into()).chain(super::words_for_an_init(entry::words().into_iter()))
    {
        match CString::new(word.into_vec()) {
            Ok(word) => arguments.push(word),
            Err(error) => return error.into(),
        }
    }
    spawn::execute_in_place(&arguments, &signal::ignored())
}

/// Says that the root has no folder of that name, which may be the root that the kernel has mounted, too.
pub(super) fn no_place(path: &CStr, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = path.to_str().unwrap_or_default();
    write!(
        formatter,
        "the root has no folder {shown}, and none can be made there: put an empty one into it, or \
         give the machine that disk writable, and the kernel no 'ro'"
    )
}

/// Why there is no root to go on with.
#[derive(Debug)]
pub(super) enum RootError {
    NotByName(String),
    Absent(String),
    NoDisk(String),
    Mount {
        device: String,
        kinds: String,
        error: io::Error,
    },
    NoPlace(&'static CStr),
    Enter(io::Error),
    Init {
        init: String,
        error: io::Error,
    },
}

impl fmt::Display for RootError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotByName(device) => write!(
                formatter,
                "root={device} names no disk: say root=/dev/NAME, such as root=/dev/vda"
            ),
            Self::Absent(device) => write!(
                formatter,
                "{device} has not appeared within {} s: give the machine that disk, and the image \
                 the module that drives it, such as virtio_blk",
                DEVICE_LIMIT.as_secs()
            ),
            Self::NoDisk(device) => write!(
                formatter,
                "root={device} is no disk: name one, such as root=/dev/vda, or leave root= out to stay \
                 in the initramfs"
            ),
            Self::Mount {
                device,
                kinds,
                error,
            } => write!(
                formatter,
                "cannot mount {device} as {kinds}: {error}; look at what is on that disk, at \
                 rootfstype= and rootflags=, and at the image's modules"
            ),
            Self::NoPlace(path) => no_place(path, formatter),
            Self::Enter(error) => write!(formatter, "cannot switch to the root: {error}"),
            Self::Init { init, error } => write!(
                formatter,
                "cannot execute {init} of the root: {error}; put an init there, or name it by init="
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_says_which_root_and_how() {
        assert_eq!(
            Root::parse(
                "quiet root=/dev/vda1 rootfstype=xfs,ext4 ro rootflags=noatime,a=b init=/a"
            ),
            Some(Root {
                device: "/dev/vda1",
                kinds: Some("xfs,ext4"),
                options: "noatime,a=b",
                read_only: true,
                init: Some("/a"),
            })
        );
        assert_eq!(Root::parse("quiet ro init=/init\n"), None);
        assert_eq!(Root::parse("quiet -- root=/dev/vda"), None);
    }

    #[test]
    fn last_word_counts_and_a_root_is_writable_unless_it_says_otherwise() {
        let read_only = |line| Root::parse(line).unwrap().read_only;
        assert!(!read_only("root=/dev/vda"));
        assert!(!read_only("ro root=/dev/vda rw"));
        assert!(read_only("rw root=/dev/vda ro"));
        assert_eq!(Root::parse("root=/a root=/b").unwrap().device, "/b");
    }

    #[test]
    fn init_that_cannot_be_executed_is_passed_over_and_one_that_is_named_is_not() {
        let tried = |line: &str| {
            let mut tried = Vec::new();
            let error = Root::parse(line).unwrap().execute_init(|init| {
                tried.push(init.to_owned());
                match init {
                    "/sbin/init" => io::ErrorKind::PermissionDenied.into(),
                    _ => io::ErrorKind::NotFound.into(),
                }
            });
            let RootError::Init { init, error } = error else {
                panic!("{error}");
            };
            (tried, init, error.kind())
        };
        let (all, init, why) = tried("root=/dev/vda");
        assert_eq!(all, INITS);
        assert_eq!((&*init, why), (ANY_INIT, io::ErrorKind::PermissionDenied));
        let (one, init, why) = tried("root=/dev/vda init=/sbin/init");
        assert_eq!(one, ["/sbin/init"]);
        assert_eq!(
            (&*init, why),
            ("/sbin/init", io::ErrorKind::PermissionDenied)
        );
    }

    #[test]
    fn root_that_is_not_named_by_its_device_is_refused() {
        let root = Root::parse("root=PARTUUID=0123-02").unwrap();
        assert!(matches!(
            root.wait_for_device(),
            Err(RootError::NotByName(_))
        ));
        let root = Root::parse("root=/dev/null").unwrap();
        assert!(matches!(root.wait_for_device(), Err(RootError::NoDisk(_))));
        let began = Instant::now();
        let root = Root::parse("root=/dev/nfs").unwrap();
        assert!(matches!(root.wait_for_device(), Err(RootError::NoDisk(_))));
        assert!(began.elapsed() < DEVICE_LIMIT);
        assert!(is_never_a_disk("/dev/ram0") && !is_never_a_disk("/dev/vda"));
    }

    #[test]
    fn file_systems_that_need_a_disk_are_tried_and_ext4_first() {
        let known = "nodev\tsysfs\nnodev\ttmpfs\n\text3\n\text4\nnodev\tproc\n\tvfat\n";
        assert_eq!(kinds_for_disks(known), ["ext4", "ext3", "vfat"]);
        assert_eq!(kinds_for_disks(""), ["ext4"]);
    }

    #[test]
    fn removal_takes_all_of_one_file_system_and_follows_no_link() {
        let base = std::env::temp_dir().join(format!("smolvm-root-{}", std::process::id()));
        let (kept, removed) = (base.join("kept"), base.join("removed"));
        fs::create_dir_all(removed.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::write(removed.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, removed.join("a/link")).unwrap();
        std::os::unix::fs::symlink("/proc", removed.join("link")).unwrap();
        let device = fs::metadata(&removed).unwrap().dev();
        remove_below(&removed, device + 1);
        assert!(removed.join("a/b/file").exists());
        remove_below(&removed, device);
        assert_eq!(fs::read_dir(&removed).unwrap().count(), 0);
        assert!(kept.join("file").exists());
        fs::remove_dir_all(&base).unwrap();
    }
}
