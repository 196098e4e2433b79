//! An upload under way: temporary file, owner, mode, rename, all within one opened directory.
//!
//! Invariant: the target is the old file or the whole new one, and unless [`StagedFile::commit`]
//! has renamed it, the temporary file goes with this value. The directory is opened once: a guest
//! user who owns it can swap names in it, but never make the agent change what they may not.
//!
//! A hidden one is in a directory of its own, which nobody else may search: whoever it is given to could write
//! to it before it gets its mode, and with a set-group-ID bit become a group that they are not in.

use crate::sys::directory::{self, Name};
use crate::sys::{file, machine};
use smolvm_protocol::request::Owner;
use std::ffi::{CStr, CString};
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, fchown};

/// How every temporary name begins.
const PREFIX: &str = ".smolvm-put-";

/// Names tried before somebody must be making them on purpose.
const MAX_NAMES: usize = 100;

/// A file that is not yet at its target.
#[derive(Debug)]
pub(crate) struct StagedFile {
    directory: OwnedFd,
    temporary: Name,
    target: Name,
    file: File,
    renamed: bool,
    /// The directory of its own, which has the temporary name as well.
    hidden: Option<OwnedFd>,
}

impl StagedFile {
    /// Creates the temporary file beside `target`, an absolute path that names no directory.
    ///
    /// # Errors
    /// The directory cannot be opened or written, or a path has a NUL byte.
    pub(crate) fn create(target: &[u8], is_hidden: bool) -> io::Result<Self> {
        let split = target
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |at| at + 1);
        let (parent, name) = target.split_at(split);
        let directory = file::open_directory(&CString::new(parent)?)?;
        Self::create_within(directory, Name::new(name)?, is_hidden)
    }

    /// Creates the temporary file beside `target`, a name within `directory`.
    pub(crate) fn create_within(
        directory: OwnedFd,
        target: Name,
        is_hidden: bool,
    ) -> io::Result<Self> {
        let mut hidden = None;
        let mut created = None;
        let temporary = temporary_name(&mut |name| {
            if is_hidden {
                directory::make_within(directory.as_fd(), name)?;
            }
            let file = match is_hidden {
                true => directory::open_own(directory.as_fd(), name)
                    .and_then(|holder| file::create_new(hidden.insert(holder), name)),
                false => file::create_new(&directory, name),
            };
            if is_hidden && file.is_err() {
                let _ = file::remove_folder_within(&directory, name);
            }
            created = Some(file?);
            Ok(())
        })?;
        let file = created.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            directory,
            temporary,
            target,
            file,
            renamed: false,
            hidden,
        })
    }

    /// The directory that has the temporary file.
    fn holder(&self) -> &OwnedFd {
        self.hidden.as_ref().unwrap_or(&self.directory)
    }

    /// Appends to the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file to whom it shall belong.
    pub(crate) fn give_to(&self, owner: Owner) -> io::Result<()> {
        fchown(&self.file, owner.uid, owner.gid)
    }

    /// Gives the file its mode, where one is asked for (else it stays 0600), then its name. The mode comes last of what is done to the file,
    /// since a write and a change of its owner clear set-user-ID bits. With `sync`, both file and name are on disk then: where only the
    /// name fails to get there, the target is the new file already.
    pub(crate) fn commit(mut self, mode: Option<u32>, sync: bool) -> io::Result<()> {
        if let Some(mode) = mode {
            self.file.set_permissions(Permissions::from_mode(mode))?;
        }
        let mut directory = None;
        if sync {
            self.file.sync_all()?;
            // One that is open by `O_PATH` alone cannot be synced.
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            let opened = directory::open_within(self.directory.as_fd(), c".", flags)?;
            directory = Some(File::from(opened));
        }
        let (temporary, target) = (self.temporary.as_c_str(), self.target.as_c_str());
        file::rename(self.holder(), temporary, &self.directory, target)?;
        self.renamed = true;
        directory.map_or(Ok(()), |directory| directory.sync_all())
    }
}

/// Puts a symbolic link to `target` in place of what `name` is within `directory`, by the same way.
pub(crate) fn replace_by_link(
    directory: BorrowedFd<'_>,
    name: &Name,
    target: &CStr,
) -> io::Result<()> {
    let temporary = temporary_name(&mut |name| directory::link_within(directory, name, target))?;
    let temporary = temporary.as_c_str();
    let renamed = file::rename(directory, temporary, directory, name.as_c_str());
    if renamed.is_err() {
        let _ = file::remove_within(directory, temporary);
    }
    renamed
}

/// Has `create` make something of a name that nothing has, and tells the name.
fn temporary_name(create: &mut dyn FnMut(&CStr) -> io::Result<()>) -> io::Result<Name> {
    for _ in 0..MAX_NAMES {
        let name = Name::new(format!("{PREFIX}{:016x}", machine::random()).as_bytes())?;
        match create(name.as_c_str()) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let temporary = self.temporary.as_c_str();
        if !self.renamed {
            let _ = file::remove_within(self.holder(), temporary);
        }
        if self.hidden.is_some() {
            let _ = file::remove_folder_within(&self.directory, temporary);
        }
    }
}
