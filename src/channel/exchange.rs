//! One request and its response on one connection.
//!
//! Owns the reading of frames: control frames are collected and parsed, all else is handed on as it
//! arrives, so that memory stays bounded by one buffer and one control frame. Whoever gives up on an
//! exchange calls [`Exchange::hang_up`].

use super::ChannelError;
use crate::deadline::Deadline;
use crate::transport::{Connection, TransportError};
use rustix::event::PollFlags;
use smolvm_protocol::answer::{Answer, FromAgent};
use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::Request;
use smolvm_protocol::tree::{Entry, TreeFrame};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

/// What the agent sent.
pub(super) enum Message {
    /// A control frame.
    Control(Box<Answer>),
    /// A control frame that tells of the next entry of a tree.
    Entry(Entry),
    /// So many bytes more of input have been handed on.
    Credit(usize),
    /// Some bytes of a frame of that type, to be had with [`Exchange::bytes`].
    Bytes(FrameType, Range<usize>),
    /// The end of a file.
    EndOfFile,
}

/// What control frames may be besides the answer.
#[derive(Clone, Copy)]
enum ControlKind {
    Answer,
    /// Entries of a tree.
    Entry,
    /// Credit for input.
    Credit,
}

impl ControlKind {
    fn of(request: &Request) -> Self {
        match request {
            Request::GetTree(_) => Self::Entry,
            Request::Run(run) if run.stdin || run.terminal.is_some() => Self::Credit,
            Request::Connect(_) => Self::Credit,
            _ => Self::Answer,
        }
    }
}

/// One request and its response.
pub(super) struct Exchange {
    connection: Connection,
    decoder: Decoder,
    buffer: Vec<u8>,
    unread: Range<usize>,
    frame_type: FrameType,
    control: Vec<u8>,
    control_kind: ControlKind,
    /// What the agent said before it had the whole request.
    early: Option<Message>,
}

impl Exchange {
    /// Sends the request's frame.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub(super) fn begin(
        connection: Connection,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Self, ChannelError> {
        let mut exchange = Self {
            connection,
            decoder: Decoder::new(),
            buffer: vec![0; MAX_CHUNK_BYTES],
            unread: 0..0,
            frame_type: FrameType::JSON,
            control: Vec::new(),
            control_kind: ControlKind::of(request),
            early: None,
        };
        let json = request.to_json();
        if json.len() > smolvm_protocol::frame::MAX_FRAME_BYTES as usize {
            return Err(ChannelError::Refused {
                sentence: "the request is longer than the 16 MiB that a frame can have".to_owned(),
            });
        }
        let frame = encode_frame(FrameType::JSON, json.as_bytes());
        exchange.early = exchange.send(&frame, deadline)?;
        Ok(exchange)
    }

