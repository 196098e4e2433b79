//! A file or link that is not yet under its name.
//!
//! Invariant: the name has what it had before, or all of the new; unless it was renamed, the temporary name goes
//! with this value.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;

/// How every temporary name begins.
const PREFIX: &str = ".smolvm-get-";
/// Names tried before somebody must be making them on purpose.
const MAX_NAMES: usize = 100;

/// A name within an opened directory that goes unless it is renamed.
pub(super) struct Staged {
    directory: OwnedFd,
    temporary: CString,
    is_renamed: bool,
}

impl Staged {
    /// Creates an empty file, mode 0600.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(super) fn file(directory: impl AsFd) -> io::Result<(Self, File)> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let (staged, file) = Self::create(directory, |directory, name| {
            openat(directory, name, flags, mode)
        })?;
        Ok((staged, file.into()))
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// The directory cannot be written, or no link can have that target.
    pub(super) fn link(directory: impl AsFd, target: &OsStr) -> io::Result<Self> {
        let (staged, ()) = Self::create(directory, |directory, name| {
            symlinkat(target, directory, name)
        })?;
        Ok(staged)
    }

    fn create<Made>(
        directory: impl AsFd,
        make: impl Fn(&OwnedFd, &CString) -> Result<Made, Errno>,
    ) -> io::Result<(Self, Made)> {
        let directory = directory.as_fd().try_clone_to_owned()?;
        for _ in 0..MAX_NAMES {
            let name = format!("{PREFIX}{:016x}", RandomState::new().hash_one(0));
            let temporary = CString::new(name).expect("the name has no NUL");
            match make(&directory, &temporary) {
                Ok(made) => {
                    let staged = Self {
                        directory,
                        temporary,
                        is_renamed: false,
                    };
                    return Ok((staged, made));
                }
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives it its name; a file or link of that name is replaced.
    ///
    /// # Errors
    /// The name is a directory's, or the directory cannot be written.
    pub(super) fn rename(mut self, name: &OsStr) -> io::Result<()> {
        renameat(&self.directory, &self.temporary, &self.directory, name)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
    }
}
