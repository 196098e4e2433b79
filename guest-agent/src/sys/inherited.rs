//! Descriptors that whoever started the agent left open.
#![expect(
    unsafe_code,
    reason = "a descriptor known by its number alone has to be taken over"
)]

use super::{checked, file};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The highest of the standard descriptors.
const STANDARD_ERROR: RawFd = 2;

/// Takes descriptor `number` over.
///
/// To be called at most once for a number, at start, before this process opens anything of its own.
/// Where it is one of the standard descriptors, that one becomes `/dev/null`, and so do the others
/// that are the same file, as a super-server leaves them: no log line may get into a connection, and
/// nothing of ours may get such a number.
///
/// # Errors
/// `EBADF` where it is not open.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer. A number that is not open gives EBADF.
    let fd = checked(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, STANDARD_ERROR + 1) })?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    let taken = unsafe { OwnedFd::from_raw_fd(fd) };
    if number > STANDARD_ERROR {
        // SAFETY: takes no pointer; nobody else's, as this function demands of its caller.
        unsafe { libc::close(number) };
        return Ok(taken);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=STANDARD_ERROR {
        if standard == number || file::is_same(standard, taken.as_raw_fd()) {
            // SAFETY: takes no pointer; std keeps these three open, and never closes them.
            checked(unsafe { libc::dup2(null.as_raw_fd(), standard) })?;
        }
    }
    Ok(taken)
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
