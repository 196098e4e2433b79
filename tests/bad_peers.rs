//! Peers that are no agents, or bad ones: each costs one clear error, never a hang.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/peer.rs"]
mod peer;

use peer::{Act, Peer, drain};
use smolvm_host::Guest;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{CONNECT_LIMIT, Channel, ChannelError, Command};
use smolvm_host::deadline::Deadline;
use smolvm_host::guest::ErrorKind;
use smolvm_host::transport::{Address, TransportError};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::{Destination, Leftovers, RunRequest};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// What an agent answers to `ping`.
fn pong() -> Vec<u8> {
    let json = br#"{"ok": true, "op": "pong", "agent_version": "test-9", "proto": 1}"#;
    encode_frame(FrameType::JSON, json)
}

fn read_line(stream: &mut UnixStream) -> Vec<u8> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    line
}

#[test]
fn peers_that_speak_something_else_are_no_agents() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"\x01\xff\xff\xff\xff",
        b"\x02\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\0\0\0",
        b"\x01\0\0\0\x02[]",
        b"\x01\0\0\0\x02{}",
        b"\x01\0\0\0\x02\xff\xff",
        b"\x01\0\0\0\x0b{\"ok\":true}",
        b"\x05\0\0\0\0",
        b"\x02\0\0\0\x01x",
    ] {
        let error = Peer::saying(bytes).channel().ping(LIMIT).unwrap_err();
        assert!(
            matches!(error, ChannelError::NotAnAgent { .. }),
            "{bytes:?}: {error:?}"
        );
        let error = Peer::saying(bytes).channel().wait_ready(LIMIT).unwrap_err();
        assert!(matches!(error, ChannelError::NotAnAgent { .. }));
    }
}

