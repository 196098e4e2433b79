//! An image folder appears whole, or not at all.
//!
//! Owns the writing beside the target and the rename into place. Refuses to touch a folder
//! that is no image of ours. Dropped before [`StagedFolder::commit`], it leaves nothing behind.

use super::ImageError;
use super::manifest::{FileSum, MANIFEST_NAME, Manifest};
use super::staging::{Staging, sweep};
use crate::cancel::Cancel;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder that is being written beside its target.
#[derive(Debug)]
pub struct StagedFolder {
    target: PathBuf,
    staging: Staging,
}

impl StagedFolder {
    /// Begins a folder that will stand at `target`; the folder above it is made where it is missing,
    /// and freed of what killed builders left in it.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`] and [`ImageError::HoldsMore`] where something else stands there,
    /// [`ImageError::Write`].
    pub fn begin(target: &Path) -> Result<Self, ImageError> {
        let target = std::path::absolute(target).map_err(write_error(target))?;
        let (Some(parent), Some(_)) = (target.parent(), target.file_name()) else {
            return Err(ImageError::NotAnImage { path: target });
        };
        check_replaceable(&target)?;
        fs::create_dir_all(parent).map_err(write_error(parent))?;
        sweep(parent);
        let staging = Staging::new_in(parent).map_err(write_error(parent))?;
        Ok(Self { target, staging })
    }

    /// Writes a file of the folder, readable by all whatever the umask says.
    ///
    /// # Errors
    /// [`ImageError::Write`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let write = || {
            let mut file = File::create_new(self.staging.path().join(name))?;
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()
        };
        write().map_err(write_error(&self.target.join(name)))
    }

    /// Has a file of the folder written by `write`, which gets its path and that of an empty folder for
    /// whatever it needs meanwhile.
    ///
    /// # Errors
    /// What `write` gives, [`ImageError::Write`] and [`ImageError::Cancelled`].
    pub fn write_by(
        &self,
        name: &str,
        cancel: &Cancel,
        write: impl FnOnce(&Path, &Path) -> Result<(), ImageError>,
    ) -> Result<FileSum, ImageError> {
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        let scratch = Staging::new_in(parent).map_err(write_error(parent))?;
        let path = self.staging.path().join(name);
        write(&path, scratch.path())?;
        let finish = || {
            let file = File::open(&path)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()?;
            FileSum::of_reader(cancel.reader(file))
        };
        finish().map_err(|error| write_error(&self.target.join(name))(error).unless(cancel))
    }

    /// Puts the folder in place of its target; an older image there is removed.
    ///
    /// # Errors
    /// [`ImageError::NotAnImage`] and [`ImageError::HoldsMore`] where something else has come to stand
    /// there, [`ImageError::Write`].
    pub fn commit(self) -> Result<(), ImageError> {
        let staging = self.staging.path();
        let commit = || {
            fs::set_permissions(staging, Permissions::from_mode(0o755))?;
            match renameat_with(CWD, staging, CWD, &self.target, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                Err(Errno::INVAL) if !self.target.exists() => fs::rename(staging, &self.target),
                Err(Errno::EXIST | Errno::INVAL) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(errno) => Err(errno.into()),
            }
        };
        match commit() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.replace(),
            Err(error) => Err(write_error(&self.target)(error)),
        }
    }

    /// Swaps the folder with the older image, which then goes with the temporary folder's drop.
    fn replace(self) -> Result<(), ImageError> {
        check_replaceable(&self.target)?;
        let staging = self.staging.path();
        match renameat_with(CWD, staging, CWD, &self.target, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => self.replace_in_two_steps(),
            Err(errno) => Err(write_error(&self.target)(errno.into())),
        }
    }

    /// For file systems that cannot swap: for a moment nothing stands at the target.
    fn replace_in_two_steps(self) -> Result<(), ImageError> {
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        let aside = Staging::new_in(parent).map_err(write_error(parent))?;
        let old = aside.path().join("old");
        fs::rename(&self.target, &old)
            .and_then(|()| fs::rename(self.staging.path(), &self.target))
            .map_err(|error| {
                let _ = fs::rename(&old, &self.target);
                write_error(&self.target)(error)
            })
    }
}

/// Nothing, an empty folder, or an image of ours may be replaced.
fn check_replaceable(target: &Path) -> Result<(), ImageError> {
    let not_ours = || ImageError::NotAnImage {
        path: target.to_owned(),
    };
    let metadata = match fs::symlink_metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(write_error(target)(error)),
    };
    if !metadata.is_dir() {
        return Err(not_ours());
    }
    let is_empty = fs::read_dir(target)
        .map_err(write_error(target))?
        .next()
        .is_none();
    if is_empty {
        return Ok(());
    }
    let manifest = Manifest::read(target).map_err(|_| not_ours())?;
    check_holds_no_more(target, &manifest)
}

/// What goes with an older image is what its manifest lists, and nothing of anybody else's.
fn check_holds_no_more(target: &Path, manifest: &Manifest) -> Result<(), ImageError> {
    for entry in fs::read_dir(target).map_err(write_error(target))? {
        let entry = entry.map_err(write_error(target))?;
        let kind = entry.file_type().map_err(write_error(target))?;
        let name = entry.file_name();
        let is_listed = name
            .to_str()
            .is_some_and(|name| name == MANIFEST_NAME || manifest.files.contains_key(name));
        if !is_listed || kind.is_dir() {
            let path = target.to_owned();
            return Err(ImageError::HoldsMore { path, name });
        }
    }
    Ok(())
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Write { path, source }
}
