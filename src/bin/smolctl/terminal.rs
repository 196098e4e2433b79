//! This side's terminal: raw while a guest's is shown on it, and as it was again afterwards.
//!
//! Owns the modes. They are restored when [`Raw`] is dropped, which is on every way out: an error, a panic, a signal
//! that asks us to end (those only cancel).

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use smolvm_protocol::request::MAX_CELLS;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a terminal has that does not tell its size, such as a serial line.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

/// The terminal that is our standard input.
pub(crate) struct Terminal {
    descriptor: OwnedFd,
    before: Termios,
}

impl Terminal {
    /// None where standard input is no terminal.
    pub(crate) fn of_standard_input() -> Option<Self> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().ok()?;
        let before = tcgetattr(&descriptor).ok()?;
        Some(Self { descriptor, before })
    }

    /// Its rows and columns.
    pub(crate) fn size(&self) -> (u16, u16) {
        match tcgetwinsize(&self.descriptor) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                (size.ws_row.min(MAX_CELLS), size.ws_col.min(MAX_CELLS))
            }
            _ => DEFAULT_SIZE,
        }
    }

    /// Whether it is our controlling terminal, and another job is in its foreground: ours was stopped, and goes on behind.
    pub(crate) fn is_anothers(&self) -> bool {
        tcgetpgrp(&self.descriptor).is_ok_and(|foreground| foreground != getpgrp())
    }

    /// Has it hand on every key, and print what it is sent, until the guard is dropped.
    ///
    /// # Errors
    /// Where it is gone.
    pub(crate) fn raw(&self) -> io::Result<Raw<'_>> {
        let was_anothers = self.is_anothers();
        let mut raw = Raw {
            terminal: self,
            is_anothers: false,
        };
        raw.enter()?;
        // Not where it was ours: we may have been stopped since, and it is then no longer ours to change.
        raw.is_anothers = was_anothers && self.is_anothers();
        Ok(raw)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Keeps a terminal raw.
pub(crate) struct Raw<'terminal> {
    terminal: &'terminal Terminal,
    /// Whether it was another job's when it was made raw: ours may change it all the same.
    is_anothers: bool,
}

impl Raw<'_> {
    /// Makes it raw, also where somebody else has changed that, as a shell does with one who was stopped.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let mut modes = self.terminal.before.clone();
        modes.make_raw();
        Ok(tcsetattr(self.terminal, OptionalActions::Now, &modes)?)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Whose it is now has made it theirs; we would be stopped.
        if !self.is_anothers && self.terminal.is_anothers() {
            return;
        }
        // Not once all output is out: a terminal that shows none must not keep us.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.terminal.before);
    }
}
