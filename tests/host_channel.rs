//! The library's channel against the real agent.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/wait.rs"]
mod wait;

use agent::{Agent, LIMIT, address_in};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, ChannelError, Command, Fetched, Outcome};
use smolvm_host::deadline::Deadline;
use smolvm_protocol::request::{Destination, RunRequest, Shell, Timeout};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use wait::{is_running, soon};

fn command(line: &str) -> Command {
    Command {
        request: RunRequest {
            command: line.into(),
            shell: Shell::Raw,
            ..RunRequest::default()
        },
        deadline: None,
    }
}

fn run(agent: &Agent, command: &Command) -> (Result<Outcome, ChannelError>, Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = agent.channel().run(command, &mut stdout, &mut stderr);
    (outcome, stdout, stderr)
}

fn destination(path: &[u8]) -> Destination {
    Destination {
        path: path.to_vec(),
        ..Destination::default()
    }
}

fn by_limit() -> Deadline {
    Deadline::after(LIMIT)
}

/// Calls something with every piece of output.
struct Sink<F: FnMut(&[u8]) -> io::Result<()>>(F);

impl<F: FnMut(&[u8]) -> io::Result<()>> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn ping_tells_the_agents_version_and_protocol() {
    let pong = Agent::start().channel().ping(LIMIT).unwrap();
    assert_eq!(pong.protocol, 1);
    assert!(!pong.agent_version.is_empty());
}

#[test]
fn wait_ready_outlasts_a_socket_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let channel = Channel::new(address_in(folder.path())).unwrap();
    let waiter = std::thread::spawn(move || channel.wait_ready(LIMIT));
    let _agent = Agent::spawn_in(folder, |_| {});
    assert_eq!(waiter.join().unwrap().unwrap().protocol, 1);
}

#[test]
fn command_has_both_streams_its_status_and_its_variables() {
    let mut wanted = command("echo out; echo \"$NAME\" >&2; exit 7");
    wanted.request.environment = vec![(b"NAME".to_vec(), b"\xff\"".to_vec())];
    let (outcome, stdout, stderr) = run(&Agent::start(), &wanted);
    assert_eq!(outcome.unwrap(), Outcome::Exited(7));
    assert_eq!(
        (&stdout[..], &stderr[..]),
        (&b"out\n"[..], &b"\xff\"\n"[..])
    );
}

#[test]
fn signal_and_time_limit_are_told_apart() {
    let agent = Agent::start();
    let (outcome, ..) = run(&agent, &command("kill -9 $$"));
    assert_eq!(outcome.unwrap(), Outcome::Killed(9));
    let mut endless = command("sleep 60");
    endless.request.timeout = Timeout::from_seconds(0.25);
    assert_eq!(run(&agent, &endless).0.unwrap(), Outcome::TimedOut(0.25));
}

#[test]
fn output_arrives_before_the_command_ends() {
    let agent = Agent::start();
    let seen = agent.folder().join("seen");
    let line = "echo first; until [ -e seen ]; do sleep 0.01; done; echo second";
    let mut stdout = Vec::new();
    let mut sink = Sink(|bytes: &[u8]| {
        stdout.extend_from_slice(bytes);
        fs::write(&seen, b"")
    });
    let outcome = agent
        .channel()
        .run(&command(line), &mut sink, &mut io::sink());
    assert_eq!(outcome.unwrap(), Outcome::Exited(0));
    assert_eq!(stdout, b"first\nsecond\n");
}

#[test]
fn large_output_arrives_whole() {
    let mut bytes = 0usize;
    let mut sink = Sink(|piece: &[u8]| {
        bytes += piece.len();
        Ok(())
    });
    let outcome = Agent::start().channel().run(
        &command("head -c 20000000 /dev/zero"),
        &mut sink,
        &mut io::sink(),
    );
    assert_eq!(outcome.unwrap(), Outcome::Exited(0));
    assert_eq!(bytes, 20_000_000);
}

/// Runs a command that prints its process id and sleeps, ends the call in some way, and says how the
/// call ended; the command must be gone after that.
fn given_up(
    deadline: Option<Duration>,
    cancel: &Cancel,
    mut on_output: impl FnMut() -> io::Result<()>,
) -> ChannelError {
    let agent = Agent::start();
    let mut pid = String::new();
    let mut endless = command("echo $$; exec sleep 60");
    endless.deadline = deadline;
    let mut sink = Sink(|bytes: &[u8]| {
        pid = String::from_utf8_lossy(bytes).trim().to_owned();
        on_output()
    });
    let channel = Channel::with_cancel(agent.channel().address().clone(), cancel.clone());
    let outcome = channel.run(&endless, &mut sink, &mut io::sink());
    assert!(!pid.is_empty());
    assert!(soon(|| !is_running(&pid)), "the command lives on");
    outcome.unwrap_err()
}

#[test]
fn cancelled_call_ends_the_command() {
    let cancel = Cancel::new().unwrap();
    let error = given_up(None, &cancel, || {
        cancel.cancel();
        Ok(())
    });
    assert!(matches!(error, ChannelError::Cancelled), "{error:?}");
}

