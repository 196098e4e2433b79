//! The hidden folders beside an image in which it is written.
//!
//! Owns their names, and who may remove them. Whoever makes one holds a lock on it for as long as it
//! is in use, and the lock goes with the process: one that nobody has locked is a leftover of a
//! builder that was killed. A process number in the name would not do, since builders in different
//! containers can share a folder and do not see each other's.

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, stat};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = ".smolvm-image-";
/// How many letters and digits tempfile puts behind the prefix.
const RANDOM_LETTERS: usize = 6;
/// How often a folder is made anew that a sweeper took before it was locked.
const MAX_TRIES: u32 = 16;

/// A hidden folder, gone once it is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    folder: TempDir,
    /// Held until the folder is gone.
    _lock: File,
}

impl Staging {
    /// Makes a folder in `parent`.
    ///
    /// # Errors
    /// Where it cannot be made or opened.
    pub(super) fn new_in(parent: &Path) -> io::Result<Self> {
        for _ in 0..MAX_TRIES {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM_LETTERS)
                .tempdir_in(parent)?;
            // A sweeper may come between making and locking; what it takes is given up.
            match open_folder(folder.path()) {
                Ok(lock) => {
                    // Where the file system has no locks, no sweeper gets one either.
                    let _ = flock(&lock, FlockOperation::LockExclusive);
                    if is_at(&lock, folder.path()) {
                        return Ok(Self {
                            folder,
                            _lock: lock,
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "others keep removing our temporary folder",
        ))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what killed builders of this user left in `parent`. A leftover that cannot be removed
/// hinders nobody, so failures are not told.
pub(super) fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_our_name) {
            sweep_one(&entry.path());
        }
    }
}

fn sweep_one(path: &Path) {
    let Ok(folder) = open_folder(path) else {
        return;
    };
    let is_ours =
        fstat(&folder).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw());
    let is_free = flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_ours && is_free && is_at(&folder, path) {
        let _ = fs::remove_dir_all(path);
    }
}

fn is_our_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|letters| {
        letters.len() == RANDOM_LETTERS && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

/// Whether `path` still names the opened folder.
fn is_at(folder: &File, path: &Path) -> bool {
    match (fstat(folder), stat(path)) {
        (Ok(opened), Ok(named)) => (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_swept_and_what_is_in_use_or_not_ours_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = Staging::new_in(parent.path()).unwrap();
        fs::write(in_use.path().join("vmlinuz"), b"x").unwrap();
        for name in [".smolvm-image-aB3dE6", ".smolvm-image-mine", "other"] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join("f"), b"x").unwrap();
        }
        let link = parent.path().join(".smolvm-image-link00");
        std::os::unix::fs::symlink("other", &link).unwrap();
        sweep(parent.path());
        assert!(!parent.path().join(".smolvm-image-aB3dE6").exists());
        assert!(in_use.path().join("vmlinuz").exists());
        assert!(link.join("f").exists());
        assert!(parent.path().join(".smolvm-image-mine/f").exists());
        drop(in_use);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 3);
    }
}
