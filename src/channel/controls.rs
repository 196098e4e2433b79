//! What another thread has to say to a command that runs: signals, and its terminal's size.
//!
//! Owns a queue of bounded length and the descriptor that wakes whoever holds the connection. Refuses to send.

use rustix::event::{EventfdFlags, eventfd};
use smolvm_protocol::request::Control;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// So many control frames wait for an agent that takes none; a terminal's size is one at most.
const MAX_WAITING: usize = 64;

/// Control frames that wait to be sent.
#[derive(Debug)]
pub(crate) struct Controls {
    /// None once the command is over.
    waiting: Mutex<Option<VecDeque<Control>>>,
    /// Readable while there are some.
    wake: OwnedFd,
}

impl Controls {
    /// None yet.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: Mutex::new(Some(VecDeque::new())),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Adds one behind those that wait; false where there is no room. A new size takes the place of one that waits. None is
    /// kept once the command is over.
    pub(crate) fn add(&self, control: Control) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = &mut *waiting else {
            return true;
        };
        if matches!(control, Control::Resize(_)) {
            waiting.retain(|other| !matches!(other, Control::Resize(_)));
        }
        if waiting.len() == MAX_WAITING {
            return false;
        }
        waiting.push_back(control);
        // A counter that is full is readable, too.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        true
    }

    /// Takes the first of them.
    pub(super) fn take(&self) -> Option<Control> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.as_mut()?;
        let control = waiting.pop_front();
        if waiting.is_empty() {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        control
    }

    /// Notes that the command is over.
    pub(crate) fn close(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl AsFd for Controls {
    /// Readable while there are some.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use smolvm_protocol::request::TerminalSize;

    fn is_readable(controls: &Controls) -> bool {
        let mut fds = [PollFd::new(controls, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    }

    fn resize(rows: u16) -> Control {
        Control::Resize(TerminalSize { rows, cols: 80 })
    }

    #[test]
    fn controls_are_taken_in_order_and_the_last_size_alone_counts() {
        let controls = Controls::new().unwrap();
        assert!(!is_readable(&controls));
        for control in [
            resize(1),
            Control::Signal(15),
            resize(2),
            Control::Signal(9),
        ] {
            assert!(controls.add(control) && is_readable(&controls));
        }
        let taken: Vec<_> = std::iter::from_fn(|| controls.take()).collect();
        assert_eq!(taken, [Control::Signal(15), resize(2), Control::Signal(9)]);
        assert!(!is_readable(&controls));
    }

    #[test]
    fn controls_that_nobody_takes_are_bounded() {
        let controls = Controls::new().unwrap();
        for _ in 0..MAX_WAITING {
            assert!(controls.add(Control::Signal(10)));
        }
        assert!(!controls.add(Control::Signal(10)));
        controls.take();
        assert!(controls.add(Control::Signal(10)));
    }
}
