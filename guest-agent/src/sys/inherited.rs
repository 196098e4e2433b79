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

/// Takes the descriptors `numbers` over, each of which is named once.
///
/// To be called once, at start, before this process opens anything of its own. A standard descriptor
/// among them, or one that is the same file, as a super-server leaves them, becomes `/dev/null`: no log
/// line may get into a connection, and nothing of ours may get such a number.
///
/// # Errors
/// `EBADF`, and which number it was, where one is not open; none is taken then.
pub(crate) fn take(numbers: &[RawFd]) -> Result<Vec<OwnedFd>, (RawFd, io::Error)> {
    // All of them first: what is opened below must not be mistaken for one that was named.
    for &number in numbers {
        // SAFETY: takes no pointer. A number that is not open gives EBADF.
        checked(unsafe { libc::fcntl(number, libc::F_GETFD) }).map_err(|error| (number, error))?;
    }
    let mut taken = Vec::new();
    for &number in numbers {
        taken.push(take_one(number).map_err(|error| (number, error))?);
    }
    Ok(taken)
}

fn take_one(number: RawFd) -> io::Result<OwnedFd> {
    let is_standard = number <= STANDARD_ERROR;
    let kept = if is_standard {
        // SAFETY: takes no pointer.
        checked(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, STANDARD_ERROR + 1) })?
    } else {
        // SAFETY: takes no pointer.
        checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        number
    };
    // SAFETY: open, as just seen; nobody else's, as `take` demands of its caller.
    let taken = unsafe { OwnedFd::from_raw_fd(kept) };
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=STANDARD_ERROR {
        if standard == number || file::is_same(standard, kept) {
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
