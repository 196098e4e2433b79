//! A process by id and start time, so that a number used again is never taken for it.
//!
//! Owns looking at `/proc/<pid>/stat`, signalling through a pidfd, and waiting for the end. The pidfd
//! is opened first and the start time compared after: from then on it can mean no other process.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::deadline::Deadline;

/// A process that is or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (`starttime` in proc_pid_stat(5)).
    pub start_time: u64,
}

impl ProcessId {
    /// The living process with that number.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// A child of ours that nobody has collected yet; it may have ended already.
    pub(super) fn of_child(pid: i32) -> Option<Self> {
        stat(pid).map(|(_, start_time)| Self { pid, start_time })
    }

    /// This very process.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_pid())
    }

    /// Whether it still lives; one that has ended and was not yet collected does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Sends a signal; one that has ended gets none.
    pub fn signal(self, signal: Signal) {
        if let Some(pidfd) = self.open() {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }

    /// Waits until it has ended, for at most `limit`. Says whether it has. It is collected where it is
    /// this process's child.
    #[must_use]
    pub fn wait(self, limit: Duration) -> bool {
        let Some(pidfd) = self.open() else {
            self.collect();
            return true;
        };
        let deadline = Deadline::after(limit);
        loop {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            match poll(&mut fds, deadline.timespec().as_ref()) {
                Ok(1..) => {
                    self.collect();
                    return true;
                }
                Ok(0) if deadline.has_passed() => return false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return !self.is_alive(),
            }
        }
    }

    /// Ends it: SIGTERM, `grace` later SIGKILL. Says whether it has ended.
    #[must_use]
    pub fn end(self, grace: Duration) -> bool {
        self.signal(Signal::TERM);
        self.wait(grace) || {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(5))
        }
    }

    fn open(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(pidfd)
    }

    fn collect(self) {
        let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG);
    }
}

/// The start time of a process that lives; `None` for one that is gone or a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let (state, start_time) = stat(pid)?;
    (!matches!(state, 'Z' | 'X' | 'x')).then_some(start_time)
}

/// State and start time: fields 3 and 22 of `/proc/<pid>/stat`, counted from behind the command's
/// name, which may hold anything.
fn stat(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn process_is_alive_until_it_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.is_alive());
        assert!(process.end(Duration::from_secs(5)));
        assert!(!process.is_alive());
        let _ = child.wait();
    }

    #[test]
    fn number_with_another_start_time_is_not_the_process() {
        let mut process = ProcessId::of_this_process().unwrap();
        process.start_time += 1;
        assert!(!process.is_alive());
        process.signal(Signal::KILL);
        assert!(process.wait(Duration::ZERO));
    }
}
