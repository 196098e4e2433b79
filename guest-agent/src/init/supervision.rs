//! The loop of process 1: signals, children, the agent's words.
//!
//! Owns the reaping: process 1 reaps its own children and the orphans that the kernel gives it, and
//! no others, so that no exit code is taken from anybody. The agent's children are the agent's: it is
//! another process. Nothing here waits for anything but the next event.

use super::agent::AgentKeeper;
use super::boot_scripts::BootScripts;
use super::timings::{self, Timings};
use crate::log;
use crate::process_one;
use crate::sys::epoll::{self, Epoll};
use crate::sys::machine::End;
use crate::sys::process::{Pid, Reaped, reap_any};
use crate::sys::signal;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long the image's scripts wait for an agent to say that it listens; then they run all the same.
const LISTENING_LIMIT: Duration = Duration::from_secs(30);

/// Tokens of the loop's wait.
const SIGNALS: u64 = 0;
const AGENT: u64 = 1;

/// Signals taken at a time: one of each kind is pending at most.
const MAX_SIGNALS: usize = 8;
/// Words of the agent's heard at a time.
const MAX_WORDS: usize = 8;
/// Children reaped at a time: the guest's processes must not keep this loop from all else by ending.
const MAX_REAPED: usize = 256;

/// Everything that process 1 keeps while the guest lives.
pub(super) struct Supervision {
    signals: OwnedFd,
    epoll: Epoll,
    pub(super) agent: AgentKeeper,
    scripts: BootScripts,
    /// When the scripts run at the latest; `None` once they have been started.
    scripts_due: Option<Instant>,
    timings: Timings,
    /// Whether there may be children to reap.
    children_ended: bool,
}

impl Supervision {
    pub(super) fn new(signals: OwnedFd, agent: AgentKeeper, timings: Timings) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&signals, SIGNALS, epoll::IN)?;
        Ok(Self {
            signals,
            epoll,
            agent,
            scripts: BootScripts::default(),
            scripts_due: Some(Instant::now() + LISTENING_LIMIT),
            timings,
            children_ended: false,
        })
    }

    /// Keeps the agent running until somebody ends the guest.
    ///
    /// # Errors
    /// A wait that failed; calling it again goes on.
    pub(super) fn until_the_end(&mut self) -> io::Result<End> {
        // Whoever failed in here before may have taken the signal and reaped nobody.
        self.children_ended = true;
        loop {
            self.start_agent()?;
            if self.scripts_are_overdue() {
                log::failure(&format_args!(
                    "no agent has said within {} s that it listens; the boot scripts run all the same",
                    LISTENING_LIMIT.as_secs()
                ));
                self.start_scripts();
            }
            let heard = self.hear_agent().or_else(|| self.take_signals());
            if let Some(end) = heard.or_else(|| self.reap()) {
                return Ok(end);
            }
            for ready in self.epoll.wait(self.next_due())? {
                self.forget_closed_line(ready)?;
            }
        }
    }

    fn start_agent(&mut self) -> io::Result<()> {
        if let Some(line) = self.agent.start_if_due() {
            watch(&self.epoll, line)?;
            self.timings.mark(timings::AGENT_STARTED);
            self.timings.save();
        }
        Ok(())
    }

    /// What the agent says; an end of the guest that a host wants is returned.
    fn hear_agent(&mut self) -> Option<End> {
        for _ in 0..MAX_WORDS {
            let end = match self.agent.hear()? {
                process_one::LISTENING => {
                    self.note_listening();
                    continue;
                }
                process_one::POWER_OFF => End::PowerOff,
                process_one::REBOOT => End::Restart,
                // An agent of another version may say more.
                _ => continue,
            };
            tell(end, "a host asks for it");
            return Some(end);
        }
        None
    }

    /// From the first time on, the image's scripts run.
    fn note_listening(&mut self) {
        if self.timings.mark(timings::AGENT_LISTENING) {
            match self.scripts_due {
                Some(_) => self.start_scripts(),
                None => self.timings.save(),
            }
        }
    }

    /// When there is something to do, whatever comes.
    fn next_due(&self) -> Option<Instant> {
        match self.children_ended {
            true => Some(Instant::now()),
            // The agent may have ended just now.
            false => self
                .agent
                .start_at()
                .into_iter()
                .chain(self.scripts_due)
                .min(),
        }
    }

    fn scripts_are_overdue(&self) -> bool {
        self.scripts_due.is_some_and(|due| due <= Instant::now())
    }

    fn start_scripts(&mut self) {
        self.scripts_due = None;
        self.scripts = BootScripts::find();
        self.run_scripts();
    }

    fn run_scripts(&mut self) {
        if !self.scripts.run_next() {
            self.timings.mark(timings::BOOT_SCRIPTS_DONE);
        }
        self.timings.save();
    }

    /// Acts on pending signals; an end of the guest that one asks for is returned.
    fn take_signals(&mut self) -> Option<End> {
        for _ in 0..MAX_SIGNALS {
            let (end, why) = match signal::take(&self.signals)? {
                libc::SIGCHLD => {
                    self.children_ended = true;
                    continue;
                }
                libc::SIGINT => (End::Restart, "Ctrl-Alt-Del or SIGINT"),
                libc::SIGPWR => (End::PowerOff, "SIGPWR"),
                libc::SIGTERM => (End::PowerOff, "SIGTERM"),
                _ => (End::PowerOff, "poweroff or halt"),
            };
            tell(end, why);
            return Some(end);
        }
        None
    }

    /// Reaps some of those that have ended; an end of the guest that the agent has asked for is returned.
    fn reap(&mut self) -> Option<End> {
        for _ in 0..MAX_REAPED {
            if !self.children_ended {
                return None;
            }
            match reap_any() {
                Reaped::Child(pid, exit_code) => {
                    if let Some(end) = self.note_end(pid, exit_code) {
                        return Some(end);
                    }
                }
                Reaped::NoneYet | Reaped::NoChildren => self.children_ended = false,
            }
        }
        None
    }

    fn note_end(&mut self, pid: Pid, exit_code: i32) -> Option<End> {
        // A host has been told that the guest ends: what the agent said last counts, though it died.
        let end = self.hear_agent();
        if !self.agent.note_end(pid, exit_code) && self.scripts.note_end(pid, exit_code) {
            self.run_scripts();
        }
        end
    }

    /// An agent that has closed its line, or its side of it, and lives on would wake the loop for ever.
    fn forget_closed_line(&self, ready: epoll::Ready) -> io::Result<()> {
        let is_closed = ready.events & (epoll::HUP | epoll::RDHUP) != 0;
        match self.agent.line() {
            Some(line) if ready.token == AGENT && is_closed => self.epoll.remove(line),
            _ => Ok(()),
        }
    }

    /// Reaps until no process is left or the deadline has passed; says which.
    pub(super) fn wait_for_all(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            match reap_any() {
                Reaped::NoChildren => return Ok(true),
                // Asked also while there is always one more to reap: a flood of processes is no reason
                // to wait longer.
                _ if Instant::now() >= deadline => return Ok(false),
                Reaped::Child(..) => continue,
                Reaped::NoneYet => {}
            }
            self.epoll.wait(Some(deadline))?.for_each(drop);
            for _ in 0..MAX_SIGNALS {
                let _ = signal::take(&self.signals);
            }
            if let Some(line) = self.agent.line() {
                // Nothing that is said now counts.
                let _ = self.epoll.remove(line);
            }
        }
    }
}

