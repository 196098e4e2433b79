//! What the agent reads from a host behind its request: input, control frames, and the credit that it gives for them.
//!
//! A script (`script.rs`), whose flags choose what is checked: steps say the same however the bytes arrive, and what a plain reading
//! says; input arrives in order and whole, no byte is credited that was not sent, and all but the last few that were handed on
//! are; a host that keeps to its window is never refused, one that does not always.

use crate::script::{self, Frame, frames_of};
use smolvm_guest_agent::fuzzing::{Step, carry_input, host_frames};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::{Control, MAX_CONTROL_BYTES, WINDOW_BYTES};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// Whether the host has input to send.
const HAS_INPUT: u8 = 1;
/// Whether each byte of input stands for many, so that windows fill.
const IS_LONG: u8 = 2;
/// Whether what takes the input takes it late, or not at all.
const IS_SLOW: u8 = 4;
const IS_STUCK: u8 = 8;

/// So many bytes one stands for, and so many the agent reads at once.
const LONG_BYTES: usize = 1021;
const PIECE_BYTES: usize = 4096;
/// Of what is handed on, less than this is not credited.
const CREDIT_BYTES: usize = 64 * 1024;
/// A stream is cut into so many at most.
const MAX_PIECES: usize = 200;
/// So much is sent in all.
const MAX_BYTES: usize = 3 * WINDOW_BYTES;

/// Checks what the agent makes of a host's frames.
pub fn check(bytes: &[u8]) {
    let Some((flags, stream)) = script::read(bytes) else {
        return;
    };
    check_steps(flags & HAS_INPUT != 0, &stream);
    check_flow(flags, &stream);
}

fn check_steps(has_input: bool, stream: &[u8]) {
    let expected = steps(has_input, stream);
    for length in [PIECE_BYTES, 100, 7, 3, 1] {
        // A call for each piece takes its time.
        if stream.len() / length > MAX_PIECES {
            break;
        }
        let pieces: Vec<&[u8]> = stream.chunks(length).collect();
        let found = host_frames(has_input, &pieces).expect("there are descriptors left");
        assert_eq!(joined(found), expected, "in pieces of {length}");
    }
}

/// Pieces of input that follow each other as one, as if they had come at once.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Input(before)), Step::Input(bytes)) => before.extend(bytes),
            (_, step) => joined.push(step),
        }
    }
    joined
}

fn steps(has_input: bool, stream: &[u8]) -> Vec<Step> {
    let (frames, is_broken) = frames_of(stream);
    let mut steps = Vec::new();
    for frame in frames {
        let is_whole = frame.is_whole;
        match (FrameType(frame.frame_type), has_input) {
            (FrameType::JSON, _) if is_whole => steps.extend(control(has_input, &frame)),
            (FrameType::DATA, true) if !frame.payload.is_empty() => {
                steps.push(Step::Input(frame.payload))
            }
            (FrameType::EOF, true) if is_whole => steps.push(Step::End),
            (FrameType::JSON | FrameType::DATA | FrameType::EOF, _) | (_, false) => {}
            (other, true) => {
                steps.push(Step::Refused(format!(
                    "unexpected frame type {other} in the input"
                )));
                return joined(steps);
            }
        }
    }
    if is_broken && has_input {
        let at = broken_at(stream);
        let length = u32::from_be_bytes(stream[at + 1..at + 5].try_into().expect("four bytes"));
        let sentence = format!("frame of {length} bytes is longer than the limit of 16777216");
        steps.push(Step::Refused(sentence));
    }
    joined(steps)
}

/// Where the header stands that breaks a stream.
fn broken_at(stream: &[u8]) -> usize {
    let (frames, _) = frames_of(stream);
    frames.iter().map(|frame| 5 + frame.payload.len()).sum()
}

fn control(has_input: bool, frame: &Frame) -> Option<Step> {
    if frame.payload.len() > MAX_CONTROL_BYTES {
        let length = frame.payload.len();
        let sentence =
            format!("a control frame may have {MAX_CONTROL_BYTES} bytes at most, not {length}");
        return has_input.then_some(Step::Control(Err(sentence)));
    }
    match Control::parse(&frame.payload) {
        Ok(control) => Some(Step::Control(Ok(control))),
        // A host that has none may send anything.
        Err(error) => (has_input || error.is_control)
            .then(|| Step::Control(Err(error.refusal.sentence().to_owned()))),
    }
}

