//! A stream's bytes, between a socket here and the agent.
//!
//! Owns one loop for both directions, so that a stream is one thread and no lock. What the socket says is read straight
//! behind the place of a frame's header, and what the agent says is handed on from where it was read: no byte is copied
//! here. At most one frame waits in each direction: who does not take its bytes is not read for.
//!
//! Either side may end what it says and go on listening. Which ends can be told apart is the kernel's business: a TCP
//! socket that was closed looks like one that only ends, until it is written to; a Unix socket's `POLLHUP` says that it was
//! closed. What that one had said is carried still, as the kernel does for a direct connection.

use super::exchange::{Exchange, Message, unexpected};
use super::stream::OpenStream;
use super::window::Window;
use super::{ChannelError, STALL_LIMIT};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, readv};
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES};
use smolvm_protocol::request::WINDOW_BYTES;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

/// So many reads of one side come between two waits, in which the other side and the cancelling are heard.
const MAX_READS: usize = 4;

/// So many frames are read from the client in one call, and sent in one.
const FRAMES: usize = 2;
const FRAME_BYTES: usize = HEADER_BYTES + MAX_CHUNK_BYTES;

/// So many pieces of what the agent said go in one call.
const MAX_PIECES: usize = 16;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// Both sides had said all that they had to.
    Whole,
    /// The guest's side broke, or the way to it.
    BrokenThere {
        /// Whether the target had said all that it had to.
        was_heard: bool,
    },
    /// This side broke, or was closed without anybody to take the rest.
    BrokenHere,
}

impl OpenStream {
    /// Carries bytes both ways between the stream and a connected socket that does not block, until both have ended or
    /// one has broken.
    ///
    /// # Errors
    /// [`ChannelError::Cancelled`]; [`ChannelError::NotAnAgent`] where the agent breaks the protocol.
    pub(crate) fn relay(&mut self, client: BorrowedFd<'_>) -> Result<StreamEnd, ChannelError> {
        let mut relay = Relay {
            exchange: &mut self.exchange,
            cancel: &self.cancel,
            client,
            is_unix: socket_domain(client).is_ok_and(|domain| domain == AddressFamily::UNIX),
            window: Window::new(),
            up: Up {
                frames: vec![0; FRAMES * FRAME_BYTES].into_boxed_slice(),
                unsent: 0..0,
                has_ended: false,
                is_refused: false,
            },
            down: Down::default(),
            is_closed: false,
            limit: None,
        };
        relay.run()
    }

    /// Has the agent hear that this is over; the client is better told first.
    pub(crate) fn hang_up(self) {
        self.exchange.hang_up();
    }
}

struct Relay<'stream> {
    exchange: &'stream mut Exchange,
    cancel: &'stream Cancel,
    client: BorrowedFd<'stream>,
    /// Whether the client's is a Unix socket: what it had said when it was closed is there to read still, though it had not
    /// read all itself (`ECONNRESET` tells of that).
    is_unix: bool,
    window: Window,
    up: Up,
    down: Down,
    /// Whether the client was closed, or has ended both ways.
    is_closed: bool,
    /// Where nobody is there to hear the target: until when that may take what was said.
    limit: Option<Deadline>,
}

/// From the client to the guest.
struct Up {
    /// Headers, each with its payload; all but the last are full.
    frames: Box<[u8]>,
    /// What of them is not sent yet.
    unsent: Range<usize>,
    /// Whether the client has said all; its EOF frame is in `frames`, or has been.
    has_ended: bool,
    /// Whether the agent takes no more.
    is_refused: bool,
}

/// From the guest to the client.
#[derive(Default)]
struct Down {
    /// Where in the exchange's buffer stands what the client did not get yet.
    pieces: Vec<Range<usize>>,
    /// Whether the target has said all.
    has_ended: bool,
    /// Whether the client was told so.
    is_told: bool,
}

/// What a wait found.
#[derive(Clone, Copy)]
struct Ready {
    agent: PollFlags,
    client: PollFlags,
}

impl Ready {
    fn to_read(side: PollFlags) -> bool {
        side.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
    }
}

