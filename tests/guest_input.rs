//! Input, signals and terminals of commands by the library, against the real agent and against peers.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/peer.rs"]
#[allow(dead_code, reason = "shared with tests of other peers")]
mod peer;
#[path = "support/wait.rs"]
mod wait;

use agent::{Agent, LIMIT};
use peer::{Act, Peer, drain};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::ChannelError;
use smolvm_host::guest::ErrorKind;
use smolvm_host::{Child, Guest, GuestError, Outcome, Shell, Signal, Stdin, Target};
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wait::{is_running, soon};

fn guest(agent: &Agent) -> Guest {
    Guest::connect(&Target::Unix(agent.folder().join("agent.sock"))).unwrap()
}

/// Hands pieces of output to a test's thread.
struct Sender(mpsc::Sender<Vec<u8>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Receives until all of it has the text in it.
fn read_until(output: &mpsc::Receiver<Vec<u8>>, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        let piece = output.recv_timeout(LIMIT);
        let piece = piece.unwrap_or_else(|_| panic!("'{text}' does not come after: {all:?}"));
        all.push_str(&String::from_utf8_lossy(&piece));
    }
    all
}

/// A command beside the test, and its output; it takes what the test writes.
fn spawn(guest: &Guest, line: &str) -> (Child, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel();
    let command = guest.command(line).shell(Shell::Raw).stdin(Stdin::piped());
    (command.stdout(Sender(sender)).spawn().unwrap(), receiver)
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(state.to_be_bytes()[0])
    };
    std::iter::repeat_with({
        let mut state = 1;
        move || step(&mut state).unwrap()
    })
    .take(length)
    .collect()
}

#[test]
fn input_of_megabytes_comes_back_from_cat_the_same() {
    let agent = Agent::start();
    let bytes = pattern(8 << 20);
    let path = agent.folder().join("input");
    fs::write(&path, &bytes).unwrap();
    for stdin in [
        Stdin::descriptor(File::open(&path).unwrap()),
        Stdin::reader(io::Cursor::new(bytes.clone())),
    ] {
        let command = guest(&agent).program("cat").stdin(stdin);
        let output = command.output().unwrap();
        assert!(output.outcome.is_success());
        assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
    }
}

#[test]
fn input_without_bytes_is_at_its_end_at_once() {
    let agent = Agent::start();
    for stdin in [
        Stdin::null(),
        Stdin::piped(),
        Stdin::reader(io::empty()),
        Stdin::descriptor(File::open("/dev/null").unwrap()),
    ] {
        let command = guest(&agent).program("wc").arg("-c").stdin(stdin);
        assert_eq!(command.deadline(LIMIT).output().unwrap().stdout, b"0\n");
    }
}

#[test]
fn what_is_written_arrives_as_it_is_written_and_the_drop_is_its_end() {
    let agent = Agent::start();
    let (mut child, output) = spawn(&guest(&agent), "cat; echo end");
    let mut stdin = child.take_stdin().unwrap();
    assert!(child.take_stdin().is_none());
    for text in ["one\n", "two\n"] {
        stdin.write_all(text.as_bytes()).unwrap();
        assert_eq!(read_until(&output, text), text);
    }
    drop(stdin);
    assert_eq!(read_until(&output, "end\n"), "end\n");
    assert!(child.wait().unwrap().is_success());
}

#[test]
fn input_that_was_not_taken_ends_when_its_command_is_waited_for() {
    let agent = Agent::start();
    let (child, _output) = spawn(&guest(&agent), "cat");
    assert!(child.wait().unwrap().is_success());
}

