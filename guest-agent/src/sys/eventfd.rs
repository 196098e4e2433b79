//! `eventfd(2)`: a flag that other threads can wait for.
#![expect(unsafe_code, reason = "eventfd has no safe wrapper in std")]

use super::checked;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// A flag: readable once it is raised.
#[derive(Debug)]
pub(crate) struct EventFd(File);

impl EventFd {
    /// A flag that is not raised.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Raises the flag; raising it twice is the same as once.
    pub(crate) fn raise(&self) {
        // It can only fail with EAGAIN, where the counter is full, that is: the flag is up.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Lowers the flag.
    pub(crate) fn lower(&self) {
        // It can only fail with EAGAIN, where the flag is down.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
