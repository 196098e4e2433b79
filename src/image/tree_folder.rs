//! A folder as a tree.
//!
//! Owns reading it without following a link, and the rule of owners: what belongs to the owner of the
//! folder itself becomes root's (and its group's becomes group 0), every other owner is kept. So a tree
//! that an ordinary user unpacked is the same as one that root did. Refuses to cross into another file
//! system: a `/proc` that is still mounted is no part of an image.

use super::ImageError;
use super::content::FileContent;
use super::root::{Content, DeviceNumber, RootEntry};
use super::tree::{TreeBuilder, keeps_attribute};
use super::tree_path::clean;
use crate::cancel::Cancel;
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The most that the kernel gives as a list of names or as a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MAX_ATTRIBUTE_BYTES: usize = 65_536;

struct Walk<'run> {
    folder: &'run Path,
    owner: Metadata,
    builder: TreeBuilder,
    /// The entries of files with several names, by device and inode.
    linked: HashMap<(u64, u64), usize>,
    /// For attributes.
    buffer: Vec<u8>,
    cancel: &'run Cancel,
}

/// Reads the folder.
///
/// # Errors
/// [`ImageError::Read`], [`ImageError::Tree`] and [`ImageError::Cancelled`].
pub(super) fn read(folder: &Path, cancel: &Cancel) -> Result<TreeBuilder, ImageError> {
    // Links are followed once, here, so that the walk starts at a folder.
    let canonical = fs::canonicalize(folder).map_err(read_error(folder))?;
    let mut walk = Walk {
        folder: &canonical,
        owner: fs::metadata(folder).map_err(read_error(folder))?,
        builder: TreeBuilder::default(),
        linked: HashMap::new(),
        buffer: vec![0; MAX_ATTRIBUTE_BYTES],
        cancel,
    };
    let mut folders = vec![canonical.clone()];
    let mut is_empty = true;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(read_error(&folder))? {
            let path = entry.map_err(read_error(&folder))?.path();
            is_empty = false;
            if walk.add(&path)?.is_dir() {
                folders.push(path);
            }
        }
    }
    match is_empty {
        true => Err(walk.refused("is empty; name the folder that holds bin, etc and so on")),
        false => Ok(walk.builder),
    }
}

impl Walk<'_> {
    fn add(&mut self, path: &Path) -> Result<FileType, ImageError> {
        if self.cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let metadata = fs::symlink_metadata(path).map_err(read_error(path))?;
        let kind = metadata.file_type();
        let below = path.strip_prefix(self.folder).unwrap_or(path);
        let name = clean(below.as_os_str().as_bytes()).map_err(|reason| self.refused(reason))?;
        if kind.is_dir() && metadata.dev() != self.owner.dev() {
            return Err(self.refused(format!(
                "has another file system mounted at {name}; unmount it, or give the tree as an archive"
            )));
        }
        if kind.is_socket() {
            self.builder.leave_out("sockets", &name);
            return Ok(kind);
        }
        let identity = (metadata.dev(), metadata.ino());
        if let Some(&inode) = self.linked.get(&identity) {
            let named = self.builder.name(&name, inode);
            named.map_err(|reason| self.refused(reason))?;
            return Ok(kind);
        }
        let entry = RootEntry {
            mode: metadata.mode() & 0o7777,
            uid: to_root(metadata.uid(), self.owner.uid()),
            gid: to_root(metadata.gid(), self.owner.gid()),
            attributes: self.attributes(path, &name)?,
            content: content(path, &metadata).map_err(|error| match error {
                Unusable::Read(source) => read_error(path)(source),
                Unusable::Name => self.refused(format!(
                    "has {name}, a link whose target is no UTF-8: give it another one"
                )),
            })?,
        };
        let put = self.builder.put(&name, entry);
        let inode = put.map_err(|reason| self.refused(reason))?;
        if kind.is_file() && metadata.nlink() > 1 {
            self.linked.insert(identity, inode);
        }
        Ok(kind)
    }

    fn attributes(
        &mut self,
        path: &Path,
        name: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, ImageError> {
        let mut kept = BTreeMap::new();
        let length = match llistxattr(path, self.buffer.as_mut_slice()) {
            Ok(length) => length,
            // A file system without them, or one that does not have them for this kind of entry.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => 0,
            Err(errno) => return Err(read_error(path)(errno.into())),
        };
        let names = self.buffer[..length].to_vec();
        for attribute in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let kept_name = std::str::from_utf8(attribute).ok();
            let Some(kept_name) = kept_name.filter(|name| keeps_attribute(name)) else {
                let shown = String::from_utf8_lossy(attribute);
                self.builder
                    .leave_out(&format!("the attribute {shown}"), name);
                continue;
            };
            let length = lgetxattr(
                path,
                OsStr::from_bytes(attribute),
                self.buffer.as_mut_slice(),
            )
            .map_err(|errno| read_error(path)(errno.into()))?;
            kept.insert(kept_name.to_owned(), self.buffer[..length].to_vec());
        }
        Ok(kept)
    }

    fn refused(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Tree {
            path: self.folder.to_owned(),
            reason: reason.into(),
        }
    }
}

enum Unusable {
    Read(io::Error),
    Name,
}

fn content(path: &Path, metadata: &Metadata) -> Result<Content<'static>, Unusable> {
    let kind = metadata.file_type();
    let number = DeviceNumber {
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
    };
    Ok(if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(path).map_err(Unusable::Read)?;
        let target = target.into_os_string().into_string();
        Content::Link(target.map_err(|_| Unusable::Name)?)
    } else if kind.is_char_device() {
        Content::CharacterDevice(number)
    } else if kind.is_block_device() {
        Content::BlockDevice(number)
    } else if kind.is_fifo() {
        Content::Pipe
    } else {
        Content::File(FileContent::Path {
            path: path.to_owned(),
            length: metadata.len(),
        })
    })
}

fn to_root(owner: u32, owner_of_folder: u32) -> u32 {
    if owner == owner_of_folder { 0 } else { owner }
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Read {
        what: "tree's entry",
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn folder_of_another_file_system_is_refused() {
        // Where a kernel's files are, and where they are not.
        let (here, there) = (Path::new("/"), Path::new("/proc"));
        let owner = fs::metadata(here).unwrap();
        if owner.dev() == fs::metadata(there).unwrap().dev() {
            let _ = writeln!(io::stderr(), "\ntest skipped, because /proc is not mounted");
            return;
        }
        let mut walk = Walk {
            folder: here,
            owner,
            builder: TreeBuilder::default(),
            linked: HashMap::new(),
            buffer: vec![0; MAX_ATTRIBUTE_BYTES],
            cancel: &Cancel::new().unwrap(),
        };
        let error = walk.add(there).unwrap_err().to_string();
        assert!(
            error.contains("has another file system mounted at /proc; unmount it"),
            "{error}"
        );
    }

    #[test]
    fn owner_and_group_of_the_folder_become_roots_each_by_itself() {
        assert_eq!((to_root(7, 7), to_root(8, 7), to_root(0, 7)), (0, 8, 0));
    }
}
