//! A root as files in a folder.
//!
//! Owns the order in which an entry gets what it has: content, owner, attributes, mode, time; and
//! directories last, from the inside, since they may forbid writing. Who is not root can make trees
//! that are all root's: they become the caller's own, which the reader of folders turns round again.

use super::ImageError;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use super::tar_output::copy;
use crate::cancel::Cancel;
use crate::printable::printable;
use rustix::fs::{
    AtFlags, CWD, FileType, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

/// Refuses what this process cannot make.
///
/// # Errors
/// [`ImageError::WrongCall`].
pub(super) fn check(root: &Root<'_>) -> Result<(), ImageError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match root.iter().find(|(_, entry)| needs_root(entry)) {
        None => Ok(()),
        Some((path, _)) => Err(ImageError::WrongCall {
            reason: format!(
                "only root can write {path} of the tree into a folder, with its owner and kind: run this as \
                 root, or name an output that ends in .tar"
            ),
        }),
    }
}

fn needs_root(entry: &RootEntry<'_>) -> bool {
    let is_device = matches!(
        entry.content,
        Content::CharacterDevice(_) | Content::BlockDevice(_)
    );
    let is_privileged = entry
        .attributes
        .keys()
        .any(|name| name.starts_with("security."));
    (entry.uid, entry.gid) != (0, 0) || is_device || is_privileged
}

/// Writes the root into `folder`, which is empty.
///
/// # Errors
/// The file system's, those of files that can no longer be read, and `Interrupted` where it was
/// cancelled.
pub(super) fn write(root: &Root<'_>, folder: &Path, cancel: &Cancel) -> io::Result<()> {
    for (path, entry) in root {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let make = || -> io::Result<()> {
            make_entry(path, entry, folder, cancel)?;
            match entry.content {
                Content::Directory | Content::HardLink(_) => Ok(()),
                _ => set_metadata(&below(folder, path), entry),
            }
        };
        make().map_err(|error| at(path, error))?;
    }
    let is_directory = |entry: &RootEntry<'_>| matches!(entry.content, Content::Directory);
    let directories = root.iter().rev().filter(|(_, entry)| is_directory(entry));
    for (path, entry) in directories {
        set_metadata(&below(folder, path), entry).map_err(|error| at(path, error))?;
    }
    match root.contains_key("/") {
        true => Ok(()),
        false => set_metadata(folder, &RootEntry::of_root(0o755, Content::Directory)),
    }
}

/// Says which of many entries it was, unless that is of no interest.
fn at(path: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, format!("{}: {error}", printable(path))),
    }
}

fn make_entry(path: &str, entry: &RootEntry<'_>, folder: &Path, cancel: &Cancel) -> io::Result<()> {
    let place = below(folder, path);
    match &entry.content {
        Content::Directory if path == "/" => Ok(()),
        Content::Directory => fs::create_dir(place),
        Content::Link(target) => symlink(target, place),
        Content::HardLink(original) => fs::hard_link(below(folder, original), place),
        Content::CharacterDevice(number) => {
            make_node(&place, FileType::CharacterDevice, Some(*number))
        }
        Content::BlockDevice(number) => make_node(&place, FileType::BlockDevice, Some(*number)),
        Content::Pipe => make_node(&place, FileType::Fifo, None),
        Content::File(content) => copy(path, content, &mut File::create_new(place)?, cancel),
    }
}

fn make_node(place: &Path, kind: FileType, number: Option<DeviceNumber>) -> io::Result<()> {
    let device = number.map_or(0, |number| makedev(number.major, number.minor));
    Ok(mknodat(CWD, place, kind, 0o600.into(), device)?)
}

fn set_metadata(place: &Path, entry: &RootEntry<'_>) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        lchown(place, Some(entry.uid), Some(entry.gid))?;
    }
    for (name, value) in &entry.attributes {
        lsetxattr(place, name.as_str(), value, XattrFlags::empty()).map_err(|errno| {
            io::Error::other(format!("the attribute {} ({errno})", printable(name)))
        })?;
    }
    if !matches!(entry.content, Content::Link(_)) {
        fs::set_permissions(place, Permissions::from_mode(entry.mode))?;
    }
    let beginning = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: beginning,
        last_modification: beginning,
    };
    Ok(utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn below(folder: &Path, path: &str) -> std::path::PathBuf {
    folder.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_devices_and_capabilities_need_root_and_nothing_else_does() {
        let pipe = || RootEntry::of_root(0o4755, Content::Pipe);
        let with = |name: &str| {
            let mut entry = pipe();
            entry.attributes.insert(name.to_owned(), Vec::new());
            entry
        };
        let number = DeviceNumber { major: 1, minor: 3 };
        let device = |content| RootEntry { content, ..pipe() };
        for entry in [
            RootEntry { uid: 1, ..pipe() },
            RootEntry { gid: 1, ..pipe() },
            device(Content::CharacterDevice(number)),
            device(Content::BlockDevice(number)),
            with("security.capability"),
        ] {
            assert!(needs_root(&entry), "{entry:?}");
        }
        for entry in [pipe(), with("user.note")] {
            assert!(!needs_root(&entry), "{entry:?}");
        }
    }
}
