//! Frames: the decoder, however the bytes arrive.
//!
//! It says the same as a reading of the whole at once, by the protocol's page alone; what it says was whole is encoded to the very same bytes;
//! and it hands on slices of what it was given, so that a promised length costs nothing.

use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, MAX_FRAME_BYTES, encode_frame};

/// A frame, as far as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    frame_type: u8,
    promised: u32,
    payload: Vec<u8>,
    is_whole: bool,
}

/// What a stream says: its frames, whether it broke, and whether it may end here.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    frames: Vec<Frame>,
    is_broken: bool,
    may_end: bool,
}

/// Checks what the decoder makes of `stream`.
pub fn check(stream: &[u8]) {
    let whole = decoded(&[stream]);
    assert_eq!(whole, read(stream), "the decoder reads other frames");
    for length in [1, 2, 3, 5, 7, 64] {
        let pieces: Vec<&[u8]> = stream.chunks(length).collect();
        assert_eq!(decoded(&pieces), whole, "in pieces of {length}");
    }
    for at in 0..stream.len().min(64) {
        let (first, second) = stream.split_at(at);
        assert_eq!(decoded(&[first, second]), whole, "cut at {at}");
    }
    let encoded: Vec<u8> = whole
        .frames
        .iter()
        .filter(|frame| frame.is_whole)
        .flat_map(|frame| encode_frame(FrameType(frame.frame_type), &frame.payload))
        .collect();
    assert_eq!(encoded, stream[..encoded.len()]);
}

fn decoded(pieces: &[&[u8]]) -> Reading {
    let mut decoder = Decoder::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut is_broken = false;
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(Event::Header(header))) => frames.push(Frame {
                    frame_type: header.frame_type.0,
                    promised: header.payload_bytes,
                    payload: Vec::new(),
                    is_whole: false,
                }),
                Ok(Some(Event::Payload(bytes))) => {
                    assert!(!bytes.is_empty() && piece.as_ptr_range().contains(&bytes.as_ptr()));
                    frames
                        .last_mut()
                        .expect("its header came")
                        .payload
                        .extend_from_slice(bytes);
                }
                Ok(Some(Event::End)) => frames.last_mut().expect("its header came").is_whole = true,
                Ok(None) => break,
                Err(_) => {
                    is_broken = true;
                    break;
                }
            }
        }
        assert!(
            rest.is_empty() || is_broken,
            "bytes are left although it asks for more"
        );
    }
    let may_end = decoder.is_between_frames();
    Reading {
        frames,
        is_broken,
        may_end,
    }
}

fn read(mut rest: &[u8]) -> Reading {
    let mut frames = Vec::new();
    let mut is_broken = false;
    while let [frame_type, a, b, c, d, behind @ ..] = rest {
        let promised = u32::from_be_bytes([*a, *b, *c, *d]);
        if promised > MAX_FRAME_BYTES {
            is_broken = true;
            break;
        }
        let there = behind.len().min(promised as usize);
        let (payload, next) = behind.split_at(there);
        frames.push(Frame {
            frame_type: *frame_type,
            promised,
            payload: payload.to_vec(),
            is_whole: there == promised as usize,
        });
        rest = next;
    }
    let may_end = !is_broken && rest.is_empty() && frames.last().is_none_or(|last| last.is_whole);
    Reading {
        frames,
        is_broken,
        may_end,
    }
}
