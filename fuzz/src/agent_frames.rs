//! What a host reads from an agent while a command or a stream runs: answers, credit and output, in order or not.
//!
//! A script (`script.rs`), whose flags choose the call. Output is what the frames say; no more input is sent than there was credit for, and
//! it is the right one; nothing waits for what was not promised.

use crate::script::{self, Frame, frames_of};
use crate::socket::{answer, say};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::fuzzing::{relay, run};
use smolvm_protocol::answer::{Answer, FromAgent};
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{ConnectRequest, Request, RunRequest, Target, WINDOW_BYTES};
use smolvm_protocol::tree::{Order, TreeFrame};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// Whether it is a stream, rather than a command.
const IS_STREAM: u8 = 1;
/// Whether the command or stream has much to be told.
const HAS_INPUT: u8 = 2;
/// Whether the agent has said all before it has the request.
const IS_EARLY: u8 = 4;

/// What a pair of sockets takes without waiting, and no window's worth.
const INPUT_BYTES: usize = 100_000;

/// Checks what the host makes of an agent's frames.
pub fn check(bytes: &[u8]) {
    let Some((flags, stream)) = script::read(bytes) else {
        return;
    };
    let (frames, _) = frames_of(&stream);
    for frame in &frames {
        check_answer(&frame.payload);
    }
    let input: Vec<u8> = match flags & HAS_INPUT {
        0 => Vec::new(),
        _ => (0..INPUT_BYTES).map(|at| (at / 7) as u8).collect(),
    };
    let is_early = flags & IS_EARLY != 0;
    match flags & IS_STREAM {
        0 => check_run(is_early, &stream, &frames, &input),
        _ => check_relay(is_early, &stream, &frames, &input),
    }
}

