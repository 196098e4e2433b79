//! SHA-256 sums of what passes on this side.
//!
//! Owns the computing; what a sum looks like is the protocol's ([`Checksum`]).

use sha2::{Digest, Sha256};
use smolvm_protocol::checksum::Checksum;
use std::io::{self, Write};

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