#[test]
fn silent_peer_costs_the_deadline_and_no_more() {
    let begin = Instant::now();
    let peer = Peer::saying(b"\x01\0\0");
    let error = peer.channel().ping(Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, ChannelError::TimedOut), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn silent_peer_costs_a_run_its_deadline_and_no_more() {
    let mut command = Command::new(RunRequest {
        command: b"x".to_vec(),
        ..RunRequest::default()
    });
    command.deadline = Some(Duration::from_millis(200));
    let begin = Instant::now();
    let outcome = Peer::saying(b"")
        .channel()
        .run(&command, &mut io::sink(), &mut io::sink());
    assert!(
        matches!(outcome, Err(ChannelError::TimedOut)),
        "{outcome:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn peer_that_never_stops_costs_the_deadline_and_no_more() {
    let endless: Act = Box::new(|mut stream| {
        let empty_frames = [2, 0, 0, 0, 0].repeat(1000);
        while stream.write_all(&empty_frames).is_ok() {}
    });
    let mut command = Command {
        request: RunRequest {
            command: b"x".to_vec(),
            ..RunRequest::default()
        },
        deadline: None,
    };
    command.deadline = Some(Duration::from_millis(200));
    let begin = Instant::now();
    let outcome =
        Peer::new(vec![endless])
            .channel()
            .run(&command, &mut io::sink(), &mut io::sink());
    assert!(
        matches!(outcome, Err(ChannelError::TimedOut)),
        "{outcome:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn addition_that_an_agent_does_not_serve_is_told_and_not_asked_for() {
    let peer = Peer::new(vec![Box::new(|mut stream| {
        stream.write_all(&pong()).unwrap();
        drain(stream);
    })]);
    let guest = Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap();
    for (command, feature) in [
        (guest.program("true"), "run_argv"),
        (guest.command("true").current_dir("/"), "run_cwd"),
        (guest.command("true").user("root"), "run_user"),
        (guest.command("true").usage(), "run_usage"),
        (
            guest.command("true").until_exit(Leftovers::Keep),
            "run_until_exit",
        ),
    ] {
        let error = command.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(feature), "{error}");
    }
}

#[test]
fn peer_that_closes_before_its_answer_is_told() {
    for bytes in [&b""[..], b"\x01\0\0\0\x09{\"ok\""] {
        let peer = Peer::new(vec![Box::new(move |mut stream: UnixStream| {
            let mut request = [0; 5];
            stream.read_exact(&mut request).unwrap();
            let mut payload = vec![0; usize::from(request[4])];
            stream.read_exact(&mut payload).unwrap();
            stream.write_all(bytes).unwrap();
        })]);
        let error = peer.channel().ping(LIMIT).unwrap_err();
        assert!(matches!(error, ChannelError::ClosedEarly), "{error:?}");
    }
}

#[test]
fn wait_ready_outlasts_peers_that_close() {
    let peer = Peer::new(vec![
        Box::new(drop),
        Box::new(drop),
        Box::new(|mut stream| {
            stream.write_all(&pong()).unwrap();
            drain(stream);
        }),
    ]);
    let pong = peer.channel().wait_ready(LIMIT).unwrap();
    assert_eq!(pong.agent_version, "test-9");
}

#[test]
fn acknowledgement_glued_to_the_answer_loses_nothing() {
    let glued: Act = Box::new(|mut stream| {
        assert_eq!(read_line(&mut stream), b"CONNECT 1024\n");
        stream
            .write_all(&[&b"OK 1073741824\n"[..], &pong()].concat())
            .unwrap();
        drain(stream);
    });
    let pong = Peer::new(vec![glued])
        .connect_channel()
        .ping(LIMIT)
        .unwrap();
    assert_eq!(pong.agent_version, "test-9");
}

#[test]
fn nothing_is_sent_before_the_acknowledgement() {
    let strict: Act = Box::new(|mut stream| {
        assert_eq!(read_line(&mut stream), b"CONNECT 1024\n");
        stream.set_nonblocking(true).unwrap();
        let early = stream.read(&mut [0]).unwrap_err();
        stream.set_nonblocking(false).unwrap();
        if early.kind() == io::ErrorKind::WouldBlock {
            stream.write_all(b"OK 1\n").unwrap();
            stream.write_all(&pong()).unwrap();
        }
        drain(stream);
    });
    assert!(
        Peer::new(vec![strict])
            .connect_channel()
            .ping(LIMIT)
            .is_ok()
    );
}

#[test]
fn connection_ended_while_nobody_listens_in_the_guest_is_tried_again() {
    let nobody = || -> Act {
        Box::new(|mut stream| {
            read_line(&mut stream);
        })
    };
    let somebody: Act = Box::new(|mut stream| {
        read_line(&mut stream);
        stream.write_all(b"OK 1\n").unwrap();
        stream.write_all(&pong()).unwrap();
        drain(stream);
    });
    let peer = Peer::new(vec![nobody(), nobody(), somebody]);
    assert!(peer.connect_channel().ping(LIMIT).is_ok());
}

#[test]
fn other_answers_to_connect_are_refused_at_once() {
    for answer in [
        &b"HTTP/1.1 405 Method Not Allowed\r\n"[..],
        b"NO\n",
        &[b'x'; 4096],
        b"SSH-2.0-x\r\n",
    ] {
        let begin = Instant::now();
        let error = Peer::saying(answer)
            .connect_channel()
            .ping(LIMIT)
            .unwrap_err();
        assert!(
            matches!(
                error,
                ChannelError::Transport(TransportError::Handshake { .. })
            ),
            "{error:?}"
        );
        assert!(begin.elapsed() < CONNECT_LIMIT);
    }
}

#[test]
fn refusal_while_the_file_is_still_being_sent_is_heard() {
    let refusal: Act = Box::new(|mut stream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream
            .write_all(b"\x01\0\0\0\x1b{\"ok\":false,\"error\":\"full\"}")
            .unwrap();
        // It reads no further and does not close: the two ends must not wait for each other.
        std::thread::park_timeout(LIMIT);
    });
    let begin = Instant::now();
    let destination = Destination {
        path: b"/x".to_vec(),
        ..Destination::default()
    };
    let outcome = Peer::new(vec![refusal]).channel().put_file(
        &mut io::repeat(7),
        1 << 40,
        destination,
        Deadline::NEVER,
    );
    let ChannelError::Refused { sentence } = outcome.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(sentence, "full");
    assert!(begin.elapsed() < LIMIT);
}

#[test]
fn download_cut_short_leaves_no_file() {
    let cut: Act = Box::new(|mut stream| {
        stream.read_exact(&mut [0; 5]).unwrap();
        let header = b"{\"ok\": true, \"mode\": 420, \"size\": 9}";
        stream.write_all(&[1, 0, 0, 0, header.len() as u8]).unwrap();
        stream.write_all(header).unwrap();
        stream.write_all(b"\x04\0\0\0\x03abc").unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let outcome = Peer::new(vec![cut]).channel().get_file_to(
        b"/x",
        &folder.path().join("l"),
        Deadline::after(LIMIT),
    );
    assert!(outcome.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A refusal that would clear the screen, set the title, and fill a disk.
fn hostile_refusal() -> Vec<u8> {
    let mut json =
        br#"{"ok": false, "error": "\u001b[2J\u001b]0;owned\u0007\nsmolctl: all is well"#.to_vec();
    json.resize(1024 * 1024, b'x');
    json.extend(b"\"}");
    encode_frame(FrameType::JSON, &json)
}

#[test]
fn hostile_words_of_a_peer_become_one_short_plain_sentence() {
    let refuse: Act = Box::new(|mut stream| {
        let _ = stream.write_all(&hostile_refusal());
        drain(stream);
    });
    let peer = Peer::new(vec![refuse]);
    let mut target = std::ffi::OsString::from("unix:");
    target.push(peer.path());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .arg("ping")
        .arg(target)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let sentence = String::from_utf8(output.stderr).unwrap();
    let line = sentence.strip_suffix('\n').unwrap();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.contains("[2J]0;owned smolctl: all is well"), "{line}");
    assert!(line.len() < 1500);
}

#[test]
fn hostile_version_is_cut_and_made_plain() {
    let pong: Act = Box::new(|mut stream| {
        let version = "\\u001b[2J".repeat(10_000);
        let json =
            format!(r#"{{"ok": true, "op": "pong", "agent_version": "{version}", "proto": 1}}"#);
        let _ = stream.write_all(&encode_frame(FrameType::JSON, json.as_bytes()));
        drain(stream);
    });
    let version = Peer::new(vec![pong]).channel().ping(LIMIT).unwrap();
    let version = version.agent_version;
    assert!(version.starts_with("[2J[2J") && version.len() < 1100);
}

#[test]
fn call_that_is_given_up_within_the_handshake_waits_for_its_answer_before_it_closes() {
    let cancel = Cancel::new().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    let canceller = cancel.clone();
    let peer = Peer::new(vec![Box::new(move |mut stream| {
        read_line(&mut stream);
        canceller.cancel();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let early_end = stream.read(&mut [0]).is_ok();
        let is_answered = stream.write_all(b"OK 1\n").is_ok();
        told.send((early_end, is_answered)).unwrap();
    })]);
    let address = peer.connect_channel().address().clone();
    let error = Channel::with_cancel(address, cancel)
        .ping(LIMIT)
        .unwrap_err();
    assert!(matches!(error, ChannelError::Cancelled), "{error:?}");
    assert_eq!(heard.recv_timeout(LIMIT).unwrap(), (false, true));
}

#[test]
fn peer_that_takes_longer_than_the_calls_time_is_told_as_a_time_out() {
    let peer = Peer::new(vec![Box::new(drain)]);
    let limit = Duration::from_millis(100);
    let error = peer.connect_channel().ping(limit).unwrap_err();
    assert!(matches!(error, ChannelError::TimedOut), "{error:?}");
}

#[test]
fn file_that_is_no_socket_is_told_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let began = Instant::now();
    let channel = Channel::new(Address::Unix { path }).unwrap();
    let error = channel.ping(LIMIT).unwrap_err();
    assert!(
        matches!(
            error,
            ChannelError::Transport(TransportError::Connect { .. })
        ),
        "{error:?}"
    );
    assert!(began.elapsed() < CONNECT_LIMIT);
}
