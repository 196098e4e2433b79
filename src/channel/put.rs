//! `put_file`: a file into the guest.
//!
//! Owns the way from a reader of known size to the agent's answer, and the sum behind it. A refusal that comes while
//! bytes are still being sent is reported at once.

use super::exchange::{Exchange, Message, misplaced};
use super::{Channel, ChannelError, STALL_LIMIT, SYNC_LIMIT};
use crate::checksum::Summer;
use crate::deadline::Deadline;
use crate::transport::Absence;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::{Destination, ExpectedSum, FollowingSum, PutFileRequest, Request};
use std::io::{self, Read};

impl Channel {
    /// Stores `size` bytes of `source` in the guest. What `source` has beyond them is not read. A sum that is to follow is
    /// computed while they are sent, and is for agents with [`super::SHA256_FOLLOWS`]. Agents without [`super::SHA256`],
    /// [`super::FILE_OWNER`] or [`super::PUT_SYNC`] take no notice of these wishes.
    ///
    /// # Errors
    /// [`ChannelError`]; the target in the guest is then as it was. [`ChannelError::Read`] where
    /// `source` fails or ends early. The time that `source` takes is not cut short.
    pub fn put_file(
        &self,
        source: &mut dyn Read,
        size: u64,
        destination: Destination,
        deadline: Deadline,
    ) -> Result<(), ChannelError> {
        let sync = destination.sync;
        let summer = match destination.sha256 {
            Some(ExpectedSum::Follows) => Some(Summer::default()),
            Some(ExpectedSum::Given(_)) | None => None,
        };
        let request = Request::PutFile(PutFileRequest {
            size,
            destination: Ok(destination),
        });
        let mut exchange = self.begin(&request, Absence::IsAnError, deadline)?;
        let outcome = upload(&mut exchange, source, size, summer, deadline)
            .and_then(|answer| stored(&mut exchange, answer, sync, deadline));
        match outcome {
            Ok(()) | Err(ChannelError::Refused { .. }) => {}
            Err(_) => exchange.hang_up(),
        }
        outcome
    }
}

/// Sends the bytes, their end, and their sum where there is a `summer`; the answer, where it has come meanwhile.
fn upload(
    exchange: &mut Exchange,
    source: &mut dyn Read,
    size: u64,
    mut summer: Option<Summer>,
    deadline: Deadline,
) -> Result<Option<Message>, ChannelError> {
    let mut frame = vec![0; HEADER_BYTES + MAX_CHUNK_BYTES];
    let mut remaining = size;
    while remaining > 0 {
        let wanted = usize::try_from(remaining).unwrap_or(MAX_CHUNK_BYTES);
        let end = HEADER_BYTES + wanted.min(MAX_CHUNK_BYTES);
        let count = read_some(source, &mut frame[HEADER_BYTES..end])?;
        frame[..HEADER_BYTES].copy_from_slice(&FrameHeader::new(FrameType::DATA, count).encode());
        if let Some(message) = send(exchange, &frame[..HEADER_BYTES + count], deadline)? {
            return Err(misplaced(message));
        }
        // Sent first, so that the agent has something to do meanwhile.
        if let Some(summer) = &mut summer {
            summer.update(&frame[HEADER_BYTES..HEADER_BYTES + count]);
        }
        remaining -= count as u64;
    }
    let end = encode_frame(FrameType::EOF, b"");
    let Some(summer) = summer else {
        // The answer comes as soon as the bytes are in, so it may overtake the end of the file.
        return send(exchange, &end, deadline);
    };
    let sum = FollowingSum(summer.finish()).to_json();
    let end = [end, encode_frame(FrameType::JSON, sum.as_bytes())].concat();
    match send(exchange, &end, deadline)? {
        Some(message) => Err(misplaced(message)),
        None => Ok(None),
    }
}

/// Sends bytes; gives up where nothing moves for too long.
pub(super) fn send(
    exchange: &mut Exchange,
    bytes: &[u8],
    deadline: Deadline,
) -> Result<Option<Message>, ChannelError> {
    let limit = deadline.or_earlier(Deadline::after(STALL_LIMIT));
    exchange
        .send(bytes, limit)
        .map_err(|error| stalled(error, deadline))
}

/// A time-out before the call's own deadline is a stall.
pub(super) fn stalled(error: ChannelError, deadline: Deadline) -> ChannelError {
    match error {
        ChannelError::TimedOut if !deadline.has_passed() => ChannelError::Stalled,
        error => error,
    }
}

fn read_some(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, ChannelError> {
    let read_error = |source| ChannelError::Read {
        what: "the file to send".to_owned(),
        source,
    };
    loop {
        match source.read(buffer) {
            Ok(0) => {
                let short = "it became shorter while it was sent";
                return Err(read_error(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    short,
                )));
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
    }
}

/// Waits for the answer, where it has not come yet: with `sync`, so long as a disk may take.
fn stored(
    exchange: &mut Exchange,
    answer: Option<Message>,
    sync: bool,
    deadline: Deadline,
) -> Result<(), ChannelError> {
    let next = match (answer, sync) {
        (Some(message), _) => Ok(message),
        (None, true) => exchange.next(deadline.or_earlier(Deadline::after(SYNC_LIMIT))),
        (None, false) => exchange
            .next(deadline.or_earlier(Deadline::after(STALL_LIMIT)))
            .map_err(|error| stalled(error, deadline)),
    };
    match next? {
        Message::Control(answer) if answer.ok => Ok(()),
        other => Err(misplaced(other)),
    }
}
