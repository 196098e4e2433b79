//! System calls that the standard library has not: a file a family.
//!
//! The only place with `unsafe`; each file opts in at its top. Borrowed descriptors go in, owned
//! ones come out, raw ones do not leave. No policy.

pub(crate) mod directory;
pub(crate) mod entry;
pub(crate) mod epoll;
pub(crate) mod eventfd;
pub(crate) mod file;
pub(crate) mod inherited;
pub(crate) mod interface;
pub(crate) mod limit;
pub(crate) mod machine;
mod memory;
pub(crate) mod mount;
pub(crate) mod outgoing;
pub(crate) mod process;
pub(crate) mod session;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod terminal;
pub(crate) mod thread;
#[cfg(target_env = "musl")]
mod unwinder;

use std::io;

/// What a call returned, or `errno` where that is -1.
fn checked(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// A count of bytes that a call returned, or `errno` where that is -1.
fn checked_length(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call that a signal interrupted (`EINTR`).
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