/// What the three readings of a control frame say of one another.
fn check_answer(payload: &[u8]) {
    let plain = Answer::parse(payload);
    match FromAgent::parse(payload) {
        Ok(FromAgent::Answer(answer)) => assert_eq!(Ok(*answer), plain),
        Ok(FromAgent::Credit(_)) => assert!(plain.is_err(), "a credit is an answer, too"),
        Err(error) => assert!(plain.is_err() && !error.to_string().is_empty()),
    }
    match TreeFrame::parse(payload) {
        Ok(TreeFrame::Answer(answer)) => assert_eq!(Ok(*answer), plain),
        Ok(TreeFrame::Entry(entry)) => {
            let again = TreeFrame::parse(entry.to_json().as_bytes());
            assert_eq!(again, Ok(TreeFrame::Entry(entry.clone())));
            assert!(plain.is_err());
            let mut order = Order::new();
            assert_eq!(order.admit(&entry).is_ok(), order.has_begun());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_run(is_early: bool, stream: &[u8], frames: &[Frame], input: &[u8]) {
    let request = RunRequest {
        command: b"cat".to_vec(),
        stdin: true,
        ..RunRequest::default()
    };
    let (agent, host) = UnixStream::pair().expect("there are descriptors left");
    let (early, late) = match is_early {
        true => stream.split_at(stream.len()),
        false => stream.split_at(0),
    };
    (&agent).write_all(early).expect("a socket takes so much");
    let (reader, writer) = UnixStream::pair().expect("there are descriptors left");
    (&writer).write_all(input).expect("a socket takes so much");
    drop(writer);
    let cancel = Cancel::new().expect("there are descriptors left");
    let (stdout, stderr, ended) = run(
        host.into(),
        &request,
        Some(reader.into()),
        &cancel,
        &mut || say(&agent, late),
    );
    for (frame_type, found) in [(FrameType::STDOUT, &stdout), (FrameType::STDERR, &stderr)] {
        let expected = payload_of(frames, frame_type, &[FrameType::STDOUT, FrameType::STDERR]);
        assert!(expected.starts_with(found), "the output is another one");
        assert!(
            ended.is_err() || *found == expected,
            "a part of the output is lost"
        );
    }
    let is_whole = ended.is_ok();
    check_sent(
        &answer(agent),
        &Request::Run(request),
        frames,
        input,
        is_whole,
    );
}

fn check_relay(is_early: bool, stream: &[u8], frames: &[Frame], input: &[u8]) {
    let request = Request::Connect(ConnectRequest {
        to: Target::Unix {
            path: b"/s".to_vec(),
        },
    });
    let (agent, host) = UnixStream::pair().expect("there are descriptors left");
    let (early, late) = match is_early {
        true => stream.split_at(stream.len()),
        false => stream.split_at(0),
    };
    (&agent).write_all(early).expect("a socket takes so much");
    let (mut client, ours) = UnixStream::pair().expect("there are descriptors left");
    ours.set_nonblocking(true).expect("it is a socket");
    client.write_all(input).expect("a socket takes so much");
    client
        .shutdown(Shutdown::Write)
        .expect("the other end is there");
    let cancel = Cancel::new().expect("there are descriptors left");
    let end = relay(host.into(), &request, ours.as_fd(), &cancel, &mut || {
        say(&agent, late)
    });
    drop(ours);
    let mut arrived = Vec::new();
    // A reset comes behind the bytes.
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        arrived.extend_from_slice(&buffer[..count]);
    }
    let behind_answer = frames.get(1..).unwrap_or_default();
    let expected = payload_of(behind_answer, FrameType::DATA, &[FrameType::DATA]);
    assert!(
        expected.starts_with(&arrived),
        "the client got something else"
    );
    let is_whole = matches!(end, Ok(true));
    if is_whole {
        assert_eq!(arrived, expected, "the client did not get all");
    }
    check_sent(&answer(agent), &request, frames, input, is_whole);
}

/// All payload of one type up to the first frame of another than `types`, credit excepted.
fn payload_of(frames: &[Frame], frame_type: FrameType, types: &[FrameType]) -> Vec<u8> {
    let is_credit = |frame: &&Frame| {
        frame.is_whole && matches!(FromAgent::parse(&frame.payload), Ok(FromAgent::Credit(_)))
    };
    frames
        .iter()
        .take_while(|frame| {
            let own = FrameType(frame.frame_type);
            types.contains(&own) || own == FrameType::JSON && is_credit(frame)
        })
        .filter(|frame| frame.frame_type == frame_type.0)
        .flat_map(|frame| frame.payload.iter().copied())
        .collect()
}

/// Checks that the host has sent its request, and of the input no more than it had credit for; and that it did not take
/// credit for what it had not sent, where the response was whole to it.
fn check_sent(sent: &[u8], request: &Request, frames: &[Frame], input: &[u8], is_whole: bool) {
    let (sent, is_broken) = frames_of(sent);
    assert!(!is_broken);
    let Some((first, rest)) = sent.split_first() else {
        return;
    };
    let json = request.to_json();
    assert!(json.as_bytes().starts_with(&first.payload) && first.frame_type == FrameType::JSON.0);
    let is_answer = |frame: &Frame| {
        frame.frame_type == FrameType::JSON.0
            && matches!(FromAgent::parse(&frame.payload), Ok(FromAgent::Answer(_)))
    };
    // That of a stream comes first.
    let skipped = usize::from(matches!(request, Request::Connect(_)));
    let credit: usize = frames
        .iter()
        .skip(skipped)
        .take_while(|frame| !is_answer(frame))
        .filter_map(|frame| match FromAgent::parse(&frame.payload) {
            Ok(FromAgent::Credit(bytes)) if frame.frame_type == FrameType::JSON.0 => Some(bytes),
            _ => None,
        })
        .fold(0, usize::saturating_add);
    let mut data = Vec::new();
    for (at, frame) in rest.iter().enumerate() {
        match FrameType(frame.frame_type) {
            FrameType::DATA => data.extend_from_slice(&frame.payload),
            FrameType::EOF => assert!(
                at + 1 == rest.len() && data == input,
                "its end comes too early"
            ),
            other => panic!("the host sends a frame of type {other}"),
        }
    }
    assert!(
        data.len() <= WINDOW_BYTES.saturating_add(credit),
        "more than there was credit for"
    );
    assert!(
        !is_whole || credit <= data.len(),
        "it takes credit for what it has not sent"
    );
    assert!(input.starts_with(&data), "the input is another one");
}
