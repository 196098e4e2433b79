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
use crate::sys::process::{Reaped, reap_any};
use crate::sys::signal;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Tokens of the loop's wait.
const SIGNALS: u64 = 0;
const AGENT: u64 = 1;

/// Everything that process 1 keeps while the guest lives.
pub(super) struct Supervision {
    signals: OwnedFd,
    epoll: Epoll,
    pub(super) agent: AgentKeeper,
    scripts: BootScripts,
    timings: Timings,
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
            timings,
        })
    }

    /// Keeps the agent running until somebody ends the guest.
    ///
    /// # Errors
    /// A wait that failed; calling it again goes on.
    pub(super) fn until_the_end(&mut self) -> io::Result<End> {
        loop {
            self.start_agent()?;
            if let Some(end) = self.hear_agent().or_else(|| self.take_signals()) {
                return Ok(end);
            }
            // It may have ended just now.
            let due = self.agent.start_at();
            for ready in self.epoll.wait(due)? {
                self.forget_closed_line(ready)?;
            }
        }
    }

    fn start_agent(&mut self) -> io::Result<()> {
        if let Some(line) = self.agent.start_if_due() {
            self.epoll.add(line, AGENT, epoll::IN)?;
            self.timings.mark(timings::AGENT_STARTED);
            self.timings.save();
        }
        Ok(())
    }

    /// What the agent says; an end of the guest that a host wants is returned.
    fn hear_agent(&mut self) -> Option<End> {
        loop {
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
    }

    /// From the first time on, the image's scripts run.
    fn note_listening(&mut self) {
        if self.timings.mark(timings::AGENT_LISTENING) {
            self.scripts = BootScripts::find();
            self.run_scripts();
        }
    }

    fn run_scripts(&mut self) {
        if !self.scripts.run_next() {
            self.timings.mark(timings::BOOT_SCRIPTS_DONE);
        }
        self.timings.save();
    }

    /// Acts on pending signals; an end of the guest that one asks for is returned.
    fn take_signals(&mut self) -> Option<End> {
        while let Some(signal) = signal::take(&self.signals) {
            let (end, why) = match signal {
                libc::SIGCHLD => {
                    self.reap();
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

    fn reap(&mut self) {
        while let Reaped::Child(pid, exit_code) = reap_any() {
            if !self.agent.note_end(pid, exit_code) && self.scripts.note_end(pid, exit_code) {
                self.run_scripts();
            }
        }
    }

    /// An agent that has closed its line and lives on would wake the loop for ever.
    fn forget_closed_line(&self, ready: epoll::Ready) -> io::Result<()> {
        match self.agent.line() {
            Some(line) if ready.token == AGENT && ready.events & epoll::HUP != 0 => {
                self.epoll.remove(line)
            }
            _ => Ok(()),
        }
    }

    /// Reaps until no process is left or the deadline has passed; says which.
    pub(super) fn wait_for_all(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            match reap_any() {
                Reaped::NoChildren => return Ok(true),
                Reaped::Child(..) => continue,
                Reaped::NoneYet if Instant::now() >= deadline => return Ok(false),
                Reaped::NoneYet => {}
            }
            self.epoll.wait(Some(deadline))?.for_each(drop);
            while signal::take(&self.signals).is_some() {}
            if let Some(line) = self.agent.line() {
                // Nothing that is said now counts.
                let _ = self.epoll.remove(line);
            }
        }
    }
}

fn tell(end: End, why: &str) {
    let what = match end {
        End::PowerOff => "powering off",
        End::Restart => "restarting",
    };
    log::notice(&format_args!("{what}: {why}"));
}
