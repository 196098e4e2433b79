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

use crate::sys::epoll::{self, Epoll, Ready};
use crate::sys::eventfd::EventFd;
use crate::sys::socket::{self, Family};
use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{
    self, FrameError, FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES, MAX_VSOCK_WRITE_BYTES,
};
use smolvm_protocol::response::Response;
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Read at a time before anybody expects bulk: a request fits, and a silent peer costs no more.
const REQUEST_BUFFER_BYTES: usize = 4 * 1024;

/// Read at a time of a payload.
const BULK_BUFFER_BYTES: usize = HEADER_BYTES + MAX_CHUNK_BYTES;

/// After the last frame: how long the peer may be silent before it is left.
pub(crate) const LINGER_BETWEEN_BYTES: Duration = Duration::from_secs(2);

/// After the last frame: how long the peer is listened to in all.
pub(crate) const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// What a connection waits for besides its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    Stdout,
    Stderr,
    Leader,
    Permit,
    Target,
    Resolved,
}

/// What is always to be known of the socket.
const SOCKET_INTEREST: epoll::Interest = epoll::IN | epoll::RDHUP | epoll::EDGE;

/// Tokens of the connection's own; a [`Source`]'s follow.
const SOCKET: u64 = 0;
const STOP: u64 = 1;
const FIRST_SOURCE: u64 = 2;

impl Source {
    const ALL: [Self; 7] = [
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Leader,
        Self::Permit,
        Self::Target,
        Self::Resolved,
    ];

    fn token(self) -> u64 {
        FIRST_SOURCE + self as u64
    }
}

/// Which sources had events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    all: u8,
    /// Those that may be written to, or take nothing more: what can be read alone is no reason to try.
    writable: u8,
}

impl Woken {
    pub(crate) fn has(self, source: Source) -> bool {
        self.all & (1 << source as u8) != 0
    }

    pub(crate) fn can_write(self, source: Source) -> bool {
        self.writable & (1 << source as u8) != 0
    }

    fn note(&mut self, ready: &Ready) {
        for source in Source::ALL {
            let bit = u8::from(source.token() == ready.token) << source as u8;
            self.all |= bit;
            if ready.events & !epoll::IN != 0 {
                self.writable |= bit;
            }
        }
    }
}

/// Why a connection goes no further.
#[derive(Debug)]
pub(crate) enum ConnectionError {
    /// The peer has closed, or has ended its side within a request.
    PeerGone,
    /// The agent is stopping.
    Stopping,
    /// The peer took or gave nothing for too long.
    TimedOut,
    /// What the peer sends is no frame.
    Frame(FrameError),
    /// A system call failed that should not.
    System(io::Error),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerGone => formatter.write_str("the host hung up"),
            Self::Stopping => formatter.write_str("the agent is stopping"),
            Self::TimedOut => formatter.write_str("the host was silent for too long"),
            Self::Frame(error) => error.fmt(formatter),
            Self::System(error) => error.fmt(formatter),
        }
    }
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From one byte to the next.
    pub(crate) between_bytes: Duration,
    /// When all must be there.
    pub(crate) until: Option<Instant>,
}

impl Patience {
    fn deadline(&self) -> Instant {
        let next_byte = Instant::now() + self.between_bytes;
        self.until.map_or(next_byte, |until| until.min(next_byte))
    }
}

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
    write_limit: usize,
    /// Whether the socket may have bytes, or room: true until a call says `EAGAIN`.
    readable: bool,
    writable: bool,
    /// Whether an event tells of room: only while there is none. Else each read of the peer's would wake us.
    room_watched: bool,
    peer: Peer,
    decoder: Decoder,
    received: Vec<u8>,
    /// How much of `received` the decoder has taken.
    taken: usize,
    received_any: bool,
    sent_any: bool,
}

impl<'stop> Connection<'stop> {
    /// Takes a connected socket over.
    pub(crate) fn new(socket: OwnedFd, family: Family, stop: &'stop EventFd) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&socket, SOCKET, SOCKET_INTEREST)?;
        epoll.add(stop, STOP, epoll::IN)?;
        let write_limit = match family {
            Family::Vsock => MAX_VSOCK_WRITE_BYTES,
            Family::Unix => usize::MAX,
        };
        Ok(Self {
            socket,
            epoll,
            _stop: stop,
            write_limit,
            readable: true,
            writable: true,
            room_watched: false,
            peer: Peer::Open,
            decoder: Decoder::new(),
            received: Vec::new(),
            taken: 0,
            received_any: false,
            sent_any: false,
        })
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
        for ready in self.epoll.wait(deadline).map_err(ConnectionError::System)? {
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

    /// Remembers what an event says of the socket.
    fn note(&mut self, events: epoll::Interest) {
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
        if self.received.capacity() == 0 {
            self.received.reserve_exact(REQUEST_BUFFER_BYTES);
        }
        self.taken = 0;
        let deadline = patience.deadline();
        loop {
            if self.readable {
                match socket::receive(&self.socket, &mut self.received) {
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

    /// Receives what the peer has sent beyond its request, at most one buffer; what was received before
    /// must have been taken, or is lost.
    ///
    /// Unread, it would keep some transports from telling us of the peer's end.
    pub(crate) fn receive_some(&mut self) -> Result<(), ConnectionError> {
        if self.received.capacity() == 0 {
            self.received.reserve_exact(REQUEST_BUFFER_BYTES);
        }
        self.taken = 0;
        self.received.clear();
        match socket::receive(&self.socket, &mut self.received) {
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
        match socket::send(&self.socket, &bytes[..bytes.len().min(self.write_limit)]) {
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
