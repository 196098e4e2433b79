//! System calls that an attacker tries and that have no safe wrapper here.
#![expect(
    unsafe_code,
    reason = "ptrace and its like have no safe wrapper in std"
)]

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

fn checked(returned: i64) -> io::Result<i64> {
    match returned {
        -1 => Err(io::Error::last_os_error()),
        returned => Ok(returned),
    }
}

/// Owns what a call has returned.
fn owned(returned: i64) -> io::Result<OwnedFd> {
    let number = i32::try_from(checked(returned)?).map_err(io::Error::other)?;
    // SAFETY: a descriptor that a call has just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

pub(super) fn signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Traces a process, without stopping it.
pub(super) fn seize(pid: i32) -> io::Result<()> {
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: this request reads and writes no memory.
    checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) }).map(drop)
}

/// Takes a copy of another process's descriptor.
pub(super) fn pidfd_getfd(pid: i32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: takes no pointer.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// Reads a byte of another process's memory. That there is none at that place tells that it may.
pub(super) fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0u8;
    let here = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let there = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 1,
    };
    // SAFETY: `byte` lives through the call, which writes one byte at most; the other address is not this process's.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    match checked(read as i64) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Types a key on the terminal that is standard input.
pub(super) fn push_key() -> io::Result<()> {
    let key = b'x';
    // SAFETY: `key` lives through the call, which reads one byte.
    checked(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const key) }.into()).map(drop)
}

pub(super) fn leave_session() -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::setsid() }.into()).map(drop)
}

/// Has a process run before all that have no such priority: before the next step of whoever wakes it.
pub(crate) fn let_go_first(pid: u32) -> io::Result<()> {
    // All that the kernel's `struct sched_param` has.
    let priority: libc::c_int = 1;
    // SAFETY: `priority` lives through the call, which reads it.
    checked(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            pid,
            libc::SCHED_FIFO,
            &raw const priority,
        )
    })
    .map(drop)
}

/// What happens to the names of a folder.
pub(super) struct Watch(File);

impl Watch {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let watch = owned(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }.into())?;
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let events = libc::IN_ATTRIB | libc::IN_CREATE;
        // SAFETY: a C string that lives through the call.
        let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), events) };
        checked(added.into())?;
        Ok(Self(File::from(watch)))
    }

    /// Waits until something happens.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.0.read(&mut [0; 4096]).map(drop)
    }
}