#[test]
fn command_that_reads_nothing_is_heard_and_its_writer_is_told() {
    let agent = Agent::start();
    let (mut child, _output) = spawn(&guest(&agent), "exec 0<&-; exit 7");
    let mut stdin = child.take_stdin().unwrap();
    let chunk = vec![0; 1 << 16];
    let error = loop {
        if let Err(error) = stdin.write_all(&chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(child.wait().unwrap(), Outcome::Exited(7));
}

#[test]
fn command_whose_input_is_blocked_can_be_killed_and_keeps_its_deadline() {
    let agent = Agent::start();
    let blocked = |guest: &Guest| {
        let endless = Stdin::descriptor(File::open("/dev/zero").unwrap());
        let command = guest.command("echo $$; exec sleep 60").shell(Shell::Raw);
        command.stdin(endless)
    };
    let guest = guest(&agent);
    let (sender, receiver) = mpsc::channel();
    let child = blocked(&guest).stdout(Sender(sender)).spawn().unwrap();
    let pid = read_until(&receiver, "\n").trim().to_owned();
    let began = Instant::now();
    child.kill();
    assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(soon(|| !is_running(&pid)));
    let error = blocked(&guest)
        .deadline(Duration::from_millis(300))
        .output();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn source_that_fails_kills_the_command_and_is_told() {
    struct Failing(bool);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0, "as this test wants");
            Err(io::Error::other("no more"))
        }
    }
    let agent = Agent::start();
    for (stdin, reason) in [
        (
            Stdin::descriptor(File::open(agent.folder()).unwrap()),
            "directory",
        ),
        (Stdin::reader(Failing(false)), "no more"),
        (Stdin::reader(Failing(true)), "panicked"),
    ] {
        let command = guest(&agent).program("cat").stdin(stdin);
        match command.output().unwrap_err() {
            GuestError::Channel(ChannelError::Read { source, .. }) => {
                assert!(source.to_string().contains(reason), "{source}");
            }
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn signals_reach_the_command_while_its_input_is_blocked() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let (sender, receiver) = mpsc::channel();
    let line = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let endless = Stdin::descriptor(File::open("/dev/zero").unwrap());
    let child = guest.command(line).shell(Shell::Raw).stdin(endless);
    let child = child.stdout(Sender(sender)).spawn().unwrap();
    read_until(&receiver, "ready\n");
    child.signal(Signal::USR1).unwrap();
    read_until(&receiver, "usr1\n");
    let controller = child.controller();
    let killer = std::thread::spawn(move || controller.signal(Signal::TERM));
    assert_eq!(child.wait().unwrap(), Outcome::Killed(15));
    killer.join().unwrap().unwrap();
}

#[test]
fn command_without_input_gets_signals_too_and_none_once_it_has_ended() {
    let agent = Agent::start();
    let child = guest(&agent).program("sleep").arg("60").spawn().unwrap();
    child.signal("SIGINT".parse().unwrap()).unwrap();
    assert!(soon(|| child.is_finished()));
    // More than would wait for an agent that takes none.
    for _ in 0..100 {
        child.signal(Signal::KILL).unwrap();
    }
    assert_eq!(child.wait().unwrap(), Outcome::Killed(2));
}

#[test]
fn terminal_has_its_size_and_kind_and_follows_a_resize() {
    let agent = Agent::start();
    let (sender, output) = mpsc::channel();
    let line = "trap 'stty size' WINCH; stty size; echo $TERM; test -t 0 && test -t 2 && echo yes; \
                while :; do sleep 0.05; done";
    let command = guest(&agent).command(line).shell(Shell::Raw);
    let command = command.terminal(24, 80).term("vt220").stdin(Stdin::piped());
    let mut child = command.stdout(Sender(sender)).spawn().unwrap();
    let mut stdin = child.take_stdin().unwrap();
    assert_eq!(read_until(&output, "yes\r\n"), "24 80\r\nvt220\r\nyes\r\n");
    child.resize(50, 132).unwrap();
    assert_eq!(read_until(&output, "132\r\n"), "50 132\r\n");
    stdin.write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap(), Outcome::Killed(2));
}

#[test]
fn end_of_a_terminals_input_is_its_end_of_file_character() {
    let agent = Agent::start();
    let command = guest(&agent).program("cat").terminal(24, 80);
    let output = command
        .stdin(Stdin::reader(&b"one\n"[..]))
        .output()
        .unwrap();
    assert!(output.outcome.is_success());
    assert_eq!(output.stdout, b"one\r\none\r\n");
}

#[test]
fn what_the_agent_refuses_meanwhile_is_told_with_the_end() {
    let agent = Agent::start();
    let command = guest(&agent).program("cat").terminal(24, 80);
    let mut child = command
        .stdin(Stdin::piped())
        .stdout(io::sink())
        .spawn()
        .unwrap();
    child.resize(0, 80).unwrap();
    drop(child.take_stdin());
    let ended = child.wait_to_end().unwrap();
    assert_eq!(ended.told.refused.len(), 1, "{:?}", ended.told.refused);
    assert!(ended.told.refused[0].contains("'rows'"));
    let error = guest(&agent).command("true").spawn().unwrap().resize(1, 1);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
}

/// A peer that answers `ping` with these features, and then acts.
fn peer_with(features: &str, act: impl FnOnce(UnixStream) + Send + 'static) -> Peer {
    let json = format!(
        r#"{{"ok": true, "op": "pong", "agent_version": "test-9", "proto": 1, "features": [{features}]}}"#
    );
    let pong: Act = Box::new(move |mut stream| {
        let _ = stream.write_all(&encode_frame(FrameType::JSON, json.as_bytes()));
        drain(stream);
    });
    Peer::new(vec![pong, Box::new(act)])
}

fn guest_of(peer: &Peer) -> Guest {
    Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap()
}

/// That the agent lacks `feature`, and is said to.
fn assert_lacks(feature: &str, error: &GuestError) {
    assert!(
        matches!(error, GuestError::NoFeature { feature: lacked, .. } if *lacked == feature),
        "{error:?}"
    );
}

#[test]
fn agent_without_a_feature_is_said_to_lack_it_and_nothing_runs() {
    let peer = || peer_with("", |_| panic!("nothing may run"));
    let (one, other, third) = (peer(), peer(), peer_with("", drain));
    let error = guest_of(&one).command("x").stdin(Stdin::inherit()).run();
    assert_lacks("run_stdin", &error.unwrap_err());
    let error = guest_of(&other).command("x").terminal(1, 1).run();
    assert_lacks("run_pty", &error.unwrap_err());
    let guest = guest_of(&third);
    guest.agent().unwrap();
    let child = guest.command("x").spawn().unwrap();
    assert_lacks("run_signal", &child.signal(Signal::TERM).unwrap_err());
}

#[test]
fn deadline_counts_the_time_that_the_agent_takes_to_tell_what_it_serves() {
    let (_keep, silent) = mpsc::channel::<()>();
    let json = r#"{"ok": true, "op": "pong", "agent_version": "9", "proto": 1, "features": ["run_stdin"]}"#;
    let slow: Act = Box::new(move |mut stream| {
        let _ = silent.recv_timeout(Duration::from_secs(2));
        let _ = stream.write_all(&encode_frame(FrameType::JSON, json.as_bytes()));
        drain(stream);
    });
    let peer = Peer::new(vec![slow, Box::new(drain)]);
    let begun = Instant::now();
    let command = guest_of(&peer).command("x").stdin(Stdin::piped());
    let error = command.deadline(Duration::from_secs(3)).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_millis(4500));
}

