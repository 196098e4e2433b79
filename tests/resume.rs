//! What a host tells a guest that goes on after a restore, against a peer that tells what it was asked: the real agent
//! sets no test's machine's clock.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[allow(dead_code, reason = "shared with tests of bad peers")]
#[path = "support/peer.rs"]
mod peer;

use peer::{Act, Peer, drain};
use serde_json::Value;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Entropy, UnixTime};
use smolvm_host::guest::ErrorKind;
use smolvm_host::{Guest, GuestError};
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

const LIMIT: Duration = Duration::from_secs(10);
const PONG: &str = r#"{"ok": true, "op": "pong", "agent_version": "9", "proto": 1, "features": ["set_clock", "reseed"]}"#;
const DONE: &str = r#"{"ok": true}"#;
const BEHIND: &str = r#"{"ok": true, "stepped": true, "offset_ns": 3600000000001}"#;
const AHEAD: &str = r#"{"ok": true, "stepped": false, "offset_ns": -7000000}"#;

/// A request, and the host's time when its connection was taken.
struct Asked {
    taken_ns: u128,
    request: Value,
}

fn unix_ns() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

fn byte_of(stream: &mut UnixStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

/// A VMM's socket, behind which an agent gives these answers, a connection each.
fn guest_that_answers(answers: &[&'static str]) -> (Peer, Receiver<Asked>) {
    let (told, asked) = channel();
    let acts = answers.iter().copied().map(|answer| {
        let told = told.clone();
        let act: Act = Box::new(move |mut stream| {
            while byte_of(&mut stream) != b'\n' {}
            let taken_ns = unix_ns();
            stream.write_all(b"OK 1\n").unwrap();
            let mut header = [0; 5];
            stream.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes(header[1..].try_into().unwrap());
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).unwrap();
            let request = serde_json::from_slice(&request).unwrap();
            told.send(Asked { taken_ns, request }).unwrap();
            let frame = encode_frame(FrameType::JSON, answer.as_bytes());
            stream.write_all(&frame).unwrap();
            drain(stream);
        });
        act
    });
    (Peer::new(acts.collect()), asked)
}

fn guest(peer: &Peer) -> Guest {
    Guest::over_channel(&peer.connect_channel(), &Cancel::new().unwrap()).unwrap()
}

fn smolctl(words: &[&str], peer: &Peer) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(words)
        .arg(format!("uds:{}", peer.path().display()))
        .output()
        .unwrap()
}

fn next(asked: &Receiver<Asked>, operation: &str) -> Asked {
    let asked = asked.recv_timeout(LIMIT).unwrap();
    assert_eq!(asked.request["op"], operation);
    asked
}

/// That a guest was told the time at which it took the connection, or a later one that is not to come.
fn assert_time_is_that_of_the_telling(asked: &Asked) {
    let told = u128::from(asked.request["unix_ns"].as_u64().unwrap());
    assert!(asked.taken_ns <= told, "{} > {told}", asked.taken_ns);
    assert!(told <= unix_ns());
}

