//! `connect`: a stream between the host and a socket in the guest.
//!
//! One loop moves both directions, each at its own pace: the host's under flow control (`input.rs`), so
//! that the host is read always and its hang-up seen; the target's one frame at a time.

use crate::connection::{Connection, ConnectionError, Source};
use crate::host_frames::{Broken, HostFrame, HostFrames};
use crate::input::Input;
use crate::permits::Permit;
use crate::resolver::{self, MAX_RESOLVED, Unresolved};
use crate::sys::outgoing::{self, Address};
use crate::sys::{file, socket};
use crate::{log, os_error};
use smolvm_protocol::frame::{self, FrameHeader, FrameType, HEADER_BYTES};
use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::request::{ConnectRequest, Target};
use smolvm_protocol::response::{Refusal, Response};
use smolvm_protocol::text::shown;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// From the request to the connection, the name's resolution included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Between two tries at a Unix socket whose listener has too many waiting, which no event tells of.
const BACKLOG_RETRY: Duration = Duration::from_millis(50);

/// How long a target that takes no more has to go on before the host is read again. What is read meanwhile
/// has to be kept, and is copied once more.
const TARGET_PATIENCE: Duration = Duration::from_millis(2);

/// Frames of the target's that are sent before the host is heard again.
const FRAMES_A_TURN: usize = 4;

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: ConnectRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    *turn = None;
    match reach(connection, &request.to)? {
        Ok(target) => {
            connection.answer(&Response::Connected, None)?;
            Stream::new(connection, target)?.until_end()
        }
        Err(reason) => {
            let to = quoted(&shown(&request.to.to_bytes()));
            let refusal = Refusal::new(["cannot connect to ", &to, ": ", &reason].concat());
            super::refuse(connection, "connect", &refusal)
        }
    }
}

/// Connects to the target, or says why that was not possible.
fn reach(
    connection: &mut Connection<'_>,
    target: &Target,
) -> Result<Result<OwnedFd, String>, ConnectionError> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    let addresses = match target {
        Target::Unix { path } => Ok(vec![Address::of_unix(path)]),
        Target::Tcp { host, port } => {
            // Without a NUL byte, as it was parsed.
            let host = CString::new(host.as_slice()).unwrap_or_default();
            resolver::resolve(connection, host, *port, deadline)?
        }
    };
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(Unresolved::Late) => {
            return Ok(Err(format!(
                "its name could not be resolved within {} s",
                CONNECT_LIMIT.as_secs()
            )));
        }
        Err(Unresolved::TooMany) => {
            return Ok(Err(format!(
                "{MAX_RESOLVED} names are being resolved already"
            )));
        }
    };
    let mut reason = "no such host is known".to_owned();
    let mut left = addresses.len() as u32;
    for address in &addresses {
        let now = Instant::now();
        // So that one address which never answers leaves time for the others.
        let until = now + deadline.saturating_duration_since(now) / left.max(1);
        left -= 1;
        match reach_address(connection, address, until)? {
            Ok(made) => return Ok(Ok(made)),
            Err(error) => reason = error,
        }
    }
    Ok(Err(reason))
}

fn reach_address(
    connection: &mut Connection<'_>,
    address: &Address,
    until: Instant,
) -> Result<Result<OwnedFd, String>, ConnectionError> {
    loop {
        let retry = match outgoing::connect(address) {
            Ok(made) => match made_by(connection, made, until)? {
                Ok(made) => return Ok(made.ok_or_else(unanswered)),
                Err(error) => return Ok(Err(os_error::sentence(&error))),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                until.min(Instant::now() + BACKLOG_RETRY)
            }
            Err(error) => return Ok(Err(os_error::sentence(&error))),
        };
        while Instant::now() < retry {
            connection.wait(Some(retry))?;
        }
        if Instant::now() >= until {
            return Ok(Err(unanswered()));
        }
    }
}

fn unanswered() -> String {
    format!("no answer within {} s", CONNECT_LIMIT.as_secs())
}

/// Waits until a connection is made; `None` where it is not by `until`.
fn made_by(
    connection: &mut Connection<'_>,
    socket: OwnedFd,
    until: Instant,
) -> Result<io::Result<Option<OwnedFd>>, ConnectionError> {
    connection.watch(&socket, Source::Target)?;
    loop {
        match outgoing::is_made(socket.as_fd()) {
            Ok(true) => return Ok(Ok(Some(socket))),
            Ok(false) if Instant::now() >= until => return Ok(Ok(None)),
            Ok(false) => connection.wait(Some(until))?,
            Err(error) => return Ok(Err(error)),
        };
    }
}

/// A stream that is open.
struct Stream<'connection, 'stop> {
    connection: &'connection mut Connection<'stop>,
    target: OwnedFd,
    /// Whether the target may have bytes, or its end: true until a read says `EAGAIN`.
    readable: bool,
    /// Whether the target has ended its direction.
    target_ended: bool,
    /// Whether the target knows that the host has ended its own.
    host_ended: bool,
    input: Input,
    host: HostFrames,
    /// The frame under way, and how much of it the kernel has taken.
    frame: Vec<u8>,
    sent: usize,
    /// Whether the last frame was credit.
    has_credited: bool,
    /// Whether an event tells that the target has room: only while something waits for that. Else each read of the
    /// target's would wake us.
    room_watched: bool,
    /// Until when the host is not read, since the target may soon take what there is.
    rests_until: Option<Instant>,
}

