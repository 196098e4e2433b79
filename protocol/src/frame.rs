//! One frame: a type byte, a big-endian length, and that many bytes of payload.
//!
//! Owns the header's layout and the limits of the wire. Refuses to allocate by a promised length:
//! nothing here holds a payload.
//!
//! ```text
//!  0        1        2        3        4        5
//! +--------+--------+--------+--------+--------+---------- - - -
//! |  type  |     length, u32 big-endian        |  payload
//! +--------+--------+--------+--------+--------+---------- - - -
//! ```

use std::fmt;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 5;

/// The longest payload that a sender of a stream puts into one frame.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// The longest payload that a reader accepts, inclusive.
pub const MAX_FRAME_BYTES: u32 = 16 * 1024 * 1024;

/// The most that one call hands to the kernel on a vsock socket, header included or not.
///
/// Guest kernels from 6.17 on (and 6.12.117) split larger packets in a way that several vsock
/// devices drop, and the stream then stalls for ever.
pub const MAX_VSOCK_WRITE_BYTES: usize = 28 * 1024;

/// The longest payload of a stream's frame on a vsock socket: its frame takes two whole writes, and not a
/// third one for the little that is left.
pub const MAX_VSOCK_CHUNK_BYTES: usize = 2 * MAX_VSOCK_WRITE_BYTES - HEADER_BYTES;

/// A frame's type byte; any value can arrive, five have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameType(pub u8);

impl FrameType {
    /// One UTF-8 JSON object: a request, an answer.
    pub const JSON: Self = Self(1);
    /// Raw bytes of a command's standard output.
    pub const STDOUT: Self = Self(2);
    /// Raw bytes of a command's standard error.
    pub const STDERR: Self = Self(3);
    /// Raw bytes of a file, of a command's input or of a stream.
    pub const DATA: Self = Self(4);
    /// The end of a file, a tree, an input or one direction of a stream; no payload.
    pub const EOF: Self = Self(5);
}

impl fmt::Display for FrameType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A frame's header, its length within [`MAX_FRAME_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the payload is.
    pub frame_type: FrameType,
    /// Bytes of payload that follow.
    pub payload_bytes: u32,
}

impl FrameHeader {
    /// The header of a frame with `payload_bytes` of payload.
    ///
    /// # Panics
    /// Where `payload_bytes` is over [`MAX_FRAME_BYTES`]: a sender that builds such a frame is a bug.
    #[must_use]
    pub fn new(frame_type: FrameType, payload_bytes: usize) -> Self {
        let payload_bytes = u32::try_from(payload_bytes)
            .ok()
            .filter(|&length| length <= MAX_FRAME_BYTES)
            .expect("senders keep their frames within the limit");
        Self {
            frame_type,
            payload_bytes,
        }
    }

    /// The header's five bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.payload_bytes.to_be_bytes();
        [self.frame_type.0, a, b, c, d]
    }

    /// Reads a header's five bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] where the length is over [`MAX_FRAME_BYTES`].
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [frame_type, a, b, c, d] = bytes;
        let payload_bytes = u32::from_be_bytes([a, b, c, d]);
        if payload_bytes > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { payload_bytes });
        }
        Ok(Self {
            frame_type: FrameType(frame_type),
            payload_bytes,
        })
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The header promises more than [`MAX_FRAME_BYTES`].
    TooLong {
        /// What the header promises.
        payload_bytes: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { payload_bytes } => write!(
                formatter,
                "frame of {payload_bytes} bytes is longer than the limit of {MAX_FRAME_BYTES}"
            ),
        }
    }
}

impl std::error::Error for FrameError {}

/// A whole frame as one buffer, for short payloads.
#[must_use]
pub fn encode_frame(frame_type: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&FrameHeader::new(frame_type, payload.len()).encode());
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_sixteen_mebibytes_is_accepted_and_one_more_is_refused() {
        assert_eq!(
            FrameHeader::decode([1, 1, 0, 0, 0]),
            Ok(FrameHeader {
                frame_type: FrameType::JSON,
                payload_bytes: MAX_FRAME_BYTES
            })
        );
        assert_eq!(
            FrameHeader::decode([1, 1, 0, 0, 1]),
            Err(FrameError::TooLong {
                payload_bytes: MAX_FRAME_BYTES + 1
            })
        );
    }

    #[test]
    fn encoded_frame_has_type_big_endian_length_and_payload() {
        assert_eq!(encode_frame(FrameType::DATA, b"abc"), b"\x04\0\0\0\x03abc");
    }
}
