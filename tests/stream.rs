//! The library's streams to sockets in a guest, against the real agent and against peers that are none.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[allow(dead_code, reason = "shared with tests of bad peers")]
#[path = "support/peer.rs"]
mod peer;
#[path = "support/target.rs"]
mod target;

use agent::{Agent, LIMIT};
use peer::{Act, Peer, drain};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smolvm_host::cancel::Cancel;
use smolvm_host::guest::ErrorKind;
use smolvm_host::{Guest, GuestError, GuestStream, StreamTarget};
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::WINDOW_BYTES;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use target::{pattern, tcp, tcp_echo, unix_echo};

fn guest_of(agent: &Agent) -> Guest {
    Guest::over_channel(&agent.channel(), &Cancel::new().unwrap()).unwrap()
}

fn open(guest: &Guest, port: u16) -> GuestStream {
    let to = format!("tcp:127.0.0.1:{port}").parse().unwrap();
    guest.open_stream(&to, LIMIT).unwrap()
}

/// Writes all of `bytes`, says that this was all, and reads to the end meanwhile.
fn exchange(stream: &GuestStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(bytes).unwrap();
            stream.shutdown_write().unwrap();
        });
        let mut heard = Vec::new();
        let mut reader = stream;
        reader.read_to_end(&mut heard).map(|_| heard)
    })
}

fn frame(stream: &mut UnixStream) -> io::Result<(FrameType, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let header = FrameHeader::decode(header).unwrap();
    let mut payload = vec![0; header.payload_bytes as usize];
    stream.read_exact(&mut payload)?;
    Ok((header.frame_type, payload))
}

/// The bytes that a DATA frame has.
fn data(stream: &mut UnixStream) -> usize {
    let (frame_type, payload) = frame(stream).unwrap();
    assert_eq!(frame_type, FrameType::DATA);
    payload.len()
}

/// Whether nothing comes for a fifth of a second.
fn is_silent(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let fifth = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    poll(&mut fds, Some(&fifth)).unwrap() == 0
}

/// A guest whose agent tells that it serves `features`, opens a stream with `glued` behind its answer, and then acts so.
fn guest_that(
    features: &str,
    glued: Vec<u8>,
    act: impl FnOnce(UnixStream) + Send + 'static,
) -> (Peer, Guest) {
    let pong = format!(
        r#"{{"ok": true, "op": "pong", "agent_version": "9", "proto": 1, "features": [{features}]}}"#
    );
    let ping: Act = Box::new(move |mut stream| {
        frame(&mut stream).unwrap();
        stream
            .write_all(&encode_frame(FrameType::JSON, pong.as_bytes()))
            .unwrap();
        drain(stream);
    });
    let connect: Act = Box::new(move |mut stream| {
        frame(&mut stream).unwrap();
        let answer = encode_frame(FrameType::JSON, b"{\"ok\": true}");
        // A host that has seen enough may be gone.
        let _ = stream.write_all(&[answer, glued].concat());
        act(stream);
    });
    let peer = Peer::new(vec![ping, connect]);
    let guest = Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap();
    (peer, guest)
}

fn any_target() -> StreamTarget {
    "tcp:127.0.0.1:1".parse().unwrap()
}

#[test]
fn bytes_go_both_ways_at_once_to_either_kind_of_socket() {
    let agent = Agent::start();
    let guest = guest_of(&agent);
    let bytes = pattern(8_000_001);
    let heard = exchange(&open(&guest, tcp_echo()), &bytes).unwrap();
    assert!(heard == bytes);
    unix_echo(&agent.folder().join("echo"));
    // Relative to the agent's working directory.
    let stream = guest.open_stream(&"unix:echo".parse().unwrap(), LIMIT);
    assert!(exchange(&stream.unwrap(), &bytes).unwrap() == bytes);
}

