//! Descriptors that whoever started the agent left open.
#![expect(
    unsafe_code,
    reason = "a descriptor known by its number alone has to be taken over"
)]

use super::checked;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Takes descriptor `number` over.
///
/// To be called at most once for a number, at start, before this process opens anything of its own.
///
/// # Errors
/// `EBADF` where it is not open.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: open, as just seen; nobody else's, as this function demands of its caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks everything above standard error close-on-exec, so that no command inherits it.
pub(crate) fn close_all_on_exec() {
    // By the raw call, which musl does not wrap; Linux 5.11 and later.
    // SAFETY: takes no pointer.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked == 0 {
        return;
    }
    // SAFETY: takes no pointer.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    for number in 3..RawFd::try_from(limit).unwrap_or(1024).min(65_536) {
        // SAFETY: takes no pointer; a number that is not open gives EBADF.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
