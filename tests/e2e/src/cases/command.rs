//! Commands: codes, streams, size, time-outs, hang-ups.

use crate::checksum::Checksum;
use crate::client::frame_of;
use crate::guest::{Checked, Guest, command, holds, same, zeros};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::Outcome;
use smolvm_host::transport::{Absence, Connection, connect};
use smolvm_protocol::request::Request;
use std::io::{self, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) fn exit_codes(guest: &Guest) -> Checked {
    for (line, outcome) in [
        ("true", Outcome::Exited(0)),
        ("exit 1", Outcome::Exited(1)),
        ("exit 255", Outcome::Exited(255)),
        ("kill -9 $$", Outcome::Killed(9)),
        ("kill -15 $$", Outcome::Killed(15)),
    ] {
        same(line, &guest.run(line)?.outcome, &outcome)?;
    }
    Ok(())
}

pub(crate) fn streams(guest: &Guest) -> Checked {
    let ran = guest.run("for n in 1 2 3; do echo out $n; echo err $n >&2; done")?;
    same(
        "standard output",
        &ran.stdout,
        &b"out 1\nout 2\nout 3\n".to_vec(),
    )?;
    same(
        "standard error",
        &ran.stderr,
        &b"err 1\nerr 2\nerr 3\n".to_vec(),
    )
}

