//! The library's face against the real agent: commands, files, giving up.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/wait.rs"]
mod wait;

use agent::{Agent, LIMIT};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use smolvm_host::channel::{Fetched, ShutdownMode, Told};
use smolvm_host::guest::ErrorKind;
use smolvm_host::selection::{Choice, GuestOs, SelectionError, Vmm, VsockObstacle};
use smolvm_host::target::Target;
use smolvm_host::{Child, Command, Guest, GuestError, GuestOptions, Outcome, Output, Transfer};
use smolvm_protocol::request::{Leftovers, Shell};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wait::{is_running, soon};

fn target(agent: &Agent) -> Target {
    Target::Unix(agent.folder().join("agent.sock"))
}

fn guest(agent: &Agent) -> Guest {
    Guest::connect(&target(agent)).unwrap()
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

/// A command that said its process id and sleeps.
fn sleeper(guest: &Guest) -> (Child, String) {
    let (sender, receiver) = mpsc::channel();
    let child = guest
        .command("echo $$; exec sleep 60")
        .shell(Shell::Raw)
        .stdout(Sender(sender))
        .spawn()
        .unwrap();
    let pid = String::from_utf8(receiver.recv_timeout(LIMIT).unwrap()).unwrap();
    (child, pid.trim().to_owned())
}

#[test]
fn handles_can_go_to_other_threads() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Guest>();
    is_sync::<Guest>();
    is_send::<Command<'static>>();
    is_send::<Child>();
    is_send::<GuestError>();
}

#[test]
fn program_gets_its_arguments_as_they_are_where_it_is_told_to_run() {
    let agent = Agent::start();
    let output = guest(&agent)
        .program("sh")
        .args(["-c", "pwd; printf '<%s>' \"$@\"", "sh"])
        .arg("a b")
        .arg("$HOME")
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"/\n<a b><$HOME>");
    assert!(output.outcome.is_success());
    assert_eq!(output.told, Told::default());
}

#[test]
fn end_tells_what_was_asked_for() {
    let agent = Agent::start();
    let ended = guest(&agent)
        .command("sleep 60 & kill -9 $$")
        .shell(Shell::Raw)
        .until_exit(Leftovers::Kill)
        .usage()
        .run_to_end()
        .unwrap();
    assert_eq!(ended.outcome, Outcome::Killed(9));
    assert_eq!(ended.told.output_open, Some(true));
    assert_eq!(ended.told.signal.as_deref(), Some("KILL"));
    assert!(ended.told.usage.is_some_and(|usage| usage.max_rss_kib > 0));
}

#[test]
fn what_a_guest_cannot_run_is_told_and_nothing_runs() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let error = guest.program("/no/such/program").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpawnFailed);
    let error = guest.command("true").user("no such user").run();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
    let error = guest.command("true").arg("x").run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn output_keeps_both_streams_and_how_it_ended() {
    let agent = Agent::start();
    let output = guest(&agent)
        .command("echo \"$A$B\"; echo err >&2; exit 7")
        .shell(Shell::Raw)
        .env("A", "0")
        .envs([("A", "1"), ("B", "2")])
        .output()
        .unwrap();
    let expected = Output {
        outcome: Outcome::Exited(7),
        told: Told::default(),
        stdout: b"12\n".to_vec(),
        stderr: b"err\n".to_vec(),
    };
    assert_eq!(output, expected);
}

#[test]
fn sinks_may_borrow_and_take_what_output_would_keep() {
    let agent = Agent::start();
    let mut seen = Vec::new();
    let outcome = guest(&agent).command("echo x").stdout(&mut seen).run();
    assert!(outcome.unwrap().is_success());
    let output = guest(&agent)
        .command("echo y; echo z >&2")
        .stdout(&mut seen)
        .output()
        .unwrap();
    assert_eq!((output.stdout, output.stderr), (vec![], b"z\n".to_vec()));
    assert_eq!(seen, b"x\ny\n");
}

#[test]
fn output_over_its_limit_kills_the_command_and_says_so() {
    let agent = Agent::start();
    let started = agent.folder().join("pid");
    let error = guest(&agent)
        .command("echo $$ >pid; echo 12345; echo 67890 >&2; exec sleep 60")
        .shell(Shell::Raw)
        .output_limit(11)
        .output()
        .unwrap_err();
    assert!(matches!(error, GuestError::OutputTooLong { limit: 11 }));
    let pid = fs::read_to_string(started).unwrap();
    assert!(soon(|| !is_running(pid.trim())));
    let whole = guest(&agent).command("echo 1234").output_limit(5).output();
    assert_eq!(whole.unwrap().stdout, b"1234\n");
}

