//! SHA-256 sums of files, streams and texts on this side.
//!
//! Owns the computing; what a sum looks like is the protocol's ([`Checksum`]).

use crate::cancel::Cancel;
use crate::deadline::Deadline;
use sha2::{Digest, Sha256};
use smolvm_protocol::checksum::Checksum;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;

/// Read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Takes bytes, and has their sum in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summer {
    sum: Sha256,
}

impl Summer {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
    }

    pub(crate) fn finish(self) -> Checksum {
        Checksum(self.sum.finalize().into())
    }
}

impl Write for Summer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sum of `bytes`.
pub(crate) fn sum_of(bytes: impl AsRef<[u8]>) -> Checksum {
    Checksum(Sha256::digest(bytes).into())
}

/// The sum of a file's next `size` bytes, or of those that there are; its position stays.
///
/// # Errors
/// Where it cannot be read twice, and where `cancel` was told so meanwhile; [`io::ErrorKind::TimedOut`] at the
/// deadline.
pub(crate) fn sum_of_file(
    mut file: &File,
    size: u64,
    cancel: &Cancel,
    deadline: Deadline,
) -> io::Result<Checksum> {
    let mut at = file.stream_position()?;
    let end = at.saturating_add(size);
    let mut summer = Summer::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    while at < end {
        if cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        if deadline.has_passed() {
            let late = "its SHA-256 sum has taken too long";
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
        let wanted = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => break,
            Ok(count) => {
                summer.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(summer.finish())
}
