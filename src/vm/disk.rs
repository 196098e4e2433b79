//! A VM's own copy of its image's disk.
//!
//! Owns the copying: what a guest writes must not get into the image, which others boot from and whose
//! manifest says what it holds. Where the file system can share blocks, nothing is copied; elsewhere
//! holes stay holes.

use super::VmError;
use crate::cancel::Cancel;
use rustix::fs::{SeekFrom, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are copied at a time.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Copies `from` to `to`, which is replaced.
///
/// # Errors
/// [`VmError::State`] where it cannot be read or written, [`VmError::Cancelled`].
pub(super) fn copy(from: &Path, to: &Path, cancel: &Cancel) -> Result<(), VmError> {
    let state_error = |path: &Path, source: io::Error| VmError::State {
        path: path.to_owned(),
        source,
    };
    let source = File::open(from).map_err(|error| state_error(from, error))?;
    let target = File::create(to).map_err(|error| state_error(to, error))?;
    if ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    match copy_data(&source, &target, cancel) {
        Ok(true) => Ok(()),
        Ok(false) => Err(VmError::Cancelled),
        Err(error) => Err(state_error(to, error)),
    }
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
}
