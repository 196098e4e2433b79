//! One accepted socket: reading, writing, seeing that the peer has gone, and ending so that the
//! answer arrives.
//!
//! Owns the connection's epoll instance, on which operations put what else they wait for, and all
//! that the transports differ in: how much one write may carry, and how a hang-up shows
//! (`docs/protocol.md`, "How a hang-up shows"). Refuses to know operations.
//!
//! The socket is watched edge-triggered, and what it last said is remembered. Level-triggered, a
//! peer that has shut down its sending side would keep the wait from ever sleeping; and a later
//! close changes no bit on AF_VSOCK, so that each event is a reason to probe anew.

mod ending;
mod reminder;
mod sources;

pub(crate) use ending::{ConnectionError, Patience};
pub(crate) use sources::{Source, Woken};

use self::reminder::Reminder;
use crate::sys::epoll::{self, Epoll, Ready};
use crate::sys::eventfd::EventFd;
use crate::sys::socket::{self, Family};
use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{
    self, FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES, MAX_VSOCK_CHUNK_BYTES,
    MAX_VSOCK_WRITE_BYTES,
};
use smolvm_protocol::response::Response;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Read at a time before anybody expects bulk: most requests fit, a silent peer costs no more, and two of them are a
/// page to the allocator, which keeps some for connections that overlap.
const REQUEST_BUFFER_BYTES: usize = 2000;

/// Read at a time of a payload.
const BULK_BUFFER_BYTES: usize = HEADER_BYTES + MAX_CHUNK_BYTES;

/// How long the buffer of a payload is kept while nothing happens: a host whose window is full may be silent for
/// as long as a command is.
const BULK_PATIENCE: Duration = Duration::from_millis(100);

/// After the last frame: how long the peer may be silent before it is left.
pub(crate) const LINGER_BETWEEN_BYTES: Duration = Duration::from_secs(2);

/// After the last frame: how long the peer is listened to in all.
pub(crate) const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// What is received without a look at anything else, in calls: a peer that always has more to say does not keep us from
/// a stop, nor from the time that it has.
const RECEIVED_AT_A_STRETCH: u32 = 32;

/// What is always to be known of the socket.
const SOCKET_INTEREST: epoll::Interest = epoll::IN | epoll::RDHUP | epoll::EDGE;

/// Tokens of the connection's own; a [`Source`]'s follow ([`sources::FIRST_TOKEN`]).
const SOCKET: u64 = 0;
const STOP: u64 = 1;

/// What has arrived; a payload as the place of its bytes, to be had by [`Connection::bytes`].
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    Header(FrameHeader),
    Payload(Range<usize>),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Open,
    /// It sends nothing more, and may take all that we send.
    HalfClosed,
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<'stop> {
    socket: OwnedFd,
    epoll: Epoll,
    /// Raised when the agent stops; watched by every connection.
    _stop: &'stop EventFd,
    family: Family,
    reminder: Reminder,
    /// Whether the socket may have bytes, or room: true until a call says `EAGAIN`.
    readable: bool,
    writable: bool,
    /// Whether an event tells of room: only while there is none. Else each read of the peer's would wake us.
    room_watched: bool,
    peer: Peer,
    decoder: Decoder,
    received: Vec<u8>,
    /// Whether payload is expected, so that `received` is the larger one whenever there is any.
    is_bulk: bool,
    /// How much of `received` the decoder has taken.
    taken: usize,
    received_any: bool,
    /// How often was received since the last wait.
    stretch: u32,
    sent_any: bool,
}

impl<'stop> Connection<'stop> {
    /// Takes a connected socket over.
    pub(crate) fn new(socket: OwnedFd, family: Family, stop: &'stop EventFd) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&socket, SOCKET, SOCKET_INTEREST)?;
        epoll.add(stop, STOP, epoll::IN)?;
        Ok(Self {
            socket,
            epoll,
            _stop: stop,
            family,
            reminder: Reminder::default(),
            readable: true,
            writable: true,
            room_watched: false,
            peer: Peer::Open,
            decoder: Decoder::new(),
            received: Vec::new(),
            is_bulk: false,
            taken: 0,
            received_any: false,
            stretch: 0,
            sent_any: false,
        })
    }

    /// The longest payload of a stream's frame that goes over it.
    pub(crate) fn chunk_bytes(&self) -> usize {
        match self.family {
            Family::Vsock => MAX_VSOCK_CHUNK_BYTES,
            Family::Unix => MAX_CHUNK_BYTES,
        }
    }

    /// Lets `fd` wake this connection's waits, at each change, until it is unwatched or closed.
    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> Result<(), ConnectionError> {
        let interest = match source {
            Source::Stdin => epoll::OUT | epoll::EDGE,
            // A terminal's master is written to as well.
            Source::Stdout | Source::Target => epoll::IN | epoll::OUT | epoll::EDGE,
            _ => epoll::IN | epoll::EDGE,
        };
        self.epoll
            .add(fd, source.token(), interest)
            .map_err(ConnectionError::System)
    }

