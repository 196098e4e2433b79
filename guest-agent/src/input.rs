//! What a host sends on to a command or a socket, under the flow control of `docs/protocol.md`, "Flow".
//!
//! Owns what has arrived and not been handed on, at most [`WINDOW_BYTES`], and the credit for what has.
//! So whoever serves the connection can always read on, and sees what comes behind an input that nobody
//! takes. Refuses to know what the other end is.

use crate::sys::file;
use smolvm_protocol::request::WINDOW_BYTES;
use smolvm_protocol::response::Refusal;
use std::io;
use std::os::fd::BorrowedFd;

/// Credit is told whenever it is that much.
const CREDIT_BYTES: isize = 64 * 1024;

/// One input.
#[derive(Debug)]
pub(crate) struct Input {
    /// Without memory of its own until something has to be kept. Only touched pages count.
    pending: Vec<u8>,
    /// How much of `pending` is handed on.
    start: usize,
    /// Whether the other end may take bytes: true until a write says `EAGAIN`.
    ready: bool,
    /// Whether the other end takes anything at all.
    is_open: bool,
    /// Whether the host has said that there is no more.
    has_ended: bool,
    /// Handed on and not credited. A terminal's end of input is one that no host has sent: hence signed.
    uncredited: isize,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::new(),
            start: 0,
            ready: true,
            is_open: true,
            has_ended: false,
            uncredited: 0,
        }
    }

    /// The other end may take bytes again.
    pub(crate) fn note_ready(&mut self) {
        self.ready = true;
    }

    fn waiting(&self) -> usize {
        self.pending.len() - self.start
    }

    /// Hands bytes of the host's on to `to`, and keeps what that does not take now.
    ///
    /// # Errors
    /// The host has sent more than it may, or after the end.
    pub(crate) fn arrived(
        &mut self,
        to: Option<BorrowedFd<'_>>,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        if self.has_ended {
            return Err(Refusal::new("input after its end"));
        }
        let mut rest = bytes;
        if self.waiting() == 0 {
            rest = &bytes[self.write(to, bytes)..];
        }
        if self.waiting() + rest.len() > WINDOW_BYTES {
            return Err(Refusal::new(format!(
                "more than {WINDOW_BYTES} bytes of input under way: wait for credit"
            )));
        }
        self.keep(rest);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.pending.capacity() == 0 {
            self.pending.reserve_exact(WINDOW_BYTES);
        }
        if self.pending.len() + bytes.len() > WINDOW_BYTES {
            self.pending.copy_within(self.start.., 0);
            self.pending.truncate(self.waiting());
            self.start = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The host has said that there is no more.
    ///
    /// # Errors
    /// It has said so before.
    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        if self.has_ended {
            return Err(Refusal::new("input after its end"));
        }
        self.has_ended = true;
        Ok(())
    }

    /// Hands on a character that the host has not sent: it is never credited.
    pub(crate) fn insert(&mut self, character: u8) {
        // With a full window there is nobody who reads, and nobody to be told of an end.
        if self.is_open && self.waiting() < WINDOW_BYTES {
            self.keep(&[character]);
            self.uncredited -= 1;
        }
    }

    /// Hands on what is kept, as much as `to` takes now.
    pub(crate) fn hand_on(&mut self, to: Option<BorrowedFd<'_>>) {
        let pending = std::mem::take(&mut self.pending);
        self.start += self.write(to, &pending[self.start..]);
        self.pending = pending;
        if self.start == self.pending.len() {
            self.pending.clear();
            self.start = 0;
        }
    }

    /// How much of `bytes` is done with: written, or of no use to anybody.
    fn write(&mut self, to: Option<BorrowedFd<'_>>, bytes: &[u8]) -> usize {
        let mut done = 0;
        while self.is_open && self.ready && done < bytes.len() {
            match to.map(|to| file::write_some(to, &bytes[done..])) {
                Some(Ok(length)) => done += length,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                _ => self.is_open = false,
            }
        }
        if !self.is_open {
            done = bytes.len();
        }
        self.uncredited += done as isize;
        done
    }

    /// Whether there is something to hand on that may be taken now.
    pub(crate) fn can_go_on(&self) -> bool {
        self.waiting() > 0 && (self.ready || !self.is_open)
    }

    /// Whether the other end is to be closed: it takes nothing more, or has got all that there is.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_open || self.has_ended()
    }

    /// Whether the host has said that there is no more, and all is handed on.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended && self.waiting() == 0
    }

    /// Whether there is credit enough for a frame.
    pub(crate) fn has_credit(&self) -> bool {
        self.uncredited >= CREDIT_BYTES
    }

    /// What to credit to the host now, if it is enough for a frame.
    pub(crate) fn take_credit(&mut self) -> Option<usize> {
        let credit = usize::try_from(self.uncredited).ok()?;
        self.has_credit().then(|| {
            self.uncredited = 0;
            credit
        })
    }
}
