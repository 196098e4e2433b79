//! Pings that are there as a whole when their connection is accepted, or come in one piece a moment later: the main
//! thread answers them. That costs less than half of what a thread does, and works where there is none to be had.
//!
//! Owns those connections until their peers' ends, under the limits that others have after their last frame.
//! Waits for a peer's first bytes no longer than [`FIRST_BYTES`], and parses nothing: what is not byte for byte
//! what hosts send is left to a thread, unread.

use crate::connection::{LINGER_BETWEEN_BYTES, LINGER_IN_ALL};
use crate::operation::ping;
use crate::sys::epoll::{self, Epoll};
use crate::sys::{file, socket};
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, encode_frame};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What hosts send: as Python's `json.dumps` writes it, and without blanks; the last is our library's.
const PINGS: [&[u8]; 4] = [
    b"{\"v\": 1, \"op\": \"ping\"}",
    b"{\"op\": \"ping\"}",
    b"{\"op\":\"ping\"}",
    b"{\"v\":1,\"op\":\"ping\"}",
];

/// More than any of them as a frame: so that what stands behind one is seen.
const PEEKED_BYTES: usize = 64;

/// How long a peer that has been accepted has to say something. Meanwhile the main thread does nothing else: other peers
/// and a stop wait. On a Unix socket a request follows within some 10 µs, on vsock after a round trip.
pub(crate) const FIRST_BYTES: Duration = Duration::from_millis(1);

/// The tokens of these connections begin here.
pub(crate) const FIRST_TOKEN: u64 = 1 << 32;

/// Connections whose pings are answered; each holds its place in a count.
#[derive(Debug)]
pub(crate) struct Pings<Place> {
    patience: Duration,
    answer: Vec<u8>,
    answered: Vec<Answered<Place>>,
    next_token: u64,
}

#[derive(Debug)]
struct Answered<Place> {
    socket: OwnedFd,
    token: u64,
    /// When it is closed where its peer has neither sent anything nor closed.
    silent_until: Instant,
    /// When it is closed whatever its peer does.
    until: Instant,
    _place: Place,
}

impl<Place> Pings<Place> {
    /// No pings yet; `patience` is how long a peer has for its first bytes.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            answer: encode_frame(FrameType::JSON, ping::pong().to_json().as_bytes()),
            answered: Vec::new(),
            next_token: FIRST_TOKEN,
        }
    }

    /// Answers where a ping is all that has come, and has `epoll` tell of the peer's end; else gives both back.
    pub(crate) fn answer(
        &mut self,
        epoll: &Epoll,
        socket: OwnedFd,
        place: Place,
    ) -> Option<(OwnedFd, Place)> {
        let mut bytes = Vec::with_capacity(PEEKED_BYTES);
        let mut peeked = socket::peek(&socket, &mut bytes);
        let is_silent = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        if peeked.as_ref().is_err_and(is_silent) && file::comes_within(&socket, self.patience) {
            peeked = socket::peek(&socket, &mut bytes);
        }
        let is_ping = peeked.is_ok() && is_ping(&bytes);
        if !is_ping || epoll.add(&socket, self.next_token, epoll::IN).is_err() {
            return Some((socket, place));
        }
        if socket::receive(&socket, &mut bytes).is_err() {
            return epoll.remove(&socket).ok().map(|()| (socket, place));
        }
        // A socket that nothing was sent on takes an answer as a whole, unless its peer has gone or, on vsock, allows
        // less than that: who gets a part gets no end of it.
        let sent = socket::send(&socket, &self.answer);
        let is_sent = sent.is_ok_and(|length| length == self.answer.len());
        if is_sent && socket::shut_down_sending(&socket).is_ok() {
            let now = Instant::now();
            self.answered.push(Answered {
                socket,
                token: self.next_token,
                silent_until: now + LINGER_BETWEEN_BYTES,
                until: now + LINGER_IN_ALL,
                _place: place,
            });
            self.next_token += 1;
        }
        None
    }

    /// Acts on an event: discards what a peer has sent, and closes at its end.
    pub(crate) fn hear(&mut self, token: u64) {
        let is_it = |answered: &Answered<Place>| answered.token == token;
        let Some(at) = self.answered.iter().position(is_it) else {
            return;
        };
        let mut discarded = Vec::with_capacity(PEEKED_BYTES);
        match socket::receive(&self.answered[at].socket, &mut discarded) {
            Ok(1..) => self.answered[at].silent_until = Instant::now() + LINGER_BETWEEN_BYTES,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => drop(self.answered.swap_remove(at)),
        }
    }

    /// Closes those whose time is over, and tells when the next one's is.
    pub(crate) fn close_late(&mut self) -> Option<Instant> {
        if self.answered.is_empty() {
            return None;
        }
        let now = Instant::now();
        let ends = |answered: &Answered<Place>| answered.until.min(answered.silent_until);
        self.answered.retain(|answered| ends(answered) > now);
        self.answered.iter().map(ends).min()
    }
}