fn check_flow(flags: u8, stream: &[u8]) {
    let long = match flags & IS_LONG {
        0 => stream.to_vec(),
        _ => lengthened(stream),
    };
    let (target, mut reader) = UnixStream::pair().expect("there are descriptors left");
    for end in [&target, &reader] {
        end.set_nonblocking(true).expect("it is a socket");
    }
    let mut arrived = Vec::new();
    let mut drain = |arrived: &mut Vec<u8>| {
        let mut buffer = [0; PIECE_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            arrived.extend_from_slice(&buffer[..count]);
        }
    };
    // What is credited in all behind each piece.
    let mut credits = Vec::new();
    let mut pieces: Vec<&[u8]> = long.chunks(PIECE_BYTES).collect();
    let count = pieces.len();
    let sent_behind = sent_behind_each(&long);
    // Nothing comes with these: what is kept is handed on once there is room for it.
    pieces.extend([&[] as &[u8]; 2]);
    let (is_slow, is_stuck) = (flags & IS_SLOW != 0, flags & IS_STUCK != 0);
    let outcome = carry_input(&pieces, target.as_fd(), &mut |credited| {
        let at = credits.len();
        credits.push(credited);
        let is_late = is_slow && at < count && credits.len() % 16 != 0;
        if is_late || is_stuck {
            return;
        }
        drain(&mut arrived);
        assert!(
            credited + CREDIT_BYTES > arrived.len(),
            "what is handed on is not credited"
        );
        // There was room for it since the piece before.
        let due = at.checked_sub(1).filter(|_| !is_slow);
        let due = due.and_then(|before| sent_behind.get(before).or(sent_behind.last()));
        assert!(
            arrived.len() >= due.copied().unwrap_or(0),
            "what was sent is not handed on"
        );
    });
    drain(&mut arrived);
    let outcome = outcome.expect("there are descriptors left");
    check_credits(&pieces[..count], &sent_behind, &credits, &outcome);
    if !matches!(&outcome, Err(sentence) if sentence.starts_with("more than ")) {
        assert_eq!(outcome.clone().err(), refusal_of(&long));
    }
    let sent = input_in(&long);
    assert!(
        outcome.is_err() || is_stuck || arrived.len() == sent.len(),
        "a part of the input is lost"
    );
    assert!(sent.starts_with(&arrived), "the input is another one");
    let credited = credits.last().copied().unwrap_or_default();
    assert!(
        credited <= sent.len(),
        "{credited} bytes are credited of {}",
        sent.len()
    );
}

/// The sentence that refuses a stream, but for its window's.
fn refusal_of(stream: &[u8]) -> Option<String> {
    let mut has_ended = false;
    for step in steps(true, stream) {
        match step {
            Step::Refused(sentence) => return Some(sentence),
            Step::Input(_) | Step::End if has_ended => {
                return Some("input after its end".to_owned());
            }
            Step::End => has_ended = true,
            Step::Input(_) | Step::Control(_) => {}
        }
    }
    None
}

/// Checks that the window was kept to.
fn check_credits(
    pieces: &[&[u8]],
    sent: &[usize],
    credits: &[usize],
    outcome: &Result<(), String>,
) {
    for at in 0..pieces.len() {
        let sent = sent[at];
        let before = at
            .checked_sub(1)
            .map_or(0, |before| credits.get(before).copied().unwrap_or(0));
        let is_over = sent.saturating_sub(before) > WINDOW_BYTES;
        let is_refused = at >= credits.len();
        match outcome {
            Err(sentence) if is_refused && sentence.starts_with("more than ") => {
                assert!(is_over, "a host that kept to its window was refused");
            }
            _ if is_refused => {}
            _ => assert!(
                !is_over,
                "a host that did not keep to its window was not refused"
            ),
        }
        if is_refused {
            return;
        }
        assert!(credits[at] >= before && credits[at] <= sent);
    }
}

/// How many bytes of DATA's payload are there in all behind each piece of a stream.
fn sent_behind_each(stream: &[u8]) -> Vec<usize> {
    let (mut at, mut sent) = (0, 0);
    let mut behind_each = Vec::new();
    for frame in frames_of(stream).0 {
        let begin = at + 5;
        let end = begin + frame.payload.len();
        let is_data = frame.frame_type == FrameType::DATA.0;
        while (behind_each.len() + 1) * PIECE_BYTES < end {
            let piece_end = (behind_each.len() + 1) * PIECE_BYTES;
            let of_frame = if is_data {
                piece_end.saturating_sub(begin)
            } else {
                0
            };
            behind_each.push(sent + of_frame);
        }
        sent += if is_data { frame.payload.len() } else { 0 };
        at = end;
    }
    behind_each.resize(stream.len().div_ceil(PIECE_BYTES), sent);
    behind_each
}

/// Payload of DATA in a stream, as far as it goes.
fn input_in(stream: &[u8]) -> Vec<u8> {
    let (frames, _) = frames_of(stream);
    let data = frames.into_iter().take_while(|frame| {
        matches!(
            FrameType(frame.frame_type),
            FrameType::DATA | FrameType::JSON | FrameType::EOF
        )
    });
    let payloads = data.filter(|frame| frame.frame_type == FrameType::DATA.0);
    payloads.fold(Vec::new(), |mut input, frame| {
        input.extend_from_slice(&frame.payload);
        input
    })
}

/// The same frames, with many bytes of DATA for each one.
fn lengthened(stream: &[u8]) -> Vec<u8> {
    let mut long = Vec::new();
    for frame in frames_of(stream).0 {
        let payload = match FrameType(frame.frame_type) {
            FrameType::DATA => {
                let parts: Vec<_> = frame
                    .payload
                    .iter()
                    .map(|byte| [*byte; LONG_BYTES])
                    .collect();
                parts.concat()
            }
            _ => frame.payload,
        };
        if long.len() + payload.len() > MAX_BYTES {
            break;
        }
        long.extend(encode_frame(FrameType(frame.frame_type), &payload));
    }
    long
}
