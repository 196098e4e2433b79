//! A process by id and start time, so that a number used again is never taken for it.
//!
//! Owns looking at `/proc/<pid>/stat`, signalling through a pidfd, and waiting for the end. The pidfd
//! is opened first and the start time compared after: from then on it can mean no other process. Where
//! neither can be had, a process counts as living, so that nobody forgets it.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::deadline::Deadline;

/// How often a process without a pidfd is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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
        let (state, start_time) = stat(pid).ok()?;
        is_living(state).then_some(Self { pid, start_time })
    }

    /// What a process has told of itself: a copy of its `/proc/self/stat`.
    pub(super) fn of_stat(stat: &[u8]) -> Option<Self> {
        let pid_end = stat.iter().position(|&byte| byte == b' ')?;
        let pid = std::str::from_utf8(&stat[..pid_end]).ok()?.parse().ok()?;
        let (_, start_time) = parse_stat(stat)?;
        Some(Self { pid, start_time })
    }

    /// A child of ours that nobody has collected yet; it may have ended already.
    pub(super) fn of_child(pid: i32) -> Option<Self> {
        let (_, start_time) = stat(pid).ok()?;
        Some(Self { pid, start_time })
    }

    /// This very process.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_pid())
    }

    /// Whether it still lives; one that has ended and was not yet collected does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match stat(self.pid) {
            Ok((state, start_time)) => is_living(state) && start_time == self.start_time,
            Err(error) => !is_absence(&error),
        }
    }

    /// Sends a signal; one that has ended gets none.
    ///
    /// # Errors
    /// Where it lives and cannot be signalled.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pidfd) = self.open()? else {
            return Ok(());
        };
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended, for at most `limit`. Says whether it has. It is collected where it is
    /// this process's child.
    #[must_use]
    pub fn wait(self, limit: Duration) -> bool {
        let pidfd = match self.open() {
            Ok(Some(pidfd)) => pidfd,
            Ok(None) => {
                self.collect();
                return true;
            }
            Err(_) => return self.wait_by_looking(limit),
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

    fn wait_by_looking(self, limit: Duration) -> bool {
        let deadline = Deadline::after(limit);
        while self.is_alive() {
            if deadline.has_passed() {
                return false;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.collect();
        true
    }

    /// Ends it: SIGTERM, `grace` later SIGKILL. Says whether it has ended.
    #[must_use]
    pub fn end(self, grace: Duration) -> bool {
        let end = |signal, limit| self.signal(signal).is_ok() && self.wait(limit);
        end(Signal::TERM, grace) || end(Signal::KILL, Duration::from_secs(5)) || !self.is_alive()
    }

    /// A pidfd of it; `None` where it has ended.
    fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(self.is_alive().then_some(pidfd)),
            Err(_) if !self.is_alive() => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn collect(self) {
        let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG);
    }
}

/// Neither a zombie nor dead.
fn is_living(state: char) -> bool {
    !matches!(state, 'Z' | 'X' | 'x')
}

/// There is no such process; it may have ended while its file was read.
fn is_absence(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::SRCH))
}

/// State and start time of a process.
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// State and start time: fields 3 and 22 of `/proc/<pid>/stat`, counted from behind the command's
/// name, which may hold anything.
fn parse_stat(stat: &[u8]) -> Option<(char, u64)> {
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
        process.signal(Signal::KILL).unwrap();
        assert!(process.wait(Duration::ZERO));
        assert!(process.wait_by_looking(Duration::ZERO));
    }

    #[test]
    fn process_without_a_pidfd_has_ended_only_once_it_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!process.wait_by_looking(Duration::ZERO));
        child.kill().unwrap();
        assert!(process.wait_by_looking(Duration::from_secs(5)));
        let _ = child.wait();
    }

    #[test]
    fn copy_of_stat_tells_the_process_whatever_its_name() {
        let stat = fs::read("/proc/self/stat").unwrap();
        let this = ProcessId::of_this_process();
        assert_eq!(ProcessId::of_stat(&stat), this);
        let start = stat.iter().position(|&byte| byte == b'(').unwrap();
        let end = stat.iter().rposition(|&byte| byte == b')').unwrap();
        let renamed = [&stat[..start], b"(a) R (b", &stat[end..]].concat();
        assert_eq!(ProcessId::of_stat(&renamed), this);
        assert_eq!(ProcessId::of_stat(b""), None);
        assert_eq!(ProcessId::of_stat(&stat[..end]), None);
    }
}
