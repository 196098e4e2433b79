//! Frames as they are written in a corpus: raw, or a line each.
//!
//! A line that begins with `{` is a JSON frame, with `=` DATA, `1` standard output, `2` standard error, `.` an EOF frame; any
//! other is a frame of the type that its first byte is. What follows the first byte is the payload, but for `{`.

use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, encode_frame};

/// More than this is not looked at: both ends of a pair of sockets take it without waiting.
const MAX_BYTES: usize = 16 * 1024;

/// Whether a script is raw.
const RAW: u8 = 0x80;

/// A script's first byte, whose other bits are a target's own, and the bytes that it stands for.
pub(crate) fn read(script: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (&flags, rest) = script.split_first()?;
    if rest.len() > MAX_BYTES {
        return None;
    }
    if flags & RAW != 0 {
        return Some((flags & !RAW, rest.to_vec()));
    }
    let lines = rest.split(|byte| *byte == b'\n');
    let frames = lines.filter_map(frame).flatten().collect();
    Some((flags, frames))
}

fn frame(line: &[u8]) -> Option<Vec<u8>> {
    let (&first, payload) = line.split_first()?;
    let (frame_type, payload) = match first {
        b'{' => (FrameType::JSON, line),
        b'=' => (FrameType::DATA, payload),
        b'1' => (FrameType::STDOUT, payload),
        b'2' => (FrameType::STDERR, payload),
        b'.' => (FrameType::EOF, payload),
        other => (FrameType(other), payload),
    };
    Some(encode_frame(frame_type, payload))
}

/// A frame; the last one of a stream may be cut, or too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) frame_type: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) is_whole: bool,
}

/// The frames of a stream, and whether a broken one follows them. That the decoder is right is `frames.rs`'s to say.
pub(crate) fn frames_of(mut stream: &[u8]) -> (Vec<Frame>, bool) {
    let mut decoder = Decoder::new();
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        match decoder.next(&mut stream) {
            Ok(Some(Event::Header(header))) => frames.push(Frame {
                frame_type: header.frame_type.0,
                payload: Vec::new(),
                is_whole: false,
            }),
            Ok(Some(Event::Payload(bytes))) => {
                let last = frames.last_mut().expect("its header came");
                last.payload.extend_from_slice(bytes);
            }
            Ok(Some(Event::End)) => frames.last_mut().expect("its header came").is_whole = true,
            Ok(None) => return (frames, false),
            Err(_) => return (frames, true),
        }
    }
}