/// Reads a frame of a peer's host.
fn read_frame(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).unwrap();
    (header[0], payload)
}

fn say(stream: &mut UnixStream, json: &str) {
    let _ = stream.write_all(&encode_frame(FrameType::JSON, json.as_bytes()));
}

const EXIT: &str = r#"{"ok": true, "op": "exit", "exit_code": 0}"#;

#[test]
fn host_sends_no_more_than_the_window_until_it_is_credited() {
    let (sender, receiver) = mpsc::channel();
    let peer = peer_with("\"run_stdin\"", move |mut stream| {
        read_frame(&mut stream);
        let mut sent = 0;
        while sent < 262_144 {
            sent += read_frame(&mut stream).1.len();
        }
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let silent = stream.read(&mut [0]).is_err();
        say(&mut stream, r#"{"op": "credit", "bytes": 70000}"#);
        stream.set_read_timeout(None).unwrap();
        let mut more = 0;
        while more < 70_000 {
            more += read_frame(&mut stream).1.len();
        }
        sender.send((silent, sent, more)).unwrap();
        say(&mut stream, EXIT);
        drain(stream);
    });
    let endless = Stdin::descriptor(File::open("/dev/zero").unwrap());
    let output = guest_of(&peer).command("x").stdin(endless).output();
    assert!(output.unwrap().outcome.is_success());
    assert_eq!(receiver.recv().unwrap(), (true, 262_144, 70_000));
}

#[test]
fn credit_that_was_not_earned_is_no_agents() {
    let peer = peer_with("\"run_stdin\"", |mut stream| {
        say(&mut stream, r#"{"op": "credit", "bytes": 1}"#);
        drain(stream);
    });
    let error = guest_of(&peer).command("x").stdin(Stdin::piped()).output();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
}

#[test]
fn answer_counts_where_the_agent_closes_while_input_is_sent() {
    let peer = peer_with("\"run_stdin\"", |mut stream| {
        read_frame(&mut stream);
        say(
            &mut stream,
            r#"{"ok": false, "op": "error", "error": "no"}"#,
        );
    });
    let endless = Stdin::descriptor(File::open("/dev/zero").unwrap());
    let error = guest_of(&peer)
        .command("x")
        .stdin(endless)
        .output()
        .unwrap_err();
    assert!(
        matches!(&error, GuestError::Channel(ChannelError::Refused { sentence }) if sentence == "no"),
        "{error:?}"
    );
}

#[test]
fn output_that_floods_does_not_keep_input_from_being_sent() {
    let peer = peer_with("\"run_stdin\"", |mut stream| {
        read_frame(&mut stream);
        let chunk = encode_frame(FrameType::STDOUT, &[0; 1 << 16]);
        let mut flood = stream.try_clone().unwrap();
        let flooding = std::thread::spawn(move || while flood.write_all(&chunk).is_ok() {});
        assert_eq!(read_frame(&mut stream), (4, b"in".to_vec()));
        assert_eq!(read_frame(&mut stream), (5, Vec::new()));
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        flooding.join().unwrap();
    });
    let command = guest_of(&peer)
        .command("x")
        .stdin(Stdin::reader(&b"in"[..]));
    let error = command
        .stdout(io::sink())
        .deadline(LIMIT)
        .run()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error:?}");
}
