//! The processes of a session, as `/proc` tells them (`proc_pid_stat(5)`, field 6).
//!
//! Sound while the session's leader is not reaped: until then the session's number is not given anew.
//! A member is held by a pidfd and looked at once more before it gets a signal, so that none ever hits a
//! number given anew. Without `/proc`, nobody is found.
#![expect(
    unsafe_code,
    reason = "kill and pidfd_send_signal have no safe wrapper in std"
)]

use super::process::{self, Pid};
use super::{checked, directory, file};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

/// Names of `/proc` that are read at a time.
const LISTING_BYTES: usize = 4096;

/// The longest `stat`: a name of 64 bytes and 51 numbers.
const STAT_BYTES: usize = 2048;

/// How long a session is gone through until nobody is found: who forks while it is may be missed once, and
/// who is in uninterruptible sleep does not go.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// Between two rounds; killed processes take that to be gone.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);

/// What killing a session has open at a time: `/proc`, a member, and what is told of it.
pub(crate) const DESCRIPTORS: usize = 3;

/// A process of a session, not yet a zombie.
struct Member {
    pid: Pid,
    group: libc::pid_t,
}

/// Whether the leader's session has another process that is alive.
pub(crate) fn has_others(leader: Pid) -> bool {
    let mut found = false;
    for_each(leader, &mut |member| found |= member.pid != leader);
    found
}

/// Kills every other process of the leader's session.
pub(crate) fn kill_others(leader: Pid) {
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let mut found = false;
        for_each(leader, &mut |member| {
            if member.pid != leader {
                found = true;
                kill(leader, &member);
            }
        });
        if !found || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
}

fn kill(leader: Pid, member: &Member) {
    let Ok(held) = process::open_pidfd(member.pid) else {
        return;
    };
    if find(leader, member.pid).is_some() {
        let no_details = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: no details are given, which a null pointer says.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                held.as_raw_fd(),
                libc::SIGKILL,
                no_details,
                0,
            )
        };
    }
}

/// Sends a signal to the process group `group`, if a process of the leader's session is in it.
///
/// # Errors
/// `ESRCH` where there is none.
pub(crate) fn signal_group(leader: Pid, group: libc::pid_t, signal: u8) -> io::Result<()> {
    let mut found = false;
    for_each(leader, &mut |member| found |= member.group == group);
    if !found {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: takes no pointer.
    checked(unsafe { libc::kill(-group, libc::c_int::from(signal)) })?;
    Ok(())
}

/// Goes through the session.
fn for_each(leader: Pid, act: &mut dyn FnMut(Member)) {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let Ok(proc) = directory::open_within(directory::working(), c"/proc", flags) else {
        return;
    };
    let mut listing = Vec::with_capacity(LISTING_BYTES);
    while directory::list(proc.as_fd(), &mut listing).is_ok() && !listing.is_empty() {
        let mut at = 0;
        while let Some((name, _)) = directory::next_name(&listing, &mut at) {
            if let Some(member) = number(name.to_bytes()).and_then(|pid| find(leader, Pid(pid))) {
                act(member);
            }
        }
    }
}

/// That process, if it is in the leader's session and alive. One whose first thread has ended and another has not
/// is called a zombie, too, and is none.
fn find(leader: Pid, pid: Pid) -> Option<Member> {
    let path = [b"/proc/", pid.0.to_string().as_bytes(), b"/stat\0"].concat();
    let path = CStr::from_bytes_with_nul(&path).ok()?;
    let stat = directory::open_within(directory::working(), path, libc::O_RDONLY).ok()?;
    let mut text = Vec::with_capacity(STAT_BYTES);
    file::read_to_spare(&stat, &mut text).ok()?;
    // The name, in brackets, may have brackets and spaces of its own.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    // A space, state, parent, group, session.
    let mut fields = text[end + 1..].split(|byte| *byte == b' ').skip(1);
    let state = fields.next()?;
    let group = number(fields.nth(1)?)?;
    let session = number(fields.next()?)?;
    // Field 20: a zombie still has its first.
    let is_alive = !matches!(state, b"Z" | b"X") || number(fields.nth(13)?)? > 1;
    (is_alive && session == leader.0).then_some(Member { pid, group })
}

fn number(digits: &[u8]) -> Option<libc::pid_t> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
