//! The library's face over ssh, against real servers whose `sh` is dash, busybox or bash.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/skip.rs"]
mod skip;
#[path = "support/ssh_server.rs"]
#[allow(dead_code, reason = "shared with tests of the command line")]
mod ssh_server;
#[path = "support/wait.rs"]
mod wait;

use skip::skip;
use smolvm_host::cancel::Cancel;
use smolvm_host::{
    Child, Guest, GuestError, GuestOptions, Outcome, SshDestination, Target, Transfer,
};
use smolvm_host::{channel::Fetched, guest::ErrorKind, selection::Choice};
use smolvm_protocol::request::Shell;
use ssh_server::{GuestShell, Kind, SshServer, destination};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wait::{is_running, soon};

/// How long anything in these tests may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);

const SERVERS: [(Kind, GuestShell); 5] = [
    (Kind::Dropbear, GuestShell::Dash),
    (Kind::Dropbear, GuestShell::Ash),
    (Kind::Dropbear, GuestShell::Bash),
    (Kind::OpenSsh, GuestShell::Dash),
    (Kind::OpenSsh, GuestShell::Ash),
];

/// Runs a test against each server that this machine can have.
fn with_each_server(test: impl Fn(&SshServer, &Guest)) {
    for (kind, shell) in SERVERS {
        match SshServer::start(kind, shell) {
            Ok(server) => {
                println!("{kind:?}, {shell:?}");
                test(&server, &guest(&server.destination()));
            }
            Err(reason) => println!("skipped, because {reason} ({kind:?}, {shell:?})"),
        }
    }
}

/// Runs a test against one of them.
fn with_server(test: impl FnOnce(&SshServer, &Guest)) {
    match SshServer::start(Kind::Dropbear, GuestShell::Dash) {
        Ok(server) => test(&server, &guest(&server.destination())),
        Err(reason) => skip(&reason),
    }
}

fn guest(destination: &SshDestination) -> Guest {
    Guest::over_ssh(destination, &Cancel::new().unwrap()).unwrap()
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

/// A command that said its process id and that of its child, and sleeps.
fn sleeper(guest: &Guest) -> (Child, [String; 2]) {
    let (sender, receiver) = mpsc::channel();
    let child = guest
        .command("sleep 60 & echo $$ $!; wait")
        .shell(Shell::Raw)
        .stdout(Sender(sender))
        .spawn()
        .unwrap();
    let line = String::from_utf8(receiver.recv_timeout(LIMIT).unwrap()).unwrap();
    let (leader, member) = line.trim().split_once(' ').unwrap();
    (child, [leader.to_owned(), member.to_owned()])
}

fn assert_gone(pids: &[String]) {
    for pid in pids {
        assert!(soon(|| !is_running(pid)), "process {pid} lives on");
    }
}

#[test]
fn command_has_streams_status_variables_and_nothing_to_read() {
    with_each_server(|_, guest| {
        let line = "cat; echo \"$A|$HOME/\"; echo err >&2; exit 7";
        let odd = OsStr::from_bytes(b"'\" $x \\ \xff");
        for shell in [Shell::Raw, Shell::Login] {
            let command = guest.command(line).shell(shell);
            let output = command.env("A", odd).env("HOME", "h").output().unwrap();
            assert_eq!(output.outcome, Outcome::Exited(7));
            assert_eq!(output.stdout, b"'\" $x \\ \xff|h/\n");
            assert_eq!(output.stderr, b"err\n");
        }
    });
}

#[test]
fn status_and_signal_are_mirrored_and_signals_act_as_usual() {
    with_each_server(|_, guest| {
        let raw = |line: &str| guest.command(line).shell(Shell::Raw).output().unwrap();
        assert_eq!(raw("kill -9 $$").outcome, Outcome::Killed(9));
        assert_eq!(raw("exit 255").outcome, Outcome::Exited(255));
        assert_eq!(raw("/nowhere/x").outcome, Outcome::Exited(127));
        let quiet = raw("kill -15 $$");
        assert_eq!((quiet.outcome, quiet.stderr), (Outcome::Killed(15), vec![]));
        // busybox's shell has SIGQUIT ignored by itself, and so for what it executes.
        let ignored = raw("grep SigIgn /proc/self/status");
        let ignored = String::from_utf8(ignored.stdout).unwrap();
        let mask = ignored.trim().trim_start_matches("SigIgn:").trim();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        for signal in [1, 2, 13, 15] {
            assert_eq!(mask & (1 << (signal - 1)), 0, "signal {signal}");
        }
    });
}

#[test]
fn time_limit_kills_the_group_and_is_told_as_the_agent_would() {
    with_each_server(|server, guest| {
        let outcome = guest
            .command("sleep 60 & echo $$ $! >pids; wait")
            .shell(Shell::Raw)
            .timeout(Duration::from_secs(2))
            .run();
        assert_eq!(outcome.unwrap(), Outcome::TimedOut(2.0));
        let pids = fs::read_to_string(server.home().join("pids")).unwrap();
        let pids: Vec<_> = pids.split_whitespace().map(str::to_owned).collect();
        assert_eq!(pids.len(), 2);
        assert_gone(&pids);
    });
}

#[test]
fn command_ends_with_its_child_its_deadline_and_its_connection() {
    with_each_server(|server, guest| {
        let (child, pids) = sleeper(guest);
        child.kill();
        assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Cancelled);
        assert_gone(&pids);

        let (child, pids) = sleeper(guest);
        drop(child);
        assert_gone(&pids);

        let (child, pids) = sleeper(guest);
        server.cut_connections();
        assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Unreachable);
        assert_gone(&pids);

        let line = "echo $$ >pid; exec sleep 60";
        let late = guest
            .command(line)
            .shell(Shell::Raw)
            .deadline(Duration::from_secs(5))
            .run();
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_gone(&[fs::read_to_string(server.home().join("pid"))
            .unwrap()
            .trim()
            .to_owned()]);
    });
}