fn is_ping(bytes: &[u8]) -> bool {
    let payload = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let header = FrameHeader::new(FrameType::JSON, payload.len());
    PINGS.contains(&payload) && bytes.starts_with(&header.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smolvm_protocol::request::Request;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn accepted(sent: &[u8]) -> (OwnedFd, UnixStream) {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(sent).unwrap();
        (ours.into(), peer)
    }

    #[test]
    fn ping_that_has_come_is_answered_and_its_connection_closed_at_the_peers_end() {
        let epoll = Epoll::new().unwrap();
        let mut pings = Pings::new(FIRST_BYTES);
        let ours = Request::Ping.to_json();
        assert_eq!(PINGS.last(), Some(&ours.as_bytes()));
        for ping in PINGS {
            let (socket, mut peer) = accepted(&encode_frame(FrameType::JSON, ping));
            assert!(pings.answer(&epoll, socket, ()).is_none());
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, pings.answer);
            assert!(pings.close_late().is_some());
            peer.write_all(&[7; 100]).unwrap();
            drop(peer);
            while pings.close_late().is_some() {
                for ready in epoll.wait(None).unwrap() {
                    pings.hear(ready.token);
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_ping_alone_is_given_back_unread() {
        let epoll = Epoll::new().unwrap();
        let mut pings = Pings::new(FIRST_BYTES);
        let ping = encode_frame(FrameType::JSON, PINGS[0]);
        let longer = [ping.as_slice(), b"x"].concat();
        let other = encode_frame(FrameType::JSON, b"{\"op\": \"run\"}");
        for sent in [b"".as_slice(), &ping[..ping.len() - 1], &longer, &other] {
            let (socket, peer) = accepted(sent);
            let (socket, ()) = pings.answer(&epoll, socket, ()).unwrap();
            drop(peer);
            let mut left = Vec::new();
            UnixStream::from(socket).read_to_end(&mut left).unwrap();
            assert_eq!(left, sent);
        }
    }

    #[test]
    fn ping_that_comes_a_little_later_than_its_connection_is_answered() {
        let epoll = Epoll::new().unwrap();
        let mut pings = Pings::new(Duration::from_secs(10));
        let (socket, mut peer) = accepted(b"");
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| peer.write_all(&encode_frame(FrameType::JSON, PINGS[0])));
            assert!(pings.answer(&epoll, socket, ()).is_none());
            sent.join().unwrap().unwrap();
        });
        let mut answer = vec![0; pings.answer.len()];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, pings.answer);
    }

    #[test]
    fn connection_of_a_silent_peer_is_closed_in_time() {
        let epoll = Epoll::new().unwrap();
        let mut pings = Pings::new(FIRST_BYTES);
        let (socket, peer) = accepted(&encode_frame(FrameType::JSON, PINGS[0]));
        pings.answer(&epoll, socket, ());
        let began = Instant::now();
        while let Some(next) = pings.close_late() {
            epoll.wait(Some(next)).unwrap().for_each(drop);
        }
        assert!(began.elapsed() >= LINGER_BETWEEN_BYTES / 2);
        drop(peer);
    }
}
