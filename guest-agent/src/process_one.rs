//! What the agent and process 1 say to each other, where process 1 is ours (`init.rs`).
//!
//! Owns the words: one byte each, over a pair of Unix sockets whose one end process 1 hands to the
//! agent. No other process has an end, and no command inherits the agent's, so that nobody in the
//! guest can say anything in the agent's name.

use crate::listener::ListenError;
use crate::sys::machine::End;
use crate::sys::{inherited, socket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// The agent's: it listens.
pub(crate) const LISTENING: u8 = b'L';
/// The agent's: a host wants the guest to power off.
pub(crate) const POWER_OFF: u8 = b'P';
/// The agent's: a host wants the guest to start anew.
pub(crate) const REBOOT: u8 = b'R';
/// Process 1's: the guest ends; accept nothing more, and go when the last connection has ended.
pub(crate) const GUEST_ENDS: u8 = b'E';

/// The agent's end.
#[derive(Debug)]
pub(crate) struct ProcessOne(OwnedFd);

impl ProcessOne {
    /// Takes the inherited descriptor `number` over, before anything else is opened.
    pub(crate) fn take(number: RawFd) -> Result<Self, ListenError> {
        let mut taken = inherited::take(&[number])
            .map_err(|(number, error)| ListenError::Inherited { number, error })?;
        taken
            .pop()
            .map(Self)
            .ok_or(ListenError::NotServable { number })
    }

    pub(crate) fn say_listening(&self) -> io::Result<()> {
        self.say(LISTENING)
    }

    /// Asks for the end of the guest.
    pub(crate) fn ask_for(&self, end: End) -> io::Result<()> {
        self.say(match end {
            End::PowerOff => POWER_OFF,
            End::Restart => REBOOT,
        })
    }

    fn say(&self, word: u8) -> io::Result<()> {
        socket::send(&self.0, &[word]).map(drop)
    }

    /// The next word of process 1's; `None` where there is none.
    pub(crate) fn hear(&self) -> Option<u8> {
        hear(&self.0)
    }
}

impl AsFd for ProcessOne {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The next word from an end of the pair; `None` where there is none, or the other end is closed.
pub(crate) fn hear(end: impl AsFd) -> Option<u8> {
    let mut word = Vec::with_capacity(1);
    socket::receive(end, &mut word).ok()?;
    word.first().copied()
}