#[test]
fn passed_deadline_here_ends_the_command() {
    let deadline = Some(Duration::from_millis(500));
    let error = given_up(deadline, &Cancel::new().unwrap(), || Ok(()));
    assert!(matches!(error, ChannelError::TimedOut), "{error:?}");
}

#[test]
fn sink_that_fails_ends_the_command() {
    let error = given_up(None, &Cancel::new().unwrap(), || {
        Err(io::ErrorKind::BrokenPipe.into())
    });
    let ChannelError::Write { source, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn missing_shell_is_a_spawn_failure_with_its_number() {
    let agent = Agent::start_with(|command| {
        command.env("SHELL", "/nowhere/sh");
    });
    let mut login = command("true");
    login.request.shell = Shell::Login;
    let error = run(&agent, &login).0.unwrap_err();
    assert!(
        matches!(error, ChannelError::SpawnFailed { errno: Some(2), .. }),
        "{error:?}"
    );
}

#[test]
fn files_of_every_size_come_back_as_they_went() {
    let agent = Agent::start();
    let back = agent.folder().join("back");
    for size in [0usize, 1, 65_536, 65_537, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        let name = b"f\xff\xed\xa0\x80 \"\\";
        let mut wanted = destination(name);
        wanted.mode = Some(0o640);
        agent
            .channel()
            .put_file(&mut content.as_slice(), size as u64, wanted, by_limit())
            .unwrap();
        let stored = agent.folder().join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&stored).unwrap(), content);
        let fetched = agent.channel().get_file_to(name, &back, by_limit());
        let bytes = size as u64;
        assert_eq!(fetched.unwrap(), Fetched { mode: 0o640, bytes });
        assert_eq!(fs::read(&back).unwrap(), content);
        assert_eq!(
            back.metadata().unwrap().permissions().mode() & 0o7777,
            0o640
        );
    }
}

#[test]
fn file_goes_into_a_directory_under_its_name() {
    let agent = Agent::start();
    fs::create_dir(agent.folder().join("d")).unwrap();
    let mut wanted = destination(b"d");
    wanted.name = Some(b"../x".to_vec());
    agent
        .channel()
        .put_file(&mut &b"abc"[..], 3, wanted, by_limit())
        .unwrap();
    assert_eq!(fs::read(agent.folder().join("d/x")).unwrap(), b"abc");
}

#[test]
fn refused_upload_tells_the_agents_sentence() {
    let mut zeros = io::repeat(0);
    let outcome = Agent::start().channel().put_file(
        &mut zeros,
        10_000_000,
        destination(b"/nowhere/x"),
        by_limit(),
    );
    let ChannelError::Refused { sentence } = outcome.unwrap_err() else {
        panic!("not refused");
    };
    assert!(sentence.contains("cannot create file"), "{sentence}");
}

#[test]
fn source_that_ends_early_leaves_the_target_as_it_was() {
    let agent = Agent::start();
    let target = agent.folder().join("t");
    fs::write(&target, b"old").unwrap();
    let outcome = agent
        .channel()
        .put_file(&mut &b"new"[..], 4, destination(b"t"), by_limit());
    assert!(matches!(outcome, Err(ChannelError::Read { .. })));
    assert!(soon(|| fs::read_dir(agent.folder()).unwrap().count() == 2));
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn failed_download_leaves_the_local_file_as_it_was() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("l");
    fs::write(&local, b"old").unwrap();
    for path in ["gone", "."] {
        let outcome = agent
            .channel()
            .get_file_to(path.as_bytes(), &local, by_limit());
        assert!(matches!(outcome, Err(ChannelError::Refused { .. })));
    }
    assert_eq!(fs::read(&local).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn download_replaces_what_a_link_points_at_and_writes_to_devices() {
    let agent = Agent::start();
    fs::write(agent.folder().join("f"), b"abc").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    fs::write(folder.path().join("real"), b"old").unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    let fetch = |local| agent.channel().get_file_to(b"f", local, by_limit());
    fetch(&link).unwrap();
    assert_eq!(fs::read(folder.path().join("real")).unwrap(), b"abc");
    assert!(link.is_symlink());
    let device = folder.path().join("device");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    fetch(&device).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().len() == 0);
}

/// Longer than any one try may take.
#[test]
fn wait_ready_waits_for_a_socket_as_long_as_it_was_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let channel = Channel::new(address_in(folder.path())).unwrap();
    let asked = Duration::from_millis(5500);
    let begin = Instant::now();
    let error = channel.wait_ready(asked).unwrap_err();
    assert!(
        begin.elapsed() > asked - Duration::from_millis(100),
        "{error}"
    );
    assert!(begin.elapsed() < asked + Duration::from_secs(5));
}

#[test]
fn nobody_listening_is_told_by_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let channel = Channel::new(address_in(folder.path())).unwrap();
    let begin = Instant::now();
    assert!(channel.wait_ready(Duration::from_millis(300)).is_err());
    assert!(
        channel.ping(LIMIT).is_err(),
        "a missing socket is no reason to wait"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}