#[test]
fn signal_time_limit_there_and_deadline_here_are_told_apart() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let raw = |line: &str| guest.command(line).shell(Shell::Raw);
    let killed = raw("kill -9 $$").run().unwrap();
    assert_eq!((killed.signal(), killed.code()), (Some(9), None));
    let there = raw("sleep 60").timeout(Duration::from_millis(250)).run();
    assert_eq!(there.unwrap(), Outcome::TimedOut(0.25));
    let here = raw("sleep 60").deadline(Duration::from_millis(250)).run();
    assert_eq!(here.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn refusal_spawn_failure_and_absence_are_told_apart() {
    let agent = Agent::start_with(|command| {
        command.env("SHELL", "/nowhere/sh");
    });
    let kind = |command: Command<'_>| command.output().unwrap_err().kind();
    let guest_there = guest(&agent);
    assert_eq!(kind(guest_there.command("true")), ErrorKind::SpawnFailed);
    assert_eq!(kind(guest_there.command("")), ErrorKind::Refused);
    let bad_name = guest_there.command("true").env("=", "x");
    assert_eq!(kind(bad_name), ErrorKind::Refused);
    let absent = Target::Unix(agent.folder().join("nobody.sock"));
    let absent = Guest::connect(&absent).unwrap();
    assert_eq!(kind(absent.command("true")), ErrorKind::Unreachable);
}

#[test]
fn child_tells_how_it_ended() {
    let agent = Agent::start();
    let child = guest(&agent).command("exit 3").spawn().unwrap();
    assert_eq!(child.wait().unwrap(), Outcome::Exited(3));
}

#[test]
fn killed_child_is_gone_and_others_live_on() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let (one, one_pid) = sleeper(&guest);
    let (other, other_pid) = sleeper(&guest);
    one.kill();
    assert_eq!(one.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(soon(|| !is_running(&one_pid)));
    assert!(is_running(&other_pid) && !other.is_finished());
    other.canceller().cancel();
    assert!(soon(|| other.is_finished() && !is_running(&other_pid)));
}

#[test]
fn dropped_child_is_killed() {
    let agent = Agent::start();
    let (child, pid) = sleeper(&guest(&agent));
    drop(child);
    assert!(soon(|| !is_running(&pid)));
}

#[test]
fn cancelled_guest_ends_its_calls_and_no_other_guests() {
    let agent = Agent::start();
    let (one, other) = (guest(&agent), guest(&agent));
    let (child, pid) = sleeper(&one);
    one.canceller().cancel();
    assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(soon(|| !is_running(&pid)));
    let later = one.command("true").run().unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Cancelled);
    assert!(other.command("true").run().unwrap().is_success());
}

#[test]
fn file_goes_and_comes_with_its_mode_and_tells_its_progress() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&local, &content).unwrap();
    fs::set_permissions(&local, fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir(agent.folder().join("d")).unwrap();

    let mut seen = Vec::new();
    let transfer = Transfer::new()
        .timeout(LIMIT)
        .progress(|bytes| seen.push(bytes));
    guest.put_file(&local, "d", transfer).unwrap();
    assert!(seen.len() > 1 && seen.is_sorted());
    assert_eq!(seen.last(), Some(&200_000));

    let back = folder.path().join("back");
    fs::create_dir(&back).unwrap();
    let mut last = 0;
    let transfer = Transfer::new().progress(|bytes| last = bytes);
    let fetched = guest.get_file("d/local", &back, transfer).unwrap();
    let bytes = 200_000;
    assert_eq!((fetched, last), (Fetched { mode: 0o750, bytes }, bytes));
    assert_eq!(fs::read(back.join("local")).unwrap(), content);
    let mode = back.join("local").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750);
}