/// Passes on when something was written, and what.
struct Told(mpsc::Sender<Vec<u8>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn streaming(guest: &Guest) -> Checked {
    let limit = guest.begin_limit()?;
    let (sender, receiver) = mpsc::channel();
    let channel = guest.channel()?;
    std::thread::scope(|scope| {
        let line = "mkfifo /tmp/gate; echo first; read go </tmp/gate; rm /tmp/gate";
        let running = scope
            .spawn(move || channel.run(&command(line, None), &mut Told(sender), &mut io::sink()));
        let first = receiver
            .recv_timeout(limit)
            .map_err(|error| error.to_string());
        let opened = guest.text("echo go >/tmp/gate");
        let outcome = running.join().map_err(|_| "panicked".to_owned())?;
        same("first output", &first?, &b"first\n".to_vec())?;
        opened?;
        same(
            "outcome",
            &outcome.map_err(|error| error.to_string())?,
            &Outcome::Exited(0),
        )
    })
}

pub(crate) fn large_output(guest: &Guest) -> Checked {
    let length = guest.max_transfer_bytes;
    let mut stdout = Checksum::default();
    let began = Instant::now();
    let outcome = guest
        .channel()?
        .run(&command(&zeros(length), None), &mut stdout, &mut io::sink())
        .map_err(|error| error.to_string())?;
    println!(
        "measured: {} MiB of output in {:.2} s",
        length >> 20,
        began.elapsed().as_secs_f64()
    );
    same("outcome", &outcome, &Outcome::Exited(0))?;
    same("bytes", &stdout.bytes, &length)?;
    let zeros =
        Checksum::of(io::Read::take(io::repeat(0), length)).map_err(|error| error.to_string())?;
    same("checksum", &stdout.sha256(), &zeros.sha256())
}

pub(crate) fn time_out(guest: &Guest) -> Checked {
    let line =
        "sleep 1000 & echo $!; (sleep 1000 & echo $!; wait) & sh -c 'echo $$; exec sleep 1000'";
    // Long enough for all three to begin.
    let limit = guest.at_its_pace(Duration::from_secs(4), 8)?;
    let limit = limit.as_secs_f64().ceil();
    let slack = guest.at_its_pace(Duration::from_secs(8), 8)?;
    let began = Instant::now();
    let ran = guest.run_with(line, Some(limit))?;
    same("outcome", &ran.outcome, &Outcome::TimedOut(limit))?;
    holds(
        &format!("it took {slack:?} longer than its limit"),
        began.elapsed() < Duration::from_secs_f64(limit) + slack,
    )?;
    let pids = String::from_utf8_lossy(&ran.stdout).into_owned();
    same("processes", &pids.lines().count(), &3)?;
    for pid in pids.lines() {
        guest.wait_for_death(pid, Duration::from_secs(5))?;
    }
    Ok(())
}

/// What a command line prints first, and then its host hangs up.
fn printed_before_hang_up(guest: &Guest, line: &str) -> Result<String, String> {
    let limit = guest.begin_limit()?;
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let channel = guest.cancellable(cancel.clone());
    let (sender, receiver) = mpsc::channel();
    let printed = std::thread::scope(|scope| {
        let running = scope
            .spawn(move || channel.run(&command(line, None), &mut Told(sender), &mut io::sink()));
        let printed = receiver
            .recv_timeout(limit)
            .map_err(|error| error.to_string());
        cancel.cancel();
        let _ = running.join();
        printed
    })?;
    Ok(String::from_utf8_lossy(&printed).trim().to_owned())
}

pub(crate) fn hang_up(guest: &Guest) -> Checked {
    let pid = printed_before_hang_up(guest, "echo $$; exec sleep 1000")?;
    guest.wait_for_death(&pid, Duration::from_secs(1))
}

/// Commands of hosts that die with some of the output unread: of each two, one floods and one prints a line.
const UNREAD_COMMANDS: usize = 32;

pub(crate) fn unread_output(guest: &Guest) -> Checked {
    // For as many processes.
    let begin_limit = guest.at_its_pace(Duration::from_secs(20), 100)?;
    let end_limit = guest.at_its_pace(Duration::from_secs(10), 16)?;
    let lines = [
        "echo $$ >>/tmp/unread; exec dd if=/dev/zero bs=64k",
        "echo printed; echo $$ >>/tmp/unread; exec sleep 1000",
    ];
    let hosts: Result<Vec<_>, String> = lines
        .iter()
        .cycle()
        .take(UNREAD_COMMANDS)
        .map(|line| requested(guest, line))
        .collect();
    let hosts = hosts?;
    let all_run = format!("test $(wc -l </tmp/unread) -eq {UNREAD_COMMANDS}");
    guest.wait_until(&all_run, begin_limit)?;
    // As the kernel closes them for a host that is killed.
    drop(hosts);
    let closed = Instant::now();
    let all_ended = "for pid in $(cat /tmp/unread); do test ! -e /proc/$pid || exit 1; done";
    guest.wait_until(all_ended, end_limit)?;
    println!(
        "measured: {UNREAD_COMMANDS} commands ended {} ms after their hosts had closed with output unread",
        closed.elapsed().as_millis()
    );
    guest.text("rm /tmp/unread").map(drop)
}

/// A connection on which nothing more is done than to ask for a command.
fn requested(guest: &Guest, line: &str) -> Result<Connection, String> {
    let deadline = guest.deadline();
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let request = Request::Run(command(line, None).request);
    let connected = connect(guest.address(), Absence::IsAnError, deadline, &cancel);
    let asked = connected.and_then(|connection| {
        let sent = connection.write_all(&frame_of(&request), deadline);
        sent.map(|()| connection)
    });
    asked.map_err(|error| error.to_string())
}

/// The daemon has a session of its own; the other three are the shell's group.
pub(crate) fn daemon_of_a_dead_host(guest: &Guest) -> Checked {
    let line = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & daemon=$!; sleep 1000 & child=$!; \
                sh -c 'sleep 1000 & echo $! >/tmp/grandchild; wait' & \
                until test -s /tmp/grandchild; do sleep 0.1; done; \
                echo $daemon $$ $child $(cat /tmp/grandchild); wait";
    let printed = printed_before_hang_up(guest, line)?;
    let pids: Vec<_> = printed.split(' ').collect();
    let [daemon, others @ ..] = &pids[..] else {
        return Err(format!("it printed '{printed}'"));
    };
    same("the others", &others.len(), &3)?;
    for pid in others {
        guest.wait_for_death(pid, Duration::from_secs(1))?;
    }
    let alive = guest.run(&format!("kill -0 {daemon}"))?.outcome;
    guest.run(&format!("kill {daemon}; rm /tmp/grandchild"))?;
    same("the daemon after its host", &alive, &Outcome::Exited(0))
}

pub(crate) fn daemon(guest: &Guest) -> Checked {
    let pid = guest.text("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")?;
    let alive = guest.run(&format!("kill -0 {pid}"))?.outcome;
    guest.run(&format!("kill {pid}"))?;
    same("the daemon after its request", &alive, &Outcome::Exited(0))
}
