//! Where a root goes: which form the output's name asks for, and that it appears whole or not at all.
//!
//! Owns the checks of the target before anything is read, the writing beside it and the rename.
//! Refuses to touch the tree that it is made from, and files and folders that hold something.

use super::ext4::{self, Ext4Tools};
use super::layout::check_disk_mib;
use super::root::Root;
use super::staging::{Staging, sweep};
use super::{ImageError, folder_output, tar_output};
use crate::cancel::Cancel;
use flate2::{Compression, GzBuilder};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Endings that ask for a form which is not written here.
const UNKNOWN_ENDINGS: [&str; 11] = [
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".tzst",
    ".tar.bz2",
    ".tbz2",
    ".zip",
    ".cpio",
    ".img",
    ".qcow2",
    ".squashfs",
];

/// The forms that a root can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A folder of files.
    Folder,
    /// A tar archive.
    Tar,
    /// A gzipped tar archive.
    TarGzip,
    /// An ext4 file system.
    Ext4,
}

impl OutputKind {
    /// The form that a name's ending asks for; a folder where it asks for none.
    ///
    /// # Errors
    /// [`ImageError::WrongCall`] for the ending of a form that is not written here.
    pub fn of(path: &Path) -> Result<Self, ImageError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends_with = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends_with(&[".tar"]) {
            Ok(Self::Tar)
        } else if ends_with(&[".tar.gz", ".tgz"]) {
            Ok(Self::TarGzip)
        } else if ends_with(&[".ext4"]) {
            Ok(Self::Ext4)
        } else if ends_with(&UNKNOWN_ENDINGS) {
            Err(ImageError::WrongCall {
                reason: format!(
                    "{} asks for a form that is not written here: let it end in .tar, .tar.gz or .ext4, or \
                     name a folder",
                    path.display()
                ),
            })
        } else {
            Ok(Self::Folder)
        }
    }
}

/// A target that was found good.
#[derive(Debug)]
pub(super) struct Output {
    kind: OutputKind,
    target: PathBuf,
    disk_mib: Option<u32>,
}

impl Output {
    /// Looks at the target for what is made from `tree`.
    ///
    /// # Errors
    /// [`ImageError::WrongCall`] where it is or lies in the tree, [`ImageError::Write`] where something
    /// else stands there.
    pub(super) fn new(
        target: &Path,
        tree: &Path,
        disk_mib: Option<u32>,
    ) -> Result<Self, ImageError> {
        let kind = OutputKind::of(target)?;
        if disk_mib.is_some() && kind != OutputKind::Ext4 {
            return Err(ImageError::WrongCall {
                reason: format!(
                    "{} is no disk, so a disk's size means nothing: let it end in .ext4",
                    target.display()
                ),
            });
        }
        if let Some(size) = disk_mib {
            check_disk_mib(size).map_err(|reason| ImageError::WrongCall { reason })?;
        }
        let absolute = std::path::absolute(target).map_err(write_error(target))?;
        check_is_outside(&absolute, tree)?;
        let output = Self {
            kind,
            target: absolute,
            disk_mib,
        };
        output.check_replaceable()?;
        Ok(output)
    }

    /// Writes the root. The folder above the target is made where it is missing.
    ///
    /// # Errors
    /// [`ImageError::Write`], [`ImageError::Cancelled`], and [`ImageError::WrongCall`] for a folder that
    /// only root can make; nothing is left behind, and what stood there stays.
    pub(super) fn write(&self, root: &Root<'_>, cancel: &Cancel) -> Result<(), ImageError> {
        if self.kind == OutputKind::Folder {
            folder_output::check(root)?;
        }
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(write_error(parent))?;
        sweep(parent);
        let staging = Staging::new_in(parent).map_err(write_error(parent))?;
        let staged = staging.path().join("output");
        let written = match self.kind {
            OutputKind::Folder => write_folder(root, &staged, cancel),
            OutputKind::Tar => write_file(&staged, |file| tar_output::write(root, file, cancel)),
            OutputKind::TarGzip => write_file(&staged, |file| {
                let mut packed = GzBuilder::new()
                    .mtime(0)
                    .operating_system(255)
                    .write(file, Compression::default());
                tar_output::write(root, &mut packed, cancel)?;
                packed.finish().map(drop)
            }),
            OutputKind::Ext4 => return self.write_disk(root, parent, &staged, cancel),
        };
        written.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => ImageError::Cancelled,
            _ => write_error(&self.target)(source),
        })?;
        self.put(&staged)
    }

    fn write_disk(
        &self,
        root: &Root<'_>,
        parent: &Path,
        staged: &Path,
        cancel: &Cancel,
    ) -> Result<(), ImageError> {
        let scratch = Staging::new_in(parent).map_err(write_error(parent))?;
        let size_mib = self.disk_mib.unwrap_or_else(|| ext4::roomy_mib(root));
        Ext4Tools::find(cancel)?.write(root, size_mib, staged, scratch.path(), cancel)?;
        let finish = || {
            let file = File::open(staged)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()
        };
        finish().map_err(write_error(&self.target))?;
        if cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        self.put(staged)
    }

    /// Puts what was written in its place. What has come to stand there meanwhile is left, too.
    fn put(&self, staged: &Path) -> Result<(), ImageError> {
        match renameat_with(CWD, staged, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // The last two: a file system that cannot refuse by itself.
            Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => {}
            Err(errno) => return Err(write_error(&self.target)(errno.into())),
        }
        self.check_replaceable()?;
        fs::rename(staged, &self.target).map_err(write_error(&self.target))
    }

    /// Nothing, or what goes without a loss: an empty folder for a folder, an empty file for a file.
    fn check_replaceable(&self) -> Result<(), ImageError> {
        let occupied = |what: &str| {
            let source = io::Error::other(format!(
                "{what} stands there; name another output or remove it"
            ));
            write_error(&self.target)(source)
        };
        let metadata = match fs::symlink_metadata(&self.target) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(write_error(&self.target)(error)),
        };
        match self.kind {
            OutputKind::Folder if metadata.is_dir() => {
                let mut entries = fs::read_dir(&self.target).map_err(write_error(&self.target))?;
                match entries.next() {
                    None => Ok(()),
                    Some(_) => Err(occupied("a folder that holds something")),
                }
            }
            OutputKind::Folder => Err(occupied("something else than a folder")),
            _ if metadata.is_file() && metadata.len() == 0 => Ok(()),
            _ if metadata.is_file() => Err(occupied("a file that holds something")),
            _ => Err(occupied("something else than a file")),
        }
    }
}

fn check_is_outside(target: &Path, tree: &Path) -> Result<(), ImageError> {
    let Ok(tree) = fs::canonicalize(tree) else {
        // The reader says it better.
        return Ok(());
    };
    // What is there already may be reached through links; the rest is yet to be made.
    let above = target
        .ancestors()
        .find_map(|above| fs::canonicalize(above).ok());
    match above.is_some_and(|above| above.starts_with(&tree)) {
        false => Ok(()),
        true => Err(ImageError::WrongCall {
            reason: format!(
                "the output {} is in the tree that it is made from, or is that tree: name one outside of it",
                target.display()
            ),
        }),
    }
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    write(&mut file)?;
    file.flush()?;
    let file = file.get_ref();
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()
}

fn write_folder(root: &Root<'_>, folder: &Path, cancel: &Cancel) -> io::Result<()> {
    fs::create_dir(folder)?;
    folder_output::write(root, folder, cancel)
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Write { path, source }
}