/// Has the agent's words wake the loop, and the end of them.
fn watch(epoll: &Epoll, line: &UnixStream) -> io::Result<()> {
    epoll.add(line, AGENT, epoll::IN | epoll::RDHUP)
}

fn tell(end: End, why: &str) {
    let what = match end {
        End::PowerOff => "powering off",
        End::Restart => "restarting",
    };
    log::notice(&format_args!("{what}: {why}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::eventfd::EventFd;
    use std::fs::File;
    use std::io::Write as _;
    use std::net::Shutdown;
    use std::os::fd::AsFd as _;

    /// One that has an agent, this very process, and the agent's end of the line. No signal comes.
    fn supervision() -> (Supervision, UnixStream) {
        let (line, agents_end) = UnixStream::pair().unwrap();
        let listener = File::open("/dev/null").unwrap().into();
        let agent = AgentKeeper::with_agent(listener, Pid::of_this_process(), line);
        let signals = EventFd::new().unwrap();
        let signals = signals.as_fd().try_clone_to_owned().unwrap();
        let supervision = Supervision::new(signals, agent, Timings::begin()).unwrap();
        let line = supervision.agent.line().unwrap();
        watch(&supervision.epoll, line).unwrap();
        (supervision, agents_end)
    }

    #[test]
    fn end_of_the_guest_that_an_agent_asks_for_before_it_dies_is_heard() {
        let (mut supervision, agents_end) = supervision();
        (&agents_end).write_all(&[process_one::REBOOT]).unwrap();
        drop(agents_end);
        let end = supervision.note_end(Pid::of_this_process(), -9);
        assert_eq!(end, Some(End::Restart));
    }

    #[test]
    fn loop_wakes_for_scripts_whose_agent_never_says_that_it_listens() {
        let (mut supervision, _agents_end) = supervision();
        let due = supervision.next_due();
        assert!(due.is_some_and(|due| due > Instant::now() && !supervision.scripts_are_overdue()));
        supervision.scripts_due = Some(Instant::now());
        assert_eq!(supervision.next_due(), supervision.scripts_due);
        assert!(supervision.scripts_are_overdue());
        supervision.scripts_due = None;
        assert_eq!(supervision.next_due(), None);
        assert!(!supervision.scripts_are_overdue());
    }

    #[test]
    fn line_that_its_agent_has_half_closed_wakes_the_loop_once() {
        let (supervision, agents_end) = supervision();
        let ready = || supervision.epoll.wait(Some(Instant::now())).unwrap();
        assert_eq!(ready().count(), 0);
        agents_end.shutdown(Shutdown::Write).unwrap();
        let woken: Vec<_> = ready().collect();
        assert_eq!(woken.len(), 1);
        supervision.forget_closed_line(woken[0]).unwrap();
        assert_eq!(ready().count(), 0);
    }

    #[test]
    fn agent_that_never_stops_talking_does_not_keep_the_loop() {
        let (mut supervision, agents_end) = supervision();
        for _ in 0..=MAX_WORDS {
            (&agents_end).write_all(b"?").unwrap();
        }
        assert_eq!(supervision.hear_agent(), None);
        assert_eq!(supervision.agent.hear(), Some(b'?'));
    }
}
