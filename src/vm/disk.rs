//! A VM's own copy of a disk: its image's, or one of the caller's.
//!
//! Owns what passes for a disk of the caller's, and the copying: what a guest writes must not get into what
//! others boot from. Where the file system can share blocks, nothing is copied; elsewhere holes stay holes.

use super::VmError;
use crate::cancel::Cancel;
use crate::image::{Image, Variant};
use rustix::fs::{SeekFrom, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the superblock of ext2, ext3 and ext4 has its two magic bytes, and which they are.
const EXT_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xEF]);

/// Bytes that are copied at a time.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// The absolute path of a disk of the caller's: a file that is an ext4 file system from its beginning, for an image
/// that leads to it.
///
/// # Errors
/// [`VmError::NoDiskDriver`], [`VmError::UnsuitableDisk`].
pub(super) fn find(path: &Path, image: &Image) -> Result<PathBuf, VmError> {
    if !may_have_driver(image) {
        let image = image.folder.clone();
        return Err(VmError::NoDiskDriver { image });
    }
    let refuse = |reason: String| VmError::UnsuitableDisk {
        path: path.to_owned(),
        reason,
    };
    let io_error = |error: io::Error| refuse(format!("cannot be read ({error})"));
    let found = path.canonicalize().map_err(io_error)?;
    // Asked before it is opened, for which a pipe would have us wait.
    if !found.metadata().map_err(io_error)?.is_file() {
        return Err(refuse("is no regular file".to_owned()));
    }
    let (position, magic) = EXT_MAGIC;
    let mut bytes = [0; 2];
    let file = File::open(&found).map_err(io_error)?;
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) if bytes == magic => Ok(found),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(io_error(error)),
        _ => Err(refuse("holds no ext4 file system".to_owned())),
    }
}

/// Whether the kernel can get to a disk. A minimal image has what leads to the agent alone; one without modules
/// has a kernel that needs none, and of a layout that is not ours nothing is known.
fn may_have_driver(image: &Image) -> bool {
    let manifest = &image.manifest;
    manifest.variant.parse() != Ok(Variant::Minimal)
        || manifest.modules.is_empty()
        || manifest.modules.iter().any(|name| name == "virtio_blk")
}

/// Copies `from` to `to`, which is replaced. What was copied of it goes again where that fails: a full file
/// system would not even let the VM's directory be put aside.
///
/// # Errors
/// [`VmError::DiskCopy`] where it cannot be read or written, [`VmError::Cancelled`].
pub(super) fn copy(from: &Path, to: &Path, cancel: &Cancel) -> Result<(), VmError> {
    let copied = open_and_copy(from, to, cancel);
    if !matches!(copied, Ok(true)) {
        // It may not have been made.
        let _ = std::fs::remove_file(to);
    }
    match copied {
        Ok(true) => Ok(()),
        Ok(false) => Err(VmError::Cancelled),
        Err(source) => Err(VmError::DiskCopy {
            from: from.to_owned(),
            to: to.to_owned(),
            source,
        }),
    }
}

fn open_and_copy(from: &Path, to: &Path, cancel: &Cancel) -> io::Result<bool> {
    let source = File::open(from)?;
    let target = File::create(to)?;
    if ioctl_ficlone(&target, &source).is_ok() {
        return Ok(true);
    }
    copy_data(&source, &target, cancel)
}

/// Says whether all of it was copied.
fn copy_data(source: &File, target: &File, cancel: &Cancel) -> io::Result<bool> {
    let length = source.metadata()?.len();
    ftruncate(target, length)?;
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let mut position = 0;
    while position < length {
        let begin = match seek(source, SeekFrom::Data(position)) {
            Ok(begin) => begin,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(source, SeekFrom::Hole(begin))?;
        position = begin;
        while position < end {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            let chunk = &mut buffer[..(end - position).min(CHUNK_BYTES) as usize];
            source.read_exact_at(chunk, position)?;
            target.write_all_at(chunk, position)?;
            position += chunk.len() as u64;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn copy_is_the_same_and_keeps_its_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(&[7; 3 << 20], 20 << 20).unwrap();
        fs::write(&to, b"older and other").unwrap();
        copy(&from, &to, &Cancel::new().unwrap()).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 8 << 20);
    }

    #[test]
    fn copy_that_fails_or_is_given_up_leaves_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let cancel = Cancel::new().unwrap();
        fs::write(&to, b"older").unwrap();
        let failed = copy(folder.path(), &to, &cancel).unwrap_err();
        assert!(matches!(failed, VmError::DiskCopy { .. }) && !to.exists());
        fs::write(&from, [7; 4096]).unwrap();
        cancel.cancel();
        // Shared blocks are there before anybody can give up.
        if let Err(given_up) = copy(&from, &to, &cancel) {
            assert!(matches!(given_up, VmError::Cancelled) && !to.exists());
        }
    }
}
