//! Bytes that can be made again, and their checksums, so that nothing large is kept to compare.

use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// `length` bytes that depend on `seed` alone and do not repeat in chunks (xorshift).
pub(crate) struct Pattern {
    state: u64,
    left: u64,
}

impl Pattern {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            left: length,
        }
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for chunk in buffer[..length].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.copy_from_slice(&self.state.to_le_bytes()[..chunk.len()]);
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// Takes bytes, and keeps their number and checksum.
#[derive(Default)]
pub(crate) struct Checksum {
    hash: Sha256,
    pub(crate) bytes: u64,
}

impl Checksum {
    /// What `length` bytes of `source` give.
    pub(crate) fn of(mut source: impl Read) -> io::Result<Self> {
        let mut checksum = Self::default();
        io::copy(&mut source, &mut checksum)?;
        Ok(checksum)
    }

    pub(crate) fn sha256(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