#[test]
fn large_output_arrives_whole_on_both_streams() {
    with_each_server(|_, guest| {
        let line = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2";
        let output = guest.command(line).output().unwrap();
        assert!(output.outcome.is_success());
        assert_eq!(output.stdout, vec![0; 3_000_000]);
        assert_eq!(output.stderr, vec![0; 3_000_000]);
    });
}

#[test]
fn standard_error_is_heard_while_standard_output_never_stops() {
    with_server(|_, guest| {
        let (sender, receiver) = mpsc::channel();
        let child = guest
            .command("yes & sleep 1; echo err >&2; wait")
            .shell(Shell::Raw)
            .stdout(io::sink())
            .stderr(Sender(sender))
            .spawn()
            .unwrap();
        let heard = receiver.recv_timeout(Duration::from_secs(10));
        drop(child);
        assert_eq!(heard.unwrap(), b"err\n");
    });
}

#[test]
fn list_of_processes_on_standard_error_ends_nothing() {
    with_each_server(|_, guest| {
        let line = "cat /proc/[0-9]*/cmdline >&2 2>/dev/null; echo done >&2; exit 3";
        let output = guest.command(line).shell(Shell::Raw).output().unwrap();
        assert_eq!(output.outcome, Outcome::Exited(3));
    });
}

#[test]
fn files_of_every_size_come_back_as_they_went() {
    with_each_server(|server, guest| {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("f");
        let remote = OsStr::from_bytes(b"-n\xff '\"");
        for size in [0usize, 1, 65_537, 3_000_000] {
            let content: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
            fs::write(&local, &content).unwrap();
            fs::set_permissions(&local, fs::Permissions::from_mode(0o750)).unwrap();
            let mut last = 0;
            let transfer = Transfer::new().progress(|bytes| last = bytes);
            guest.put_file(&local, remote, transfer).unwrap();
            assert_eq!(last, size as u64);
            let stored = server.home().join(remote);
            assert_eq!(fs::read(&stored).unwrap(), content);
            let back = folder.path().join("back");
            let fetched = guest.get_file(remote, &back, Transfer::new()).unwrap();
            let bytes = size as u64;
            assert_eq!(fetched, Fetched { mode: 0o750, bytes });
            assert_eq!(fs::read(&back).unwrap(), content);
        }
        assert_eq!(fs::read_dir(server.home()).unwrap().count(), 1);
    });
}