#[test]
fn each_direction_ends_by_itself() {
    let agent = Agent::start();
    // It ends first, and hears on.
    let (told, heard) = channel();
    let port = tcp(move |mut stream| {
        stream.write_all(b"done").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        told.send(rest).unwrap();
    });
    let mut stream = open(&guest_of(&agent), port);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "done");
    stream.write_all(b"still here").unwrap();
    stream.shutdown_write().unwrap();
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), "still here");
}

#[test]
fn target_that_refuses_is_told_with_the_agents_reason() {
    let agent = Agent::start();
    let to = "unix:/no/such/socket".parse().unwrap();
    let error = guest_of(&agent).open_stream(&to, LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let sentence = error.to_string();
    assert!(
        sentence.contains("'unix:/no/such/socket': [Errno 2]"),
        "{sentence}"
    );
}

#[test]
fn reset_of_the_target_is_told_apart_from_its_end() {
    let agent = Agent::start();
    let port = tcp(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut byte).unwrap();
        target::reset(stream);
    });
    let mut stream = open(&guest_of(&agent), port);
    stream.write_all(b"1").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    stream.write_all(b"2").unwrap();
    let error = stream.read(&mut byte).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = stream.write_all(&[0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn agent_that_dies_resets_the_stream() {
    let agent = Agent::start();
    let mut stream = open(&guest_of(&agent), tcp_echo());
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    drop(agent);
    let error = stream.read(&mut byte).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn what_was_written_arrives_though_the_stream_is_dropped() {
    let agent = Agent::start();
    let (told, heard) = channel();
    let port = tcp(move |mut stream| {
        let mut all = Vec::new();
        let end = stream.read_to_end(&mut all).map(|_| all);
        told.send(end).unwrap();
    });
    let bytes = pattern(3_000_000);
    let mut stream = open(&guest_of(&agent), port);
    stream.write_all(&bytes).unwrap();
    drop(stream);
    assert!(heard.recv_timeout(LIMIT).unwrap().unwrap() == bytes);
}

#[test]
fn what_was_written_arrives_though_the_stream_is_dropped_with_answers_unread() {
    let (dropped, wait) = channel::<()>();
    let (told, heard) = channel();
    let (_peer, guest) = guest_that(r#""connect""#, vec![], move |mut stream| {
        let data = encode_frame(FrameType::DATA, b"hello");
        // Before anything is read, and once more when nobody is there to read it.
        stream.write_all(&data).unwrap();
        wait.recv().unwrap();
        stream.write_all(&data).unwrap();
        let mut all = Vec::new();
        let mut owed = 0;
        while let Ok((FrameType::DATA, payload)) = frame(&mut stream) {
            all.extend_from_slice(&payload);
            owed += payload.len();
            if owed >= 65_536 {
                let credit = format!(r#"{{"op": "credit", "bytes": {owed}}}"#);
                let credit = encode_frame(FrameType::JSON, credit.as_bytes());
                if stream.write_all(&credit).is_err() {
                    break;
                }
                owed = 0;
            }
        }
        told.send(all).unwrap();
    });
    let bytes = pattern(300_000);
    let mut stream = guest.open_stream(&any_target(), LIMIT).unwrap();
    stream.write_all(&bytes).unwrap();
    drop(stream);
    dropped.send(()).unwrap();
    assert!(heard.recv_timeout(LIMIT).unwrap() == bytes);
}

#[test]
fn cancelled_guest_ends_a_read_that_waits() {
    let agent = Agent::start();
    let guest = guest_of(&agent);
    let mut stream = open(&guest, tcp_echo());
    let reader = std::thread::spawn(move || stream.read(&mut [0]));
    guest.canceller().cancel();
    let error = reader.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn no_more_than_the_window_is_sent_without_credit_and_credit_has_it_go_on() {
    let (told, heard) = channel();
    let (go_on, wait) = channel::<()>();
    let (_peer, guest) = guest_that(r#""connect""#, vec![], move |mut stream| {
        let mut received = 0;
        // A client's bytes are read two frames at a time, in pieces of any size, while there is room for both.
        let rests = |received| received + 2 * MAX_CHUNK_BYTES > WINDOW_BYTES;
        while !(rests(received) && is_silent(&stream)) {
            received += data(&mut stream);
        }
        told.send(received).unwrap();
        wait.recv().unwrap();
        let credit = format!(r#"{{"op": "credit", "bytes": {received}}}"#);
        stream
            .write_all(&encode_frame(FrameType::JSON, credit.as_bytes()))
            .unwrap();
        // So much cannot come without credit.
        while received <= WINDOW_BYTES {
            received += data(&mut stream);
        }
        told.send(received).unwrap();
    });
    let stream = guest.open_stream(&any_target(), LIMIT).unwrap();
    let writer = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || (&writer).write_all(&[7; 4 * WINDOW_BYTES]));
    let received = heard.recv_timeout(LIMIT).unwrap();
    assert!(received <= WINDOW_BYTES, "{received}");
    go_on.send(()).unwrap();
    assert!(heard.recv_timeout(LIMIT).unwrap() > WINDOW_BYTES);
    drop(stream);
    let _ = writer.join().unwrap();
}

#[test]
fn frames_of_any_size_and_an_end_glued_together_arrive_whole() {
    let mut bytes = Vec::new();
    for byte in pattern(5_000) {
        bytes.extend(encode_frame(FrameType::DATA, &[byte]));
        bytes.extend(encode_frame(FrameType::DATA, b""));
    }
    bytes.extend(encode_frame(FrameType::DATA, &pattern(200_000)));
    bytes.extend(encode_frame(FrameType::EOF, b""));
    let (_peer, guest) = guest_that(r#""connect""#, bytes, drain);
    let mut stream = guest.open_stream(&any_target(), LIMIT).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert!(heard == [pattern(5_000), pattern(200_000)].concat());
}

#[test]
fn end_that_comes_with_the_agents_answer_is_heard() {
    let end = encode_frame(FrameType::EOF, b"");
    let (_peer, guest) = guest_that(r#""connect""#, end, drain);
    let mut stream = guest.open_stream(&any_target(), LIMIT).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn agent_that_breaks_the_protocol_resets_the_stream() {
    let json = |text: &str| encode_frame(FrameType::JSON, text.as_bytes());
    for bytes in [
        json(r#"{"op": "credit", "bytes": 1}"#),
        json(r#"{"ok": true}"#),
        json("{"),
        encode_frame(FrameType::STDOUT, b"x"),
        vec![9, 0, 0, 0, 0],
        vec![4, 1, 0, 0, 1],
        vec![4, 0, 0, 0, 9, b'x'],
    ] {
        let sent = bytes.clone();
        let (_peer, guest) = guest_that(r#""connect""#, sent, |_| {});
        let mut stream = guest.open_stream(&any_target(), LIMIT).unwrap();
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{bytes:?}");
    }
}

#[test]
fn agent_without_the_feature_is_said_to_lack_it() {
    let (_peer, guest) = guest_that(r#""shutdown""#, vec![], |_| {});
    let error = guest.open_stream(&any_target(), LIMIT).unwrap_err();
    assert!(
        matches!(
            error,
            GuestError::NoFeature {
                feature: "connect",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn guest_by_ssh_has_no_streams() {
    let server = "root@127.0.0.1:1".parse().unwrap();
    let guest = Guest::over_ssh(&server, &Cancel::new().unwrap()).unwrap();
    let error = guest.open_stream(&any_target(), LIMIT).unwrap_err();
    assert!(matches!(error, GuestError::NotOverSsh), "{error}");
}

#[test]
fn silent_agent_is_waited_for_no_longer_than_the_time_limit() {
    let (told, heard): (_, Receiver<()>) = channel();
    let act: Act = Box::new(move |stream| {
        let _ = heard.recv();
        drop(stream);
    });
    let peer = Peer::new(vec![act]);
    let guest = Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap();
    let limit = std::time::Duration::from_millis(200);
    let error = guest.open_stream(&any_target(), limit).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    drop(told);
}