#[test]
fn resumed_guest_gets_fresh_bytes_and_the_time_at_which_it_is_told() {
    let mut seeds = Vec::new();
    for _ in 0..2 {
        let (peer, asked) = guest_that_answers(&[PONG, DONE, BEHIND]);
        let clock = guest(&peer).resume(LIMIT).unwrap();
        assert_eq!((clock.stepped, clock.offset_ns), (true, 3_600_000_000_001));
        next(&asked, "ping");
        let seed = next(&asked, "reseed").request["entropy"].clone();
        seeds.push(seed.as_str().unwrap().to_owned());
        assert_time_is_that_of_the_telling(&next(&asked, "set_clock"));
    }
    assert_eq!(seeds[0].len(), 2 * 64);
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn time_and_bytes_of_the_callers_own_are_told_as_they_are() {
    let (peer, asked) = guest_that_answers(&[PONG, AHEAD, DONE]);
    let guest = guest(&peer);
    let time = UnixTime::from_nanoseconds(1_000_000_000_000_000_007).unwrap();
    assert!(!guest.set_clock(time, LIMIT).unwrap().stepped);
    let entropy = Entropy::new(vec![0xA5; 32]).unwrap();
    guest.reseed(entropy, LIMIT).unwrap();
    next(&asked, "ping");
    let told = next(&asked, "set_clock").request["unix_ns"].clone();
    assert_eq!(told.as_u64(), Some(1_000_000_000_000_000_007));
    assert_eq!(next(&asked, "reseed").request["entropy"], "a5".repeat(32));
}

#[test]
fn agent_without_both_is_said_to_lack_one_and_asked_for_neither() {
    for features in ["\"set_clock\"", "\"reseed\"", ""] {
        let pong = format!(
            r#"{{"ok": true, "op": "pong", "agent_version": "9", "proto": 1, "features": [{features}]}}"#
        );
        let (peer, asked) = guest_that_answers(&[pong.leak()]);
        let error = guest(&peer).resume(LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        next(&asked, "ping");
        assert!(asked.try_recv().is_err());
    }
    let (peer, _asked) =
        guest_that_answers(&[r#"{"ok": true, "op": "pong", "agent_version": "1.0", "proto": 1}"#]);
    let output = smolctl(&["clock"], &peer);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{told}");
    assert!(
        told.ends_with("the guest's agent 1.0 does not serve 'set_clock'; a newer one is needed\n"),
        "{told}"
    );
}

#[test]
fn refusal_of_the_seed_is_told_and_the_clock_left() {
    let refusal = r#"{"ok": false, "error": "cannot reseed: [Errno 1] Operation not permitted"}"#;
    let (peer, asked) = guest_that_answers(&[PONG, refusal]);
    let error = guest(&peer).resume(LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("cannot reseed: [Errno 1]"));
    next(&asked, "ping");
    next(&asked, "reseed");
    assert!(asked.try_recv().is_err());
}

#[test]
fn answer_that_does_not_tell_of_the_clock_is_no_agents() {
    for answer in [DONE, r#"{"ok": true, "stepped": true}"#] {
        let (peer, _asked) = guest_that_answers(&[PONG, answer]);
        let error = guest(&peer).sync_clock(LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[test]
fn guest_that_is_reached_by_ssh_has_no_such_calls() {
    let destination = "root@127.0.0.1:1".parse().unwrap();
    let guest = Guest::over_ssh(&destination, &Cancel::new().unwrap()).unwrap();
    let entropy = Entropy::new(vec![1; 32]).unwrap();
    let time = UnixTime::from_nanoseconds(1).unwrap();
    for error in [
        guest.resume(LIMIT).unwrap_err(),
        guest.sync_clock(LIMIT).unwrap_err(),
        guest.set_clock(time, LIMIT).unwrap_err(),
        guest.reseed(entropy, LIMIT).unwrap_err(),
    ] {
        assert!(matches!(error, GuestError::NotOverSsh), "{error:?}");
    }
}

#[test]
fn smolctl_tells_what_became_of_the_clock() {
    for (words, answers, line) in [
        (
            &["clock"][..],
            &[PONG, BEHIND][..],
            "clock set: it was 3600.000 s behind\n",
        ),
        (
            &["clock"],
            &[PONG, AHEAD],
            "clock left as it is: it was 0.007 s ahead\n",
        ),
        (
            &["clock", "--json"],
            &[PONG, AHEAD],
            "{\"offset_ns\":-7000000,\"stepped\":false}\n",
        ),
        (
            &["resume"],
            &[PONG, DONE, BEHIND],
            "random numbers reseeded, clock set: it was 3600.000 s behind\n",
        ),
        (
            &["resume", "--json"],
            &[PONG, DONE, BEHIND],
            "{\"offset_ns\":3600000000001,\"reseeded\":true,\"stepped\":true}\n",
        ),
    ] {
        let (peer, asked) = guest_that_answers(answers);
        let output = smolctl(words, &peer);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), line);
        let last = asked.iter().take(answers.len()).last().unwrap();
        assert_time_is_that_of_the_telling(&last);
    }
}