#[test]
fn upload_has_the_agents_rules_for_directories_and_modes() {
    with_each_server(|server, guest| {
        let home = server.home();
        fs::create_dir_all(home.join("d/taken")).unwrap();
        let put = |remote: &str, transfer: Transfer<'_>| {
            guest.put_from(&mut &b"abc"[..], 3, remote, transfer)
        };
        put("d/", Transfer::new().name("../x").mode(0o4755)).unwrap();
        let stored = home.join("d/x");
        assert_eq!(fs::read(&stored).unwrap(), b"abc");
        assert_eq!(
            stored.metadata().unwrap().permissions().mode() & 0o7777,
            0o4755
        );
        put("new/", Transfer::new()).unwrap();
        assert_eq!(
            home.join("new").metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        for (remote, name, expected) in [
            ("d", "", "no filename was provided"),
            ("d", "..", "destination filename is invalid"),
            ("d", "taken", "is a directory"),
            ("/nowhere/x", "", "/nowhere/"),
            ("", "", "missing 'path'"),
        ] {
            let error = put(remote, Transfer::new().name(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(fs::read_dir(home.join("d")).unwrap().count(), 2);
    });
}

/// A reader of zeros that does something at the second piece.
struct Zeros<F: FnMut()> {
    pieces: usize,
    act: F,
}

impl<F: FnMut()> Read for Zeros<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces += 1;
        if self.pieces == 2 {
            (self.act)();
        }
        buffer.fill(0);
        Ok(buffer.len())
    }
}

#[test]
fn upload_that_ends_early_leaves_the_target_as_it_was_and_nothing_beside_it() {
    with_each_server(|server, _| {
        let target = server.home().join("t");
        fs::write(&target, b"old").unwrap();
        let is_as_before = || {
            fs::read_dir(server.home()).unwrap().count() == 1
                && fs::read(&target).unwrap() == b"old"
        };
        let guest = || guest(&server.destination());
        let short = guest().put_from(&mut &b"ab"[..], 3, "t", Transfer::new());
        assert_eq!(short.unwrap_err().kind(), ErrorKind::Local);
        assert!(soon(is_as_before));

        let cancelled = guest();
        let canceller = cancelled.canceller();
        let mut zeros = Zeros {
            pieces: 0,
            act: || canceller.cancel(),
        };
        let outcome = cancelled.put_from(&mut zeros, 1 << 30, "t", Transfer::new());
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(soon(is_as_before));

        let mut zeros = Zeros {
            pieces: 0,
            act: || server.cut_connections(),
        };
        let outcome = guest().put_from(&mut zeros, 1 << 30, "t", Transfer::new());
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unreachable);
        assert!(soon(is_as_before));
    });
}