    /// Sends bytes, and watches for an answer meanwhile: an agent that refuses early is heard at once,
    /// and two ends that both only write cannot block each other.
    pub(super) fn send(
        &mut self,
        mut bytes: &[u8],
        deadline: Deadline,
    ) -> Result<Option<Message>, ChannelError> {
        if let Some(message) = self.early.take() {
            return Ok(Some(message));
        }
        while !bytes.is_empty() {
            let ready = self
                .connection
                .wait(PollFlags::IN | PollFlags::OUT, deadline)?;
            if ready.contains(PollFlags::IN) {
                let is_at_end = self.read_some()? == Some(0);
                if let Some(message) = self.parse()? {
                    return Ok(Some(message));
                }
                if is_at_end {
                    return Err(ChannelError::ClosedEarly);
                }
            }
            match self.connection.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => return self.answer_before_the_end(error, deadline).map(Some),
            }
        }
        Ok(None)
    }

    /// The next message from the agent.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::ClosedEarly`] at the end of the stream.
    pub(super) fn next(&mut self, deadline: Deadline) -> Result<Message, ChannelError> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(message);
            }
            self.connection.wait(PollFlags::IN, deadline)?;
            self.fill()?;
        }
    }

    /// A message, where what has been read holds one.
    ///
    /// # Errors
    /// [`ChannelError::NotAnAgent`].
    pub(super) fn message(&mut self) -> Result<Option<Message>, ChannelError> {
        match self.early.take() {
            Some(message) => Ok(Some(message)),
            None => self.parse(),
        }
    }

    /// Waits for the connection and for others as [`Connection::wait_beside`] does.
    ///
    /// # Errors
    /// [`ChannelError::TimedOut`] and [`ChannelError::Cancelled`].
    pub(super) fn wait_beside(
        &self,
        interest: PollFlags,
        others: &mut [(Option<BorrowedFd<'_>>, bool)],
        deadline: Deadline,
    ) -> Result<PollFlags, ChannelError> {
        Ok(self.connection.wait_beside(interest, others, deadline)?)
    }

    /// The socket, for waits with others beside it.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Writes what fits now.
    ///
    /// # Errors
    /// [`ChannelError`]: what the agent said before may be there to read still.
    pub(super) fn try_write(&self, bytes: &[u8]) -> Result<usize, ChannelError> {
        Ok(self.connection.try_write(bytes)?)
    }

    /// Reads what there is, once all that was read before is parsed.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::ClosedEarly`] at the end of the stream.
    pub(super) fn fill(&mut self) -> Result<(), ChannelError> {
        match self.read_some()? {
            Some(0) => Err(ChannelError::ClosedEarly),
            _ => Ok(()),
        }
    }

    /// Whether what was read last and is not parsed yet fills the buffer, so that there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.unread == (0..self.buffer.len())
    }

    /// The next message where it must be a control frame that serves the request.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] and [`ChannelError::SpawnFailed`] where the agent
    /// says so.
    pub(super) fn answer(&mut self, deadline: Deadline) -> Result<Answer, ChannelError> {
        match self.next(deadline)? {
            Message::Control(answer) if answer.ok => Ok(*answer),
            Message::Control(answer) => Err(refusal(*answer)),
            Message::Entry(_) | Message::Credit(_) => Err(unexpected(FrameType::JSON)),
            Message::Bytes(frame_type, _) => Err(unexpected(frame_type)),
            Message::EndOfFile => Err(unexpected(FrameType::EOF)),
        }
    }

    /// The bytes of a message, until the next call.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Gives up on the request, so that the agent hears of it.
    pub(super) fn hang_up(self) {
        self.connection.hang_up();
    }

    /// A write failed: what the agent said before it closed counts for more.
    fn answer_before_the_end(
        &mut self,
        error: TransportError,
        deadline: Deadline,
    ) -> Result<Message, ChannelError> {
        match self.next(deadline) {
            Ok(message) => Ok(message),
            Err(ChannelError::NotAnAgent { reason }) => Err(ChannelError::NotAnAgent { reason }),
            Err(_) => Err(error.into()),
        }
    }

    fn read_some(&mut self) -> Result<Option<usize>, ChannelError> {
        if !self.unread.is_empty() {
            return Ok(None);
        }
        let count = self.connection.try_read(&mut self.buffer)?;
        self.unread = 0..count.unwrap_or(0);
        Ok(count)
    }

    /// Makes a message of the unread bytes; `None` once more are needed.
    fn parse(&mut self) -> Result<Option<Message>, ChannelError> {
        loop {
            let mut input = &self.buffer[self.unread.clone()];
            let event = self.decoder.next(&mut input)?;
            let rest = self.unread.end - input.len();
            let message = match event {
                None => {
                    self.unread = rest..self.unread.end;
                    return Ok(None);
                }
                Some(Event::Header(header)) => {
                    if !(1..=5).contains(&header.frame_type.0) {
                        return Err(unexpected(header.frame_type));
                    }
                    self.frame_type = header.frame_type;
                    self.control.clear();
                    // Without a byte it is still a frame of that type, for which it may be too early.
                    let is_empty = header.payload_bytes == 0;
                    let is_content =
                        ![FrameType::JSON, FrameType::EOF].contains(&header.frame_type);
                    (is_empty && is_content)
                        .then_some(Message::Bytes(header.frame_type, rest..rest))
                }
                Some(Event::Payload(bytes)) if self.frame_type == FrameType::JSON => {
                    self.control.extend_from_slice(bytes);
                    None
                }
                Some(Event::Payload(bytes)) => {
                    let range = rest - bytes.len()..rest;
                    Some(Message::Bytes(self.frame_type, range))
                }
                Some(Event::End) if self.frame_type == FrameType::JSON => {
                    Some(self.control_message()?)
                }
                Some(Event::End) if self.frame_type == FrameType::EOF => Some(Message::EndOfFile),
                Some(Event::End) => None,
            };
            self.unread = rest..self.unread.end;
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    fn control_message(&self) -> Result<Message, ChannelError> {
        let payload = &self.control;
        Ok(match self.control_kind {
            ControlKind::Answer => Message::Control(Box::new(Answer::parse(payload)?)),
            ControlKind::Entry => match TreeFrame::parse(payload)? {
                TreeFrame::Entry(entry) => Message::Entry(entry),
                TreeFrame::Answer(answer) => Message::Control(answer),
            },
            ControlKind::Credit => match FromAgent::parse(payload)? {
                FromAgent::Credit(bytes) => Message::Credit(bytes),
                FromAgent::Answer(answer) => Message::Control(answer),
            },
        })
    }
}

/// The error of a message that cannot be the end of an upload, or comes too early for it.
pub(super) fn misplaced(message: Message) -> ChannelError {
    match message {
        Message::Control(answer) if answer.ok => {
            ChannelError::not_an_agent("it confirmed what it did not have yet")
        }
        Message::Control(answer) => refusal(*answer),
        Message::Entry(_) | Message::Credit(_) => unexpected(FrameType::JSON),
        Message::Bytes(frame_type, _) => unexpected(frame_type),
        Message::EndOfFile => unexpected(FrameType::EOF),
    }
}

/// A frame that the protocol does not have in this place.
pub(super) fn unexpected(frame_type: FrameType) -> ChannelError {
    ChannelError::not_an_agent(format!("it sent a frame of type {frame_type}"))
}

/// The error that an agent's refusal is; the number in `spawn failed: [Errno N] …` is told apart.
pub(super) fn refusal(answer: Answer) -> ChannelError {
    let sentence = answer.error.unwrap_or_else(|| "no reason given".to_owned());
    let Some(reason) = sentence.strip_prefix("spawn failed: ") else {
        return ChannelError::Refused { sentence };
    };
    let errno = reason
        .strip_prefix("[Errno ")
        .and_then(|rest| rest.split_once(']'))
        .and_then(|(number, _)| number.parse().ok());
    ChannelError::SpawnFailed { sentence, errno }
}
