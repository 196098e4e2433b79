//! Bytes arriving in any split become frame events.
//!
//! Owns the place within a frame. Refuses to collect payload: it is handed on as slices of the
//! input, so memory never follows a promised length. Any split of the same bytes gives the same
//! headers, the same payload and the same ends; no input panics.

use crate::frame::{FrameError, FrameHeader, HEADER_BYTES};

/// Payloads from here on are worth a call of their own to receive.
const LONG_FRAME_BYTES: usize = 16 * 1024;

/// What the next bytes of the stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'input> {
    /// A frame begins.
    Header(FrameHeader),
    /// Some of the frame's payload, never empty.
    Payload(&'input [u8]),
    /// The frame's payload is complete.
    End,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header {
        bytes: [u8; HEADER_BYTES],
        filled: usize,
    },
    Payload {
        length: usize,
        remaining: usize,
    },
    Broken(FrameError),
}

const START: Place = Place::Header {
    bytes: [0; HEADER_BYTES],
    filled: 0,
};

/// Turns a byte stream into [`Event`]s.
#[derive(Clone, Debug)]
pub struct Decoder {
    place: Place,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { place: START }
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` and says what they are; `None` once more are needed.
    ///
    /// # Errors
    /// [`FrameError`] where the stream is broken; it stays so.
    pub fn next<'input>(
        &mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Event<'input>>, FrameError> {
        match &mut self.place {
            Place::Header { bytes, filled } => {
                let taken = take(input, HEADER_BYTES - *filled);
                bytes[*filled..*filled + taken.len()].copy_from_slice(taken);
                *filled += taken.len();
                if *filled < HEADER_BYTES {
                    return Ok(None);
                }
                match FrameHeader::decode(*bytes) {
                    Ok(header) => {
                        let length = header.payload_bytes as usize;
                        self.place = Place::Payload {
                            length,
                            remaining: length,
                        };
                        Ok(Some(Event::Header(header)))
                    }
                    Err(error) => {
                        self.place = Place::Broken(error);
                        Err(error)
                    }
                }
            }
            Place::Payload { remaining: 0, .. } => {
                self.place = START;
                Ok(Some(Event::End))
            }
            Place::Payload { remaining, .. } => {
                let taken = take(input, *remaining);
                *remaining -= taken.len();
                Ok((!taken.is_empty()).then_some(Event::Payload(taken)))
            }
            Place::Broken(error) => Err(*error),
        }
    }

    /// How many bytes are best received next: within a long frame those that it lacks and the header behind it, so
    /// that the next ones begin with a payload, which can be handed on as a whole; else as many as there are.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match self.place {
            Place::Payload { length, remaining } if length >= LONG_FRAME_BYTES => {
                remaining + HEADER_BYTES
            }
            _ => usize::MAX,
        }
    }

    /// Whether the stream may end here: no frame is begun.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.place, Place::Header { filled: 0, .. })
    }
}

/// Splits at most `limit` bytes off the front of `input`.
fn take<'input>(input: &mut &'input [u8], limit: usize) -> &'input [u8] {
    let (taken, rest) = input.split_at(limit.min(input.len()));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameType, MAX_FRAME_BYTES, encode_frame};
    use quickcheck::quickcheck;

    /// Frames as a list, however the stream was cut: `(type, payload)` of each complete one.
    fn frames_of<'a>(
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> (Vec<(u8, Vec<u8>)>, Option<FrameError>) {
        let mut decoder = Decoder::new();
        let mut frames = Vec::new();
        let mut open = (0, Vec::new());
        for mut piece in pieces {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(Event::Header(header))) => open = (header.frame_type.0, Vec::new()),
                    Ok(Some(Event::Payload(bytes))) => open.1.extend_from_slice(bytes),
                    Ok(Some(Event::End)) => frames.push(std::mem::take(&mut open)),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
            assert!(piece.is_empty());
        }
        (frames, None)
    }

    /// Cuts `stream` at each of `cuts`, taken modulo its length.
    fn pieces_of(stream: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        at.windows(2)
            .map(|pair| stream[pair[0]..pair[1]].to_vec())
            .collect()
    }

    quickcheck! {
        fn any_split_of_any_valid_stream_gives_the_same_frames(
            frames: Vec<(u8, Vec<u8>)>,
            cuts: Vec<usize>
        ) -> bool {
            let stream: Vec<u8> = frames
                .iter()
                .flat_map(|(kind, payload)| encode_frame(FrameType(*kind), payload))
                .collect();
            let pieces = pieces_of(&stream, &cuts);
            frames_of(pieces.iter().map(Vec::as_slice)) == (frames, None)
        }

        fn any_bytes_decode_alike_whole_and_byte_by_byte(bytes: Vec<u8>) -> bool {
            frames_of(std::iter::once(bytes.as_slice())) == frames_of(bytes.chunks(1))
        }
    }

    #[test]
    fn long_frame_wants_what_it_lacks_and_the_next_header() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.wanted(), usize::MAX);
        let frame = encode_frame(FrameType::DATA, &[7; LONG_FRAME_BYTES]);
        let mut part = &frame[..HEADER_BYTES + 1000];
        while decoder.next(&mut part).unwrap().is_some() {}
        assert_eq!(decoder.wanted(), LONG_FRAME_BYTES - 1000 + HEADER_BYTES);
        let mut short = &encode_frame(FrameType::DATA, &[7; LONG_FRAME_BYTES - 1])[..HEADER_BYTES];
        let mut decoder = Decoder::new();
        while decoder.next(&mut short).unwrap().is_some() {}
        assert_eq!(decoder.wanted(), usize::MAX);
    }

    #[test]
    fn frame_over_the_limit_breaks_the_stream_for_good() {
        let mut decoder = Decoder::new();
        let error = FrameError::TooLong {
            payload_bytes: MAX_FRAME_BYTES + 1,
        };
        assert_eq!(decoder.next(&mut &[4, 1, 0, 0, 1][..]), Err(error));
        assert_eq!(
            decoder.next(&mut &encode_frame(FrameType::EOF, b"")[..]),
            Err(error)
        );
    }

    #[test]
    fn stream_cut_within_a_frame_is_not_between_frames() {
        let mut decoder = Decoder::new();
        assert!(decoder.is_between_frames());
        assert_eq!(decoder.next(&mut &b"\x05\0"[..]), Ok(None));
        assert!(!decoder.is_between_frames());
    }
}
