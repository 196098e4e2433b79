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
    /// Why it does not, where that is no end of its own (`EPIPE`): what was handed on is a part.
    failure: Option<io::Error>,
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
            failure: None,
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
        let uncredited = usize::try_from(self.uncredited).unwrap_or(0);
        if self.waiting() + uncredited + rest.len() > WINDOW_BYTES {
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
                other => {
                    self.is_open = false;
                    let failure = other.and_then(Result::err);
                    self.failure = failure.filter(|it| it.kind() != io::ErrorKind::BrokenPipe);
                }
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

    /// Why the other end has got a part and will get no more; told once.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether something is kept that is not taken now.
    pub(crate) fn is_stuck(&self) -> bool {
        self.waiting() > 0 && !self.ready && self.is_open
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    /// An input's other end, whose reader has taken nothing yet and which is full.
    fn full() -> (UnixStream, UnixStream, usize) {
        let (to, reader) = UnixStream::pair().unwrap();
        to.set_nonblocking(true).unwrap();
        let mut length = 0;
        while let Ok(taken) = file::write_some(to.as_fd(), &[0; 4096]) {
            length += taken;
        }
        (to, reader, length)
    }

    fn sentence(refused: Result<(), Refusal>) -> String {
        refused.unwrap_err().sentence().to_owned()
    }

    #[test]
    fn window_is_kept_behind_an_end_that_takes_nothing_and_not_a_byte_more() {
        let (to, _reader, _) = full();
        let mut input = Input::new();
        for _ in 0..4 {
            input
                .arrived(Some(to.as_fd()), &[7; WINDOW_BYTES / 4])
                .unwrap();
        }
        assert_eq!(
            sentence(input.arrived(Some(to.as_fd()), &[7])),
            "more than 262144 bytes of input under way: wait for credit"
        );
        assert_eq!(input.take_credit(), None);
    }

    #[test]
    fn what_is_handed_on_counts_until_it_is_credited() {
        let (to, reader) = UnixStream::pair().unwrap();
        to.set_nonblocking(true).unwrap();
        let mut input = Input::new();
        input.arrived(Some(to.as_fd()), &[7; 60_000]).unwrap();
        assert_eq!(input.waiting(), 0);
        let rest = vec![7; WINDOW_BYTES - 60_000];
        input.arrived(Some(to.as_fd()), &rest).unwrap();
        assert!(input.arrived(Some(to.as_fd()), &[7]).is_err());
        drop(reader);
    }

    #[test]
    fn what_is_kept_arrives_in_order_and_is_credited_once() {
        let (to, mut reader, before) = full();
        let mut input = Input::new();
        let bytes: Vec<u8> = (0..3 * WINDOW_BYTES).map(|at| (at / 7) as u8).collect();
        let mut arrived = Vec::new();
        let mut credited = 0;
        let mut piece = vec![0; 10_000];
        let mut sent = 0;
        while arrived.len() < before + bytes.len() {
            while sent < bytes.len() && sent - credited + 5000 <= WINDOW_BYTES {
                let end = bytes.len().min(sent + 5000);
                input.arrived(Some(to.as_fd()), &bytes[sent..end]).unwrap();
                sent = end;
            }
            let length = reader.read(&mut piece).unwrap();
            arrived.extend_from_slice(&piece[..length]);
            input.note_ready();
            input.hand_on(Some(to.as_fd()));
            credited += input.take_credit().unwrap_or(0);
        }
        assert!(arrived[before..] == bytes);
        assert_eq!(
            credited + usize::try_from(input.uncredited).unwrap(),
            bytes.len()
        );
    }

    #[test]
    fn input_for_an_end_that_is_closed_is_discarded_and_credited() {
        let (to, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let mut input = Input::new();
        for _ in 0..8 {
            input
                .arrived(Some(to.as_fd()), &[7; WINDOW_BYTES / 2])
                .unwrap();
            assert_eq!(input.take_credit(), Some(WINDOW_BYTES / 2));
        }
        assert!(input.is_over() && !input.has_ended());
    }

    #[test]
    fn nothing_is_taken_behind_the_end() {
        let mut input = Input::new();
        input.end().unwrap();
        assert_eq!(sentence(input.arrived(None, b"a")), "input after its end");
        assert_eq!(sentence(input.end()), "input after its end");
        assert!(input.has_ended());
    }

    #[test]
    fn character_that_no_host_has_sent_is_not_credited() {
        let (to, _reader) = UnixStream::pair().unwrap();
        let mut input = Input::new();
        input.insert(4);
        input.arrived(Some(to.as_fd()), &[7; 70_000]).unwrap();
        input.hand_on(Some(to.as_fd()));
        assert_eq!(input.take_credit(), Some(70_000));
    }
}