impl Relay<'_> {
    fn run(&mut self) -> Result<StreamEnd, ChannelError> {
        // What came glued to the agent's answer is read already: no wait would tell of it.
        if let Some(end) = self.carry_down(false)? {
            return Ok(end);
        }
        loop {
            let ready = self.wait()?;
            if ready.client.contains(PollFlags::ERR) && !self.is_unix {
                return Ok(StreamEnd::BrokenHere);
            }
            if ready.client.contains(PollFlags::HUP) {
                self.note_closed();
            }
            if let Some(end) = self.carry_down(Ready::to_read(ready.agent))? {
                return Ok(end);
            }
            if let Some(end) = self.carry_up(Ready::to_read(ready.client)) {
                return Ok(end);
            }
            if self.down.is_told && self.up.has_ended && self.up.unsent.is_empty() {
                return Ok(match self.up.is_refused {
                    true => self.broken_there(),
                    false => StreamEnd::Whole,
                });
            }
            if self.limit.is_some_and(Deadline::has_passed) {
                return Ok(StreamEnd::BrokenHere);
            }
        }
    }

    /// Waits until something can be done. A side that is asked for nothing would be told of again and again once it has
    /// ended, and so is left out; but for the client, whose break must be seen at any time.
    fn wait(&self) -> Result<Ready, ChannelError> {
        let mut agent = PollFlags::empty();
        agent.set(PollFlags::IN, self.down.pieces.is_empty());
        agent.set(PollFlags::OUT, !self.up.unsent.is_empty());
        let mut client = PollFlags::empty();
        client.set(PollFlags::IN, self.takes_from_client());
        client.set(PollFlags::OUT, !self.down.pieces.is_empty());
        let cancel = PollFd::new(self.cancel, PollFlags::IN);
        let mut fds = [cancel.clone(), cancel.clone(), cancel];
        let mut count = 1;
        let watches_agent = !agent.is_empty();
        if watches_agent {
            fds[count] = PollFd::from_borrowed_fd(self.exchange.socket(), agent);
            count += 1;
        }
        let watches_client = !client.is_empty() || !self.is_closed;
        if watches_client {
            fds[count] = PollFd::from_borrowed_fd(self.client, client);
            count += 1;
        }
        let limit = self.limit.and_then(Deadline::timespec);
        match poll(&mut fds[..count], limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                let source = Some(errno.into());
                return Err(crate::transport::TransportError::Closed { source }.into());
            }
        }
        if !fds[0].revents().is_empty() {
            return Err(ChannelError::Cancelled);
        }
        let of = |watched, at: usize| match watched {
            true => fds[at].revents(),
            false => PollFlags::empty(),
        };
        Ok(Ready {
            agent: of(watches_agent, 1),
            client: of(watches_client, 1 + usize::from(watches_agent)),
        })
    }

    fn note_closed(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            self.limit = (!self.down.is_told).then(|| Deadline::after(STALL_LIMIT));
        }
    }

    /// Whether the client was closed, and the agent is yet to hand on a part of what it had said.
    fn is_closed_and_unheard(&mut self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.client, PollFlags::empty())];
        let is_polled = poll(&mut fds, Some(&Timespec::default())).is_ok();
        if !self.is_unix || !is_polled || !fds[0].revents().contains(PollFlags::HUP) {
            return false;
        }
        self.note_closed();
        let up = &self.up;
        // Less than a frame's worth may never be credited.
        let is_under_way = WINDOW_BYTES - self.window.room() >= MAX_CHUNK_BYTES;
        !up.is_refused && (!up.has_ended || !up.unsent.is_empty() || is_under_way)
    }

    fn broken_there(&self) -> StreamEnd {
        StreamEnd::BrokenThere {
            was_heard: self.down.is_told,
        }
    }

    fn takes_from_client(&self) -> bool {
        let up = &self.up;
        // All that one read gives: credit comes until there is room for three frames.
        let has_room = self.window.room() >= FRAMES * MAX_CHUNK_BYTES;
        up.unsent.is_empty() && !up.has_ended && !up.is_refused && has_room
    }

    /// Something that the client had said has got on.
    fn renew_limit(&mut self) {
        self.limit = self.limit.map(|_| Deadline::after(STALL_LIMIT));
    }

    fn carry_up(&mut self, mut can_read: bool) -> Option<StreamEnd> {
        for _ in 0..MAX_READS {
            self.send();
            if !can_read || !self.takes_from_client() {
                break;
            }
            match self.up.read(self.client) {
                Ok(count) => {
                    can_read = count == FRAMES * MAX_CHUNK_BYTES;
                    self.window.sent(count);
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                // Told once; its end is behind.
                Err(Errno::CONNRESET) if self.is_unix => break,
                Err(_) => return Some(StreamEnd::BrokenHere),
            }
            self.send();
        }
        None
    }

    /// Sends what fits. An agent that takes no more may have said something before: it is read to its end.
    fn send(&mut self) {
        while !self.up.unsent.is_empty() {
            let unsent = &self.up.frames[self.up.unsent.clone()];
            match self.exchange.try_write(unsent) {
                Ok(0) => return,
                Ok(count) => {
                    self.up.unsent.start += count;
                    self.renew_limit();
                }
                Err(_) => {
                    self.up.is_refused = true;
                    self.up.unsent = 0..0;
                }
            }
        }
    }

    fn carry_down(&mut self, mut can_read: bool) -> Result<Option<StreamEnd>, ChannelError> {
        let mut reads = 0;
        loop {
            if let Some(end) = self.give() {
                return Ok(Some(end));
            }
            if !self.down.pieces.is_empty() {
                return Ok(None);
            }
            if self.take_messages()? {
                continue;
            }
            if !can_read || reads == MAX_READS {
                return Ok(None);
            }
            reads += 1;
            match self.exchange.fill() {
                Ok(()) => can_read = self.exchange.is_full(),
                Err(ChannelError::ClosedEarly | ChannelError::Transport(_)) => {
                    return Ok(Some(self.broken_there()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes up what was read; whether there was anything.
    fn take_messages(&mut self) -> Result<bool, ChannelError> {
        let mut any = false;
        while self.down.pieces.len() < MAX_PIECES {
            match self.exchange.message()? {
                None => break,
                Some(Message::Credit(bytes)) => {
                    self.window.credited(bytes)?;
                    self.renew_limit();
                }
                Some(Message::Bytes(FrameType::DATA, piece)) if !self.down.has_ended => {
                    if !piece.is_empty() {
                        self.down.pieces.push(piece);
                    }
                }
                Some(Message::EndOfFile) if !self.down.has_ended => self.down.has_ended = true,
                Some(Message::Bytes(frame_type, _)) => return Err(unexpected(frame_type)),
                Some(Message::EndOfFile) => return Err(unexpected(FrameType::EOF)),
                Some(Message::Control(_) | Message::Entry(_)) => {
                    return Err(unexpected(FrameType::JSON));
                }
            }
            any = true;
        }
        Ok(any)
    }

    /// Gives the client what it takes, and the end behind that.
    fn give(&mut self) -> Option<StreamEnd> {
        if !self.down.pieces.is_empty() {
            let empty: &[u8] = &[];
            let mut slices = [IoSlice::new(empty); MAX_PIECES];
            for (slice, piece) in slices.iter_mut().zip(&self.down.pieces) {
                *slice = IoSlice::new(self.exchange.bytes(piece.clone()));
            }
            let slices = &slices[..self.down.pieces.len()];
            let mut nothing = SendAncillaryBuffer::default();
            match sendmsg(self.client, slices, &mut nothing, SendFlags::NOSIGNAL) {
                Ok(count) => self.down.given(count),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody reads it any more, and the target is to get the rest.
                Err(_) if self.is_closed_and_unheard() => self.down.pieces.clear(),
                Err(_) => return Some(StreamEnd::BrokenHere),
            }
        }
        if self.down.has_ended && !self.down.is_told && self.down.pieces.is_empty() {
            // A client that is gone needs no word of it.
            let _ = shutdown(self.client.as_fd(), Shutdown::Write);
            self.down.is_told = true;
        }
        None
    }
}

impl Up {
    /// Makes frames of what there is to read; of the end, too. How much that was.
    fn read(&mut self, client: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut payloads = self
            .frames
            .chunks_exact_mut(FRAME_BYTES)
            .map(|frame| IoSliceMut::new(&mut frame[HEADER_BYTES..]));
        let mut payloads: [IoSliceMut<'_>; FRAMES] =
            std::array::from_fn(|_| payloads.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let count = readv(client, &mut payloads)?;
        let mut rest = count;
        for frame in self.frames.chunks_exact_mut(FRAME_BYTES) {
            let payload_bytes = rest.min(MAX_CHUNK_BYTES);
            let frame_type = match count {
                0 => FrameType::EOF,
                _ => FrameType::DATA,
            };
            let header = FrameHeader::new(frame_type, payload_bytes).encode();
            frame[..HEADER_BYTES].copy_from_slice(&header);
            rest -= payload_bytes;
        }
        self.has_ended = count == 0;
        let headers = count.div_ceil(MAX_CHUNK_BYTES).max(1);
        self.unsent = 0..headers * HEADER_BYTES + count;
        Ok(count)
    }
}

impl Down {
    /// Notes that the client took so many bytes.
    fn given(&mut self, mut count: usize) {
        self.pieces.retain_mut(|piece| {
            let taken = count.min(piece.len());
            piece.start += taken;
            count -= taken;
            piece.start < piece.end
        });
    }
}