#[test]
fn reader_and_writer_take_the_place_of_files() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let transfer = Transfer::new().mode(0o4755).name("../x");
    let directory = agent.folder().to_str().unwrap();
    guest
        .put_from(&mut &b"abcdef"[..], 3, directory, transfer)
        .unwrap();
    let mut back = Vec::new();
    let fetched = guest.get_to("x", &mut back, Transfer::new()).unwrap();
    assert_eq!((fetched.mode, &back[..]), (0o4755, &b"abc"[..]));
    let short = guest.put_from(&mut &b"a"[..], 2, "x", Transfer::new());
    assert_eq!(short.unwrap_err().kind(), ErrorKind::Local);
    assert_eq!(fs::read(agent.folder().join("x")).unwrap(), b"abc");
}

#[test]
fn reader_that_gives_up_with_the_guest_leaves_nothing_there() {
    struct Cancelling(Guest);
    impl Read for Cancelling {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.canceller().cancel();
            buffer.fill(0);
            Ok(buffer.len())
        }
    }
    let agent = Agent::start();
    let guest = guest(&agent);
    let mut reader = Cancelling(guest.clone());
    let error = guest.put_from(&mut reader, 1 << 30, "x", Transfer::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(soon(|| fs::read_dir(agent.folder()).unwrap().count() == 1));
}

#[test]
fn local_files_that_cannot_be_meant_are_refused() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let missing = guest.put_file("/nowhere/f", "f", Transfer::new());
    assert!(matches!(missing, Err(GuestError::Read { .. })));
    let nameless = guest.get_file("/", "/tmp", Transfer::new());
    assert!(matches!(nameless, Err(GuestError::Place(_))));
}

#[test]
fn pipe_without_an_end_is_given_up_at_the_deadline_and_told_as_such() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _writer = fs::File::options()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let transfer = Transfer::new().timeout(Duration::from_millis(200));
    let error = guest(&agent).put_file(&pipe, "x", transfer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[test]
fn guest_that_becomes_ready_is_waited_for_and_known_then() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let guest = Guest::connect(&Target::Unix(socket)).unwrap();
    let waiter = std::thread::spawn({
        let guest = guest.clone();
        move || guest.wait_ready(LIMIT)
    });
    let agent = Agent::spawn_in(folder, |_| {});
    waiter.join().unwrap().unwrap();
    drop(agent);
    assert_eq!(guest.agent().unwrap().protocol, 1, "asked once alone");
}

#[test]
fn agent_that_answers_is_taken_where_ssh_would_be_possible_too() {
    let agent = Agent::start();
    let ssh = "nobody@127.0.0.1:1".parse().unwrap();
    let guest = GuestOptions::new()
        .ssh(ssh)
        .connect(&target(&agent))
        .unwrap();
    assert!(guest.ssh_destination().is_none() && guest.fallback().is_none());
    drop(agent);
    assert_eq!(guest.agent().unwrap().protocol, 1, "asked already");
}

#[test]
fn what_the_agent_does_not_serve_is_told_by_its_name() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let error = guest.require("levitation").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let sentence = error.to_string();
    assert!(
        sentence.contains("does not serve 'levitation'"),
        "{sentence}"
    );
}

#[test]
fn call_that_has_to_ask_the_agent_first_has_one_deadline_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("silent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let guest = Guest::connect(&Target::Unix(socket)).unwrap();
    let limit = Duration::from_millis(300);
    let begin = Instant::now();
    let transfer = || Transfer::new().timeout(limit);
    for error in [
        guest.shutdown(ShutdownMode::PowerOff, limit).unwrap_err(),
        guest.timings(limit).unwrap_err(),
        guest.resume(limit).unwrap_err(),
        guest.sync_clock(limit).unwrap_err(),
        guest.put_tree(folder.path(), "x", transfer()).unwrap_err(),
        guest.get_tree("x", folder.path(), transfer()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[test]
fn ways_that_cannot_work_are_refused_before_anything_is_said() {
    let nowhere = Target::Unix(Path::new("/nowhere").to_owned());
    let refused = |options: GuestOptions| match options.connect(&nowhere) {
        Err(GuestError::Selection(error)) => error,
        other => panic!("{other:?}"),
    };
    let options = GuestOptions::new;
    assert_eq!(
        refused(options().channel(Choice::Ssh)),
        SelectionError::NoSshDestination
    );
    assert_eq!(
        refused(options().guest_os(GuestOs::Windows)),
        SelectionError::NoWay(VsockObstacle::WindowsGuest)
    );
    assert_eq!(
        refused(options().channel(Choice::Vsock).vmm(Vmm::WithoutVsock)),
        SelectionError::Vsock(VsockObstacle::VmmWithoutVsock)
    );
}
