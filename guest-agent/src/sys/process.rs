//! Processes after their start: pidfds, kills, waiting.
#![expect(
    unsafe_code,
    reason = "pidfd_open, kill and waitpid have no safe wrapper in std"
)]

use super::{checked, uninterrupted};
use smolvm_protocol::response::Usage;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// A process id; of a child that we started also its group's and its session's, since it began with
/// `setsid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(pub(super) libc::pid_t);

#[cfg(test)]
impl Pid {
    /// A number that no child has.
    pub(crate) fn of_this_process() -> Self {
        Self(std::process::id() as libc::pid_t)
    }
}

/// A descriptor that is readable once the process has exited (Linux 5.3).
///
/// Sound for a child of ours that is not reaped: its number cannot be somebody else's.
pub(crate) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let returned = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) };
    let fd = checked(libc::c_int::try_from(returned).unwrap_or(-1))?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `SIGKILL` to every process of the group that `leader` leads.
///
/// Sound while the leader is not reaped: until then the group's number is not given anew.
pub(crate) fn kill_group(leader: Pid) {
    // SAFETY: takes no pointer. It can only fail where nobody of the group is left.
    unsafe { libc::kill(-leader.0, libc::SIGKILL) };
}

/// Sends a signal to the same.
///
/// # Errors
/// `EPERM` where none of it may get it from us.
pub(crate) fn signal_group(leader: Pid, signal: u8) -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::kill(-leader.0, libc::c_int::from(signal)) })?;
    Ok(())
}

/// How a child has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Its exit status, or minus the number of the signal that killed it.
    pub(crate) exit_code: i32,
    pub(crate) usage: Usage,
}

/// Reaps a child that has exited; `None` where it runs still.
///
/// # Errors
/// `ECHILD` where somebody else has reaped it.
pub(crate) fn reap(pid: Pid) -> io::Result<Option<Ending>> {
    let mut status = 0;
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    let reaped = uninterrupted(|| {
        // SAFETY: `status` and `used` live through the call.
        checked(unsafe { libc::wait4(pid.0, &raw mut status, libc::WNOHANG, used.as_mut_ptr()) })
    })?;
    if reaped == 0 {
        return Ok(None);
    }
    // SAFETY: zeroed is a valid value, and the call has filled it.
    let used = unsafe { used.assume_init() };
    Ok(Some(Ending {
        exit_code: exit_code(status),
        usage: Usage {
            user_ms: milliseconds(used.ru_utime),
            system_ms: milliseconds(used.ru_stime),
            max_rss_kib: used.ru_maxrss as u64,
        },
    }))
}

/// Whether a child is stopped by a signal. It stays so for whoever else asks.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    let id = pid.0 as libc::id_t;
    let asked = uninterrupted(|| {
        // SAFETY: `found` lives through the call.
        checked(unsafe { libc::waitid(libc::P_PID, id, found.as_mut_ptr(), options) })
    });
    // SAFETY: zeroed is a valid value, which the call leaves where the child is not stopped.
    let found = unsafe { found.assume_init() };
    // SAFETY: the call fills that field, or has left it zero.
    asked.is_ok() && unsafe { found.si_pid() } == pid.0
}

fn milliseconds(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1000 + time.tv_usec as u64 / 1000
}

/// An exit status, or minus the number of the signal that killed the process.
fn exit_code(status: libc::c_int) -> i32 {
    if libc::WIFSIGNALED(status) {
        -libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

/// What [`reap_any`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// A child has ended, with its exit status or minus the number of the signal that killed it.
    Child(Pid, i32),
    /// Every child runs.
    NoneYet,
    /// There is no child.
    NoChildren,
}

/// Reaps any child that has exited, adopted ones among them: for process 1 alone, since it takes
/// the exit code from whoever else waits in this process.
pub(crate) fn reap_any() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` lives through the call.
    let reaped =
        uninterrupted(|| checked(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }));
    match reaped {
        Ok(0) => Reaped::NoneYet,
        Ok(pid) => Reaped::Child(Pid(pid), exit_code(status)),
        // ECHILD is the only error that is left.
        Err(_) => Reaped::NoChildren,
    }
}

/// Sends a signal to every process but this one and process 1.
pub(crate) fn signal_all(signal: libc::c_int) {
    // SAFETY: takes no pointer. It can only fail where there is no other process.
    unsafe { libc::kill(-1, signal) };
}

/// Sends `SIGKILL` to a process known by its number alone, which may be somebody else's by now.
pub(crate) fn kill_number(number: libc::pid_t) {
    if number > 1 {
        // SAFETY: takes no pointer.
        unsafe { libc::kill(number, libc::SIGKILL) };
    }
}