    /// Whether a watched `fd` that is read wakes this connection's waits for room, too.
    pub(crate) fn watch_room(
        &self,
        fd: impl AsFd,
        source: Source,
        wanted: bool,
    ) -> Result<(), ConnectionError> {
        let room = if wanted { epoll::OUT } else { 0 };
        self.epoll
            .change(fd, source.token(), epoll::IN | epoll::EDGE | room)
            .map_err(ConnectionError::System)
    }

    pub(crate) fn unwatch(&self, fd: impl AsFd) -> Result<(), ConnectionError> {
        self.epoll.remove(fd).map_err(ConnectionError::System)
    }

    /// Waits for the socket, a watched source or `deadline`, whichever is first.
    ///
    /// # Errors
    /// [`ConnectionError::PeerGone`] and [`ConnectionError::Stopping`] as soon as they are so.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Result<Woken, ConnectionError> {
        self.stretch = 0;
        if self.peer == Peer::Gone {
            return Err(ConnectionError::PeerGone);
        }
        if self.room_watched == self.writable {
            self.room_watched = !self.writable;
            let room = if self.room_watched { epoll::OUT } else { 0 };
            self.epoll
                .change(&self.socket, SOCKET, SOCKET_INTEREST | room)
                .map_err(ConnectionError::System)?;
        }
        let mut woken = Woken::default();
        let mut stopping = false;
        for ready in self.await_events(deadline)? {
            match ready.token {
                SOCKET => self.note(ready.events),
                STOP => stopping = true,
                _ => woken.note(&ready),
            }
        }
        if stopping {
            return Err(ConnectionError::Stopping);
        }
        if self.peer == Peer::Gone {
            return Err(ConnectionError::PeerGone);
        }
        Ok(woken)
    }

    /// What happens by `deadline`. Where that is nothing for a while, the device is reminded of the peer, and
    /// the buffer of a payload, all of which is taken, is given back.
    fn await_events(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<impl Iterator<Item = Ready> + use<>, ConnectionError> {
        loop {
            let now = Instant::now();
            let remind = match self.family {
                Family::Vsock if self.sent_any => Some(self.reminder.remind(&self.socket, now)),
                _ => None,
            };
            let is_empty =
                self.received.capacity() == BULK_BUFFER_BYTES && self.taken == self.received.len();
            let give_back = is_empty.then(|| now + BULK_PATIENCE);
            let chore = [remind, give_back].into_iter().flatten().min();
            let before = chore.filter(|at| deadline.is_none_or(|deadline| *at < deadline));
            let events = self.epoll.wait(before.or(deadline));
            let mut events = events.map_err(ConnectionError::System)?.peekable();
            if before.is_none() || events.peek().is_some() {
                return Ok(events);
            }
            if give_back.is_some_and(|at| at <= Instant::now()) {
                self.received = Vec::new();
                self.taken = 0;
            }
        }
    }

    /// Remembers what an event says of the socket.
    fn note(&mut self, events: epoll::Interest) {
        self.reminder.heard();
        self.readable |= events & (epoll::IN | epoll::RDHUP) != 0;
        self.writable |= events & epoll::OUT != 0;
        if events & (epoll::HUP | epoll::ERR) != 0 {
            self.peer = Peer::Gone;
        } else if events & epoll::RDHUP != 0 || self.peer == Peer::HalfClosed {
            self.peer = match socket::send(&self.socket, &[]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Peer::Gone,
                _ => Peer::HalfClosed,
            };
        }
    }

    /// Makes room for payload, which comes in larger pieces than requests.
    pub(crate) fn expect_bulk(&mut self) {
        self.is_bulk = true;
        if self.received.capacity() < BULK_BUFFER_BYTES {
            let mut larger = Vec::with_capacity(BULK_BUFFER_BYTES);
            larger.extend_from_slice(&self.received[self.taken..]);
            self.received = larger;
            self.taken = 0;
        }
    }

    /// The next event of the peer's stream.
    ///
    /// # Errors
    /// [`ConnectionError::PeerGone`] at the end of the stream, once all that has arrived is taken;
    /// [`ConnectionError::TimedOut`] where `patience` ends first.
    pub(crate) fn next_event(&mut self, patience: &Patience) -> Result<Arrived, ConnectionError> {
        loop {
            match self.received_event()? {
                Some(event) => return Ok(event),
                None => self.fill(patience)?,
            }
        }
    }

    /// The next event of what has been received and not been taken; `None` where that says no more.
    ///
    /// # Errors
    /// [`ConnectionError::Frame`].
    pub(crate) fn received_event(&mut self) -> Result<Option<Arrived>, ConnectionError> {
        let mut input = &self.received[self.taken..];
        let before = input.len();
        let event = self
            .decoder
            .next(&mut input)
            .map_err(ConnectionError::Frame)?;
        let start = self.taken;
        self.taken += before - input.len();
        Ok(event.map(|event| match event {
            Event::Header(header) => Arrived::Header(header),
            Event::Payload(_) => Arrived::Payload(start..self.taken),
            Event::End => Arrived::End,
        }))
    }

    /// The bytes of an event's payload; valid until the next event is asked for.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.received[range]
    }

    /// Whether anything has arrived.
    pub(crate) fn has_received(&self) -> bool {
        self.received_any
    }

    fn fill(&mut self, patience: &Patience) -> Result<(), ConnectionError> {
        if self.stretch >= RECEIVED_AT_A_STRETCH {
            let now = Instant::now();
            if patience.until.is_some_and(|until| until <= now) {
                return Err(ConnectionError::TimedOut);
            }
            match self.wait(Some(now)) {
                // As below.
                Err(ConnectionError::PeerGone) => {}
                looked => drop(looked?),
            }
        }
        let mut deadline = None;
        loop {
            if self.readable {
                self.stretch += 1;
                match self.receive() {
                    Ok(0) => return Err(ConnectionError::PeerGone),
                    Ok(_) => {
                        self.received_any = true;
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.readable = false;
                    }
                    Err(_) => return Err(ConnectionError::PeerGone),
                }
            }
            let deadline = *deadline.get_or_insert_with(|| patience.deadline());
            match self.wait(Some(deadline)) {
                // What a peer sent before it went still counts.
                Err(ConnectionError::PeerGone) if self.readable => {}
                Err(error) => return Err(error),
                Ok(_) if self.readable => {}
                Ok(_) if Instant::now() >= deadline => return Err(ConnectionError::TimedOut),
                Ok(_) => {}
            }
        }
    }

    /// Receives once, in place of what was received before.
    fn receive(&mut self) -> io::Result<usize> {
        self.taken = 0;
        self.received.clear();
        if self.received.capacity() == 0 {
            self.received.reserve_exact(match self.is_bulk {
                true => BULK_BUFFER_BYTES,
                false => REQUEST_BUFFER_BYTES,
            });
        }
        socket::receive_at_most(&self.socket, &mut self.received, self.decoder.wanted())
    }

    /// Receives what the peer has sent beyond its request, at most one buffer; what was received before
    /// must have been taken, or is lost.
    ///
    /// Unread, it would keep some transports from telling us of the peer's end.
    pub(crate) fn receive_some(&mut self) -> Result<(), ConnectionError> {
        match self.receive() {
            // The peer's end: whether it is gone is for the probe to say.
            Ok(0) => self.readable = false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(_) => self.peer = Peer::Gone,
        }
        if self.peer == Peer::Gone {
            Err(ConnectionError::PeerGone)
        } else {
            Ok(())
        }
    }

    /// Whether there may be bytes to receive.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether the socket may take bytes.
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether any byte of the answer is sent.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent_any
    }

    /// Sends what one call takes of `bytes`; 0 where it takes none now.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let limit = match self.family {
            Family::Vsock => MAX_VSOCK_WRITE_BYTES,
            Family::Unix => usize::MAX,
        };
        match socket::send(&self.socket, &bytes[..bytes.len().min(limit)]) {
            Ok(length) => {
                self.sent_any = true;
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) if is_lack_of_memory(&error) => Err(ConnectionError::System(error)),
            Err(_) => {
                self.peer = Peer::Gone;
                Err(ConnectionError::PeerGone)
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`ConnectionError::TimedOut`] where the peer has not taken them by `deadline`.
    pub(crate) fn send_all(
        &mut self,
        mut bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            if self.writable {
                let sent = self.send_some(bytes)?;
                bytes = &bytes[sent..];
                continue;
            }
            self.wait(deadline)?;
            if !self.writable && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ConnectionError::TimedOut);
            }
        }
        Ok(())
    }

    /// Sends a control frame.
    pub(crate) fn answer(
        &mut self,
        response: &Response<'_>,
        deadline: Option<Instant>,
    ) -> Result<(), ConnectionError> {
        let frame = frame::encode_frame(FrameType::JSON, response.to_json().as_bytes());
        self.send_all(&frame, deadline)
    }

    /// Ends the connection after its last frame: shuts down our sending side and reads on until the
    /// peer's end, since a close with unread bytes is a reset that can overtake the answer.
    pub(crate) fn finish(&mut self) {
        if socket::shut_down_sending(&self.socket).is_err() {
            return;
        }
        // What comes is no frames any more.
        self.decoder = Decoder::new();
        // Half a connection that both have ended shows as a hang-up; it is none before all is read.
        self.peer = Peer::Open;
        let patience = Patience {
            between_bytes: LINGER_BETWEEN_BYTES,
            until: Some(Instant::now() + LINGER_IN_ALL),
        };
        while self.fill(&patience).is_ok() {}
    }
}

/// Whether the kernel could not do it now, which says nothing of the peer.
fn is_lack_of_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
pub(crate) mod tests;
