//! What a host reads from an agent while a command or a stream runs: answers, credit and output, in order or not.
//!
//! A script (`script.rs`), whose flags choose the call. A whole response ends the call well, and no other one does; output is what the
//! frames say; the request is sent, and of the input no more than there was credit for, and the right one; nothing waits for what was not
//! promised.

use crate::script::{self, Frame, frames_of};
use crate::socket::{answer, say};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::fuzzing::{relay, run};
use smolvm_protocol::answer::{Answer, FromAgent};
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES};
use smolvm_protocol::request::{ConnectRequest, Request, RunRequest, Target, WINDOW_BYTES};
use smolvm_protocol::tree::{Order, TreeFrame};
use std::fmt::Debug;
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
    let earned = match is_early {
        true => 0,
        // All frames are there at once, and so much is sent before the first is looked at.
        false => input.len().min(MAX_CHUNK_BYTES),
    };
    check_end(credit_of_run(frames), earned, is_whole, &ended);
    let rest = check_sent(
        &answer(agent),
        is_early,
        &Request::Run(request),
        frames,
        input,
        is_whole,
    );
    assert!(
        is_early || !is_whole || !rest.is_empty(),
        "neither input nor its end is sent"
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
    let credit = credit_of_stream(frames, stream);
    let end = relay(
        host.into(),
        &request,
        ours.as_fd(),
        &cancel,
        &mut || match credit {
            // An agent that has said all it had to hears the client to its end.
            Some(_) => (&agent).write_all(late).expect("a socket takes so much"),
            None => say(&agent, late),
        },
    );
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
    // What came behind the answer is looked at before anything is sent.
    check_end(credit, 0, is_whole, &end);
    let rest = check_sent(&answer(agent), is_early, &request, frames, input, is_whole);
    let is_ended = rest
        .last()
        .is_some_and(|frame| frame.frame_type == FrameType::EOF.0);
    assert!(!is_whole || is_ended, "the client's end is not sent");
}

/// Checks that a call ends well where the response is whole and its `credit` is `earned`, and that it does not where there is none.
fn check_end(credit: Option<usize>, earned: usize, is_whole: bool, end: &dyn Debug) {
    match credit {
        Some(credit) => assert!(
            is_whole || credit > earned,
            "a whole response is none to it: {end:?}"
        ),
        None => assert!(!is_whole, "no whole response is one to it: {end:?}"),
    }
}

/// What is credited in all up to the answer that ends a command; none where none does.
fn credit_of_run(frames: &[Frame]) -> Option<usize> {
    let mut credit = 0usize;
    for frame in frames.iter().take_while(|frame| frame.is_whole) {
        match FrameType(frame.frame_type) {
            FrameType::STDOUT | FrameType::STDERR => {}
            FrameType::JSON => match FromAgent::parse(&frame.payload).ok()? {
                FromAgent::Credit(bytes) => credit = credit.saturating_add(bytes),
                FromAgent::Answer(answer) => {
                    let is_end = match answer.op.as_deref() {
                        Some("exit") => answer.exit_code.is_some(),
                        Some("timeout") => answer.timeout.is_some(),
                        _ => false,
                    };
                    return (answer.ok && is_end).then_some(credit);
                }
            },
            _ => return None,
        }
    }
    None
}

/// What is credited in all between the answer and the end of a stream; none where it does not end, or something follows.
fn credit_of_stream(frames: &[Frame], stream: &[u8]) -> Option<usize> {
    let (answer, frames) = frames.split_first()?;
    let is_open = |answer: &Frame| {
        answer.is_whole
            && answer.frame_type == FrameType::JSON.0
            && matches!(FromAgent::parse(&answer.payload), Ok(FromAgent::Answer(answer)) if answer.ok)
    };
    let (end, frames) = frames.split_last()?;
    if !is_open(answer) || end.frame_type != FrameType::EOF.0 || frames_of(stream).1 {
        return None;
    }
    let mut credit = 0usize;
    for frame in frames {
        match FrameType(frame.frame_type) {
            FrameType::DATA => {}
            FrameType::JSON => match FromAgent::parse(&frame.payload).ok()? {
                FromAgent::Credit(bytes) => credit = credit.saturating_add(bytes),
                FromAgent::Answer(_) => return None,
            },
            _ => return None,
        }
    }
    (end.is_whole && end.payload.is_empty()).then_some(credit)
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

/// Checks that the host has sent its request, but to an agent that was early, and of the input no more than it had credit for;
/// and that it did not take credit for what it had not sent, where the response was whole to it. The frames behind the request.
fn check_sent(
    sent: &[u8],
    is_early: bool,
    request: &Request,
    frames: &[Frame],
    input: &[u8],
    is_whole: bool,
) -> Vec<Frame> {
    let (mut sent, is_broken) = frames_of(sent);
    assert!(!is_broken);
    let is_first = |frame: &Frame| {
        let json = request.to_json();
        frame.frame_type == FrameType::JSON.0 && json.as_bytes().starts_with(&frame.payload)
    };
    match sent.first() {
        Some(first) if is_first(first) && (is_early || first.is_whole) => drop(sent.remove(0)),
        _ => assert!(is_early, "the request is not sent"),
    }
    let rest = sent;
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
    rest
}