impl<'connection, 'stop> Stream<'connection, 'stop> {
    /// Takes a target over that the connection watches.
    fn new(
        connection: &'connection mut Connection<'stop>,
        target: OwnedFd,
    ) -> Result<Self, ConnectionError> {
        Ok(Self {
            frame: Vec::with_capacity(HEADER_BYTES + connection.chunk_bytes()),
            connection,
            target,
            readable: true,
            target_ended: false,
            host_ended: false,
            input: Input::new(),
            host: HostFrames::new(true),
            sent: 0,
            has_credited: false,
            room_watched: true,
            rests_until: None,
        })
    }

    /// Carries the stream until both directions have ended, or it breaks.
    fn until_end(mut self) -> Result<(), ConnectionError> {
        match self.carry() {
            Ok(()) => Ok(()),
            Err(Broken::Refused(refusal)) => {
                log::failure(&format_args!("connect: {refusal}"));
                Ok(())
            }
            Err(Broken::Connection(error)) => Err(error),
        }
    }

    fn carry(&mut self) -> Result<(), Broken> {
        self.hear()?;
        loop {
            let is_sent = self.sent == self.frame.len();
            if self.host_ended && self.target_ended && is_sent {
                return Ok(());
            }
            let can_move = if is_sent {
                (self.readable && !self.target_ended) || self.input.has_credit()
            } else {
                self.connection.is_writable()
            };
            let rests_until = self.rests_until.filter(|_| self.input.is_stuck());
            let can_hear = self.connection.is_readable() && rests_until.is_none();
            let can_go_on = can_move || can_hear || self.input.can_go_on();
            if self.room_watched != self.input.is_stuck() {
                self.room_watched = !self.room_watched;
                self.connection
                    .watch_room(&self.target, Source::Target, self.room_watched)?;
            }
            let woken = match can_go_on {
                true => self.connection.wait(Some(Instant::now()))?,
                false => self.connection.wait(rests_until)?,
            };
            if woken.has(Source::Target) {
                self.readable = true;
                if woken.can_write(Source::Target) {
                    self.input.note_ready();
                }
                // Behind its end nothing is read, which would tell.
                if self.target_ended && outgoing::is_made(self.target.as_fd()).is_err() {
                    return Ok(());
                }
            }
            if self.input.can_go_on() {
                self.input.hand_on(Some(self.target.as_fd()));
            }
            let now = Instant::now();
            self.rests_until = self
                .rests_until
                .filter(|until| self.input.is_stuck() && now < *until);
            if self.connection.is_readable() && self.rests_until.is_none() {
                self.connection.receive_some()?;
                self.hear()?;
                self.rests_until = self.input.is_stuck().then(|| now + TARGET_PATIENCE);
            }
            if self.input.has_ended() && !self.host_ended {
                self.host_ended = true;
                // It fails where the target is gone, which is then read.
                let _ = socket::shut_down_sending(&self.target);
            }
            if self.input.take_failure().is_some() || !self.send_frames()? {
                return Ok(());
            }
        }
    }

    /// Sends some of the frame under way and of those behind it: as much as both take at once, but a few
    /// frames at most. False where the target has broken the connection.
    fn send_frames(&mut self) -> Result<bool, ConnectionError> {
        for _ in 0..FRAMES_A_TURN {
            if self.sent == self.frame.len() && !self.next_frame() {
                return Ok(false);
            }
            if self.sent < self.frame.len() && self.connection.is_writable() {
                self.sent += self.connection.send_some(&self.frame[self.sent..])?;
            }
            if self.sent < self.frame.len() || !self.readable || self.target_ended {
                break;
            }
        }
        Ok(true)
    }

    /// Acts on what the host has sent.
    fn hear(&mut self) -> Result<(), Broken> {
        while let Some(step) = self.host.next(self.connection)? {
            match step {
                HostFrame::Input(range) => {
                    let bytes = self.connection.bytes(range);
                    self.input.arrived(Some(self.target.as_fd()), bytes)?;
                }
                HostFrame::End => self.input.end()?,
                HostFrame::Control(_) => {
                    return Err(Refusal::new("a stream has no control frames").into());
                }
            }
        }
        Ok(())
    }

    /// Takes the next frame, if there is one now. False where the target has broken the
    /// connection.
    fn next_frame(&mut self) -> bool {
        self.frame.clear();
        self.sent = 0;
        let can_read = self.readable && !self.target_ended;
        // The target's bytes in between: a host that sends without end gets credit without end.
        let credits = !self.has_credited || !can_read;
        self.has_credited = false;
        if let Some(credit) = credits.then(|| self.input.take_credit()).flatten() {
            self.has_credited = true;
            let json = Response::Credit(credit).to_json();
            // Not in its place, whose memory would be given back to the kernel and asked for anew.
            self.frame
                .extend_from_slice(&frame::encode_frame(FrameType::JSON, json.as_bytes()));
            return true;
        }
        if !can_read {
            return true;
        }
        self.frame.extend_from_slice(&[0; HEADER_BYTES]);
        match file::read_to_spare(&self.target, &mut self.frame) {
            Ok(0) => {
                self.target_ended = true;
                let header = FrameHeader::new(FrameType::EOF, 0).encode();
                self.frame[..].copy_from_slice(&header);
            }
            Ok(length) => {
                let header = FrameHeader::new(FrameType::DATA, length).encode();
                self.frame[..HEADER_BYTES].copy_from_slice(&header);
            }
            Err(error) => {
                self.frame.clear();
                self.readable = false;
                return error.kind() == io::ErrorKind::WouldBlock;
            }
        }
        true
    }
}
