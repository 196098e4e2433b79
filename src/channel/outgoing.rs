//! What this side sends while a command runs: its standard input, signals, its terminal's size.
//!
//! Owns one frame under way, which is read straight from the input's descriptor, and the [`Window`]. One wait is for
//! all of it and for the agent's answers, so that neither direction keeps the other waiting; control frames go
//! before input. When the agent takes no more, it is heard to the end.

use super::ChannelError;
use super::controls::Controls;
use super::exchange::{Exchange, Message};
use super::window::Window;
use crate::deadline::Deadline;
use rustix::event::PollFlags;
use rustix::io::Errno;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES};
use smolvm_protocol::request::RunRequest;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// How the thread ended that pumps a reader into a pipe; none where it panicked.
pub(crate) type PumpEnd = Arc<Mutex<Option<io::Result<()>>>>;

/// Where a command's standard input comes from.
#[derive(Debug)]
pub(crate) struct Input {
    /// It is waited for before it is read, and read to its end.
    pub(crate) descriptor: OwnedFd,
    /// What it is, as a noun.
    pub(crate) what: &'static str,
    /// Set before the descriptor's end, where a thread fills that.
    pub(crate) pump: Option<PumpEnd>,
}

impl Input {
    /// Why what seems to be its end is none.
    fn failure(&self) -> Option<io::Error> {
        let pump = self.pump.as_ref()?;
        let end = pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        end.unwrap_or_else(|| Err(io::Error::other("its reader panicked")))
            .err()
    }
}

/// What this side sends while a command runs.
pub(super) struct Outgoing<'run> {
    input: Option<Input>,
    controls: Option<&'run Controls>,
    window: Window,
    /// A frame's header and payload.
    frame: Vec<u8>,
    /// What of it is still to be sent.
    unsent: Range<usize>,
    /// Why nothing more can be sent.
    broken: Option<ChannelError>,
}

impl<'run> Outgoing<'run> {
    /// For a command as requested. Without an input, a terminal's is silent, and any other is empty.
    pub(super) fn new(
        request: &RunRequest,
        input: Option<Input>,
        controls: Option<&'run Controls>,
    ) -> Self {
        let takes_input = request.stdin || request.terminal.is_some();
        let mut outgoing = Self {
            input: input.filter(|_| takes_input),
            controls,
            window: Window::new(),
            frame: Vec::new(),
            unsent: 0..0,
            broken: None,
        };
        if outgoing.input.is_some() {
            outgoing.frame.resize(HEADER_BYTES + MAX_CHUNK_BYTES, 0);
        } else if takes_input && request.terminal.is_none() {
            outgoing.set_frame(FrameType::EOF, &[]);
        }
        outgoing
    }

    /// The agent's next message that is no credit; until it comes, whatever there is to send is sent.
    ///
    /// # Errors
    /// [`ChannelError`] as [`Exchange::next`]; [`ChannelError::Read`] where the input fails.
    pub(super) fn next(
        &mut self,
        exchange: &mut Exchange,
        deadline: Deadline,
    ) -> Result<Message, ChannelError> {
        loop {
            match exchange.message() {
                Ok(Some(Message::Credit(bytes))) => self.window.credited(bytes)?,
                Ok(Some(message)) => return Ok(message),
                Ok(None) => self.exchange_bytes(exchange, deadline)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits once, and then reads and writes what can be.
    fn exchange_bytes(
        &mut self,
        exchange: &mut Exchange,
        deadline: Deadline,
    ) -> Result<(), ChannelError> {
        let is_idle = self.unsent.is_empty() && self.broken.is_none();
        let controls = self.controls.filter(|_| is_idle);
        let input = self.input.as_ref();
        let input = input.filter(|_| is_idle && self.window.room() > 0);
        let mut others = [
            (controls.map(Controls::as_fd), false),
            (input.map(|input| input.descriptor.as_fd()), false),
        ];
        let interest = match self.unsent.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let socket = exchange.wait_beside(interest, &mut others, deadline)?;
        let [has_controls, has_input] = others.map(|(_, is_ready)| is_ready);
        if !(socket - PollFlags::OUT).is_empty() {
            if let Err(error) = exchange.fill() {
                return Err(self.broken.take().unwrap_or(error));
            }
        }
        match () {
            () if has_controls => self.take_control(),
            () if has_input => self.read_input()?,
            () => {}
        }
        self.send(exchange);
        Ok(())
    }

    fn take_control(&mut self) {
        if let Some(control) = self.controls.and_then(Controls::take) {
            self.set_frame(FrameType::JSON, control.to_json().as_bytes());
        }
    }

    /// Makes a frame of what there is of the input; of its end, too.
    fn read_input(&mut self) -> Result<(), ChannelError> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        let end = HEADER_BYTES + self.window.room().min(MAX_CHUNK_BYTES);
        let failure = match rustix::io::read(&input.descriptor, &mut self.frame[HEADER_BYTES..end])
        {
            Ok(0) => match input.failure() {
                None => {
                    self.input = None;
                    self.set_frame(FrameType::EOF, &[]);
                    return Ok(());
                }
                Some(failure) => failure,
            },
            Ok(count) => {
                self.window.sent(count);
                let header = FrameHeader::new(FrameType::DATA, count).encode();
                self.frame[..HEADER_BYTES].copy_from_slice(&header);
                self.unsent = 0..HEADER_BYTES + count;
                return Ok(());
            }
            // Somebody else who reads there was faster.
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(errno) => errno.into(),
        };
        Err(ChannelError::Read {
            what: input.what.to_owned(),
            source: failure,
        })
    }

    /// A short frame; the room for input stays.
    fn set_frame(&mut self, frame_type: FrameType, payload: &[u8]) {
        let end = HEADER_BYTES + payload.len();
        if self.frame.len() < end {
            self.frame.resize(end, 0);
        }
        let header = FrameHeader::new(frame_type, payload.len()).encode();
        self.frame[..HEADER_BYTES].copy_from_slice(&header);
        self.frame[HEADER_BYTES..end].copy_from_slice(payload);
        self.unsent = 0..end;
    }

    /// Sends what fits. An agent that takes no more may have answered: it is read to its end first.
    fn send(&mut self, exchange: &Exchange) {
        if self.unsent.is_empty() {
            return;
        }
        match exchange.try_write(&self.frame[self.unsent.clone()]) {
            Ok(count) => self.unsent.start += count,
            Err(error) => {
                self.broken = Some(error);
                self.unsent = 0..0;
                self.input = None;
            }
        }
    }
}
