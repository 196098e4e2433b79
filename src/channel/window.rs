//! How much input a host may have under way: the host's side of "Flow" in `docs/protocol.md`.
//!
//! Owns the count of what was sent and not yet credited. Refuses to send or to wait: whoever sends asks for
//! [`Window::room`] first, and reads while there is none.

use smolvm_protocol::request::WINDOW_BYTES;
use std::fmt;

/// The input under way on one connection, at most [`WINDOW_BYTES`] of payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Sent and not yet credited.
    under_way: usize,
}

impl Window {
    /// One with nothing under way.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Bytes of payload that may be sent now; 0 until more is credited.
    pub(super) fn room(&self) -> usize {
        WINDOW_BYTES - self.under_way
    }

    /// Notes that so many bytes of payload were sent.
    ///
    /// # Panics
    /// Where there was no room for them: a sender that did not ask is a bug.
    pub(super) fn sent(&mut self, bytes: usize) {
        assert!(bytes <= self.room(), "senders ask for room first");
        self.under_way += bytes;
    }

    /// Notes that the agent has handed on so many bytes.
    ///
    /// # Errors
    /// [`UnearnedCredit`] where so much was never sent; nothing is noted then.
    pub(super) fn credited(&mut self, bytes: usize) -> Result<(), UnearnedCredit> {
        self.under_way = self.under_way.checked_sub(bytes).ok_or(UnearnedCredit {
            bytes,
            under_way: self.under_way,
        })?;
        Ok(())
    }
}

/// Credit for more than was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnearnedCredit {
    /// What was credited.
    pub(super) bytes: usize,
    /// What was under way.
    pub(super) under_way: usize,
}

impl fmt::Display for UnearnedCredit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "it credited {} bytes of input, and {} were under way",
            self.bytes, self.under_way
        )
    }
}

impl std::error::Error for UnearnedCredit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_not_under_way() {
        let mut window = Window::new();
        assert_eq!(window.room(), WINDOW_BYTES);
        window.sent(WINDOW_BYTES - 1);
        assert_eq!(window.room(), 1);
        window.sent(1);
        assert_eq!(window.room(), 0);
        window.credited(65_536).unwrap();
        assert_eq!(window.room(), 65_536);
        window.sent(0);
        window.credited(WINDOW_BYTES - 65_536).unwrap();
        assert_eq!(window, Window::new());
    }

    #[test]
    fn credit_for_what_was_never_sent_is_refused_and_changes_nothing() {
        let mut window = Window::new();
        window.sent(10);
        let error = window.credited(11).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it credited 11 bytes of input, and 10 were under way"
        );
        assert!(window.credited(usize::MAX).is_err());
        assert_eq!(window.room(), WINDOW_BYTES - 10);
        window.credited(10).unwrap();
        assert!(window.credited(1).is_err());
    }

    #[test]
    #[should_panic(expected = "senders ask for room first")]
    fn more_than_there_is_room_for_is_a_bug() {
        Window::new().sent(WINDOW_BYTES + 1);
    }
}