#[test]
fn download_that_fails_leaves_the_local_file_as_it_was() {
    with_each_server(|server, guest| {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("l");
        fs::write(&local, b"old").unwrap();
        for (remote, expected) in [("gone", "no such file"), (".", "not a regular file")] {
            let error = guest.get_file(remote, &local, Transfer::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let large = fs::File::create(server.home().join("large")).unwrap();
        large.set_len(1 << 30).unwrap();
        let mut seen = 0;
        let cut = Transfer::new().progress(|bytes| {
            if seen < 1_000_000 && bytes >= 1_000_000 {
                server.cut_connections();
            }
            seen = bytes;
        });
        let error = guest.get_file("large", &local, cut).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert_eq!(fs::read(&local).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut status = Vec::new();
        guest
            .get_to("/proc/version", &mut status, Transfer::new())
            .unwrap();
        assert!(
            status.starts_with(b"Linux"),
            "a file of /proc, whose size is 0"
        );
    });
}

#[test]
fn what_a_shells_start_up_files_say_is_nobodys_output() {
    match SshServer::start(Kind::Dropbear, GuestShell::Bash) {
        Ok(server) => {
            fs::write(
                server.home().join(".bashrc"),
                "echo hello; echo there >&2\n",
            )
            .unwrap();
            let guest = guest(&server.destination());
            let output = guest.command("echo x").shell(Shell::Raw).output().unwrap();
            assert_eq!(
                (&output.stdout[..], &output.stderr[..]),
                (&b"x\n"[..], &b""[..])
            );
            let mut file = Vec::new();
            guest.get_to(".bashrc", &mut file, Transfer::new()).unwrap();
            assert!(file.starts_with(b"echo hello"));
        }
        Err(reason) => skip(&reason),
    }
}

#[test]
fn wrong_key_and_refused_port_are_told_in_sshs_words() {
    with_server(|server, _| {
        let stranger = guest(&server.destination_with_other_key());
        let error = stranger.command("true").output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains("Permission denied"), "{error}");
        let error = stranger.wait_ready(Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("Permission denied"), "{error}");
    });
    if !has_client() {
        return;
    }
    let error = guest(&nobody()).command("true").output().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

/// Whether this machine has a client; says so where it has none.
fn has_client() -> bool {
    let has_client = std::process::Command::new("ssh").arg("-V").output().is_ok();
    if !has_client {
        skip("there is no ssh here");
    }
    has_client
}

/// A port that nobody listens at.
fn nobody() -> SshDestination {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    destination(NonZeroU16::new(listener.local_addr().unwrap().port()).unwrap())
}

#[test]
fn server_that_never_says_a_word_is_given_up_by_each_calls_deadline() {
    if !has_client() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = destination(NonZeroU16::new(listener.local_addr().unwrap().port()).unwrap());
    let guest = guest(&silent);
    let limit = Duration::from_millis(700);
    let begin = Instant::now();
    let transfer = || Transfer::new().timeout(limit);
    let run = guest.command("true").deadline(limit).output().unwrap_err();
    let put = guest
        .put_from(&mut &b""[..], 0, "x", transfer())
        .unwrap_err();
    let get = guest.get_to("x", &mut io::sink(), transfer()).unwrap_err();
    let ready = guest.wait_ready(limit).unwrap_err();
    for error in [run, put, get, ready] {
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    let canceller = guest.canceller();
    let child = guest.command("true").spawn().unwrap();
    canceller.cancel();
    assert_eq!(child.wait().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn guest_that_becomes_ready_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Whatever connects before waits in the backlog.
    match SshServer::start_on(listener, Kind::Dropbear, GuestShell::Ash) {
        Ok(server) => guest(&server.destination()).wait_ready(LIMIT).unwrap(),
        Err(reason) => skip(&reason),
    }
}

#[test]
fn automatic_choice_falls_back_once_the_agent_is_silent_and_says_why() {
    with_server(|server, _| {
        let absent = Target::Unix(Path::new("/nowhere/agent.sock").to_owned());
        let options = GuestOptions::new()
            .ssh(server.destination())
            .probe_limit(Duration::from_millis(200));
        let guest = options.connect(&absent).unwrap();
        assert_eq!(guest.ssh_destination(), Some(&server.destination()));
        let reason = guest.fallback().unwrap().to_string();
        assert!(reason.contains("no agent listens there"), "{reason}");
        assert!(guest.command("true").run().unwrap().is_success());
        for refused in [
            guest.ping(LIMIT).unwrap_err(),
            guest.timings(LIMIT).unwrap_err(),
            guest.channel().unwrap_err(),
        ] {
            assert!(matches!(refused, GuestError::NotOverSsh));
        }
        let explicit = options.clone().channel(Choice::Vsock).connect(&absent);
        let error = explicit.unwrap().ping(LIMIT).unwrap_err();
        assert!(matches!(error, GuestError::Channel(_)), "{error}");
        let explicit = options.channel(Choice::Ssh).connect(&absent).unwrap();
        assert!(explicit.ssh_destination().is_some() && explicit.fallback().is_none());
    });
}

#[test]
fn what_ssh_cannot_carry_is_refused_in_one_sentence() {
    let guest = guest(&nobody());
    for command in [
        guest.command("a\0b"),
        guest.command("true").env("A=", "x"),
        guest.command("x".repeat(200_000)),
    ] {
        let error = command.output().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}
