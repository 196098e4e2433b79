//! What a host sends after its request: input, its end, and control frames.
//!
//! Owns the place between frames, and the one control frame that is collected. A host that has no input
//! to send may send anything, which is discarded but for control frames: hosts of before do.

use crate::connection::{Arrived, Connection, ConnectionError};
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{Control, MAX_CONTROL_BYTES};
use smolvm_protocol::response::Refusal;
use std::ops::Range;

/// Frames of input up to here are taken with the buffer that requests have: keys, mostly.
const SMALL_FRAME_BYTES: usize = 4096;

/// One step of a host's.
#[derive(Debug)]
pub(crate) enum HostFrame {
    /// Some input: the place of its bytes, to be had by [`Connection::bytes`].
    Input(Range<usize>),
    /// The end of the input.
    End,
    /// A control frame, or why it is refused.
    Control(Result<Control, Refusal>),
}

/// Why there is no more to be had of a host.
#[derive(Debug)]
pub(crate) enum Broken {
    Connection(ConnectionError),
    /// The request ends with this sentence: mostly, the host has sent what it may not.
    Refused(Refusal),
}

impl From<ConnectionError> for Broken {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The frame that is arriving.
#[derive(Clone, Copy, Debug)]
enum Current {
    Input,
    End,
    Control,
    /// A control frame of so many bytes, which is not collected.
    LongControl(usize),
    Discarded,
}

/// The frames behind a request.
#[derive(Debug)]
pub(crate) struct HostFrames {
    has_input: bool,
    current: Current,
    control: Vec<u8>,
    /// Whether all that comes is discarded, since it is no frames.
    is_deaf: bool,
}

impl HostFrames {
    pub(crate) fn new(has_input: bool) -> Self {
        Self {
            has_input,
            current: Current::Discarded,
            control: Vec::new(),
            is_deaf: false,
        }
    }

    /// The next step of what has been received; `None` where that says no more.
    pub(crate) fn next(
        &mut self,
        connection: &mut Connection<'_>,
    ) -> Result<Option<HostFrame>, Broken> {
        while !self.is_deaf {
            match connection.received_event() {
                Ok(None) => return Ok(None),
                Ok(Some(Arrived::Header(header))) => {
                    let length = header.payload_bytes as usize;
                    self.current = self.kind(header.frame_type, length)?;
                    if matches!(self.current, Current::Input) && length > SMALL_FRAME_BYTES {
                        connection.expect_bulk();
                    }
                }
                Ok(Some(Arrived::Payload(range))) => match self.current {
                    Current::Input => return Ok(Some(HostFrame::Input(range))),
                    Current::Control => self.control.extend_from_slice(connection.bytes(range)),
                    _ => {}
                },
                Ok(Some(Arrived::End)) => {
                    if let Some(frame) = self.complete() {
                        return Ok(Some(frame));
                    }
                }
                Err(ConnectionError::Frame(error)) if self.has_input => {
                    return Err(Refusal::new(error.to_string()).into());
                }
                Err(ConnectionError::Frame(_)) => self.is_deaf = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn kind(&mut self, frame_type: FrameType, length: usize) -> Result<Current, Refusal> {
        Ok(match frame_type {
            FrameType::JSON if length <= MAX_CONTROL_BYTES => {
                self.control.clear();
                Current::Control
            }
            FrameType::JSON => Current::LongControl(length),
            _ if !self.has_input => Current::Discarded,
            FrameType::DATA => Current::Input,
            FrameType::EOF => Current::End,
            other => {
                return Err(Refusal::new(format!(
                    "unexpected frame type {other} in the input"
                )));
            }
        })
    }

    /// What a frame that is complete says.
    fn complete(&mut self) -> Option<HostFrame> {
        match self.current {
            Current::Input | Current::Discarded => None,
            Current::End => Some(HostFrame::End),
            Current::LongControl(length) => self
                .has_input
                .then(|| HostFrame::Control(Err(too_long(length)))),
            Current::Control => match Control::parse(&self.control) {
                Ok(control) => Some(HostFrame::Control(Ok(control))),
                Err(error) => (self.has_input || error.is_control)
                    .then_some(HostFrame::Control(Err(error.refusal))),
            },
        }
    }
}

/// Why a control frame of so many bytes is not taken.
pub(crate) fn too_long(length: usize) -> Refusal {
    Refusal::new(format!(
        "a control frame may have {MAX_CONTROL_BYTES} bytes at most, not {length}"
    ))
}
