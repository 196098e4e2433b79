//! Process 1: what it records, what it keeps while the agent is away, what it reaps.

use crate::client::frame_of;
use crate::guest::{AGENT, Checked, Guest, holds, same};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::Outcome;
use smolvm_host::deadline::Deadline;
use smolvm_host::transport::{Absence, connect};
use smolvm_protocol::request::Request;
use std::time::{Duration, Instant};

/// Requests at once while orphans end.
const AT_ONCE: usize = 64;

/// How long an agent may be away.
const AWAY_LIMIT: Duration = Duration::from_secs(60);

/// An agent that is not back by then is kept away.
const RESTART_LIMIT: Duration = Duration::from_millis(400);

/// Only where the root is on a disk, and an initramfs has mounted it.
const ROOT_MOUNTED: &str = "root_mounted_us";

/// In the order in which they happen.
const TIMINGS: [&str; 9] = [
    "init_started_us",
    "mounts_done_us",
    "modules_done_us",
    ROOT_MOUNTED,
    "listener_bound_us",
    "network_done_us",
    "agent_started_us",
    "agent_listening_us",
    "boot_scripts_done_us",
];

pub(crate) fn timings(guest: &Guest) -> Checked {
    let timings = guest
        .channel()?
        .timings(Duration::from_secs(10))
        .map_err(|error| error.to_string())?;
    let mut noted = Vec::new();
    for name in TIMINGS {
        match timings.get(name) {
            Some(microseconds) => noted.push(*microseconds),
            None if name == ROOT_MOUNTED => {}
            None => return Err(format!("{name} is not recorded")),
        }
    }
    holds(&format!("{timings:?} is out of order"), noted.is_sorted())?;
    let (began, listens) = (timings["init_started_us"], timings["agent_listening_us"]);
    let milliseconds = (listens - began) / 1000;
    // How busy the machine is decides, so that it is asserted nowhere.
    println!(
        "measured: the agent listens {milliseconds} ms after process 1 began, {} ms after the kernel",
        listens / 1000
    );
    same(
        "who may write the record",
        &guest.text("stat -c '%U %a' /run/smolvm /run/smolvm/timings")?,
        &"root 755\nroot 644".to_owned(),
    )
}

pub(crate) fn memory(guest: &Guest) -> Checked {
    let line = format!(
        "cat /proc/1/smaps_rollup /proc/$({AGENT})/smaps_rollup | sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p'"
    );
    let shown = guest.text(&line)?;
    let mut sum = 0;
    for number in shown.lines() {
        let kib: u64 = number
            .parse()
            .map_err(|_| format!("unreadable: '{shown}'"))?;
        sum += kib;
    }
    println!("measured: process 1 and the agent together: {sum} KiB of unshared memory");
    holds(
        &format!("{sum} KiB, promised {}", guest.max_pss_kib),
        sum > 0 && sum <= guest.max_pss_kib,
    )
}

/// All end in the same moment, when a gate opens that each of them waits at.
pub(crate) fn orphans(guest: &Guest) -> Checked {
    let leave = "mkfifo /tmp/gate && n=0; while [ $n -lt 1000 ]; do \
                 ( (: </tmp/gate; exit 3) </dev/null >/dev/null 2>&1 & ); n=$((n+1)); done; exit 17";
    let left = guest.run(leave)?.outcome;
    same("who left them", &left, &Outcome::Exited(17))?;
    std::thread::scope(|scope| {
        let requests: Vec<_> = (0..AT_ONCE)
            .map(|number| scope.spawn(move || exits_with(guest, number)))
            .collect();
        let opened = guest.text(": >/tmp/gate; rm /tmp/gate");
        for request in requests {
            request.join().map_err(|_| "panicked".to_owned())??;
        }
        opened
    })?;
    let none_left = "set -- $(grep -l '^PPid:[^0-9]1$' /proc/[0-9]*/status); \
                     for file; do grep -q '^State:.*Z' $file 2>/dev/null && exit 1; done; \
                     ! grep -q '[m]kfifo /tmp/gate' /proc/[0-9]*/cmdline 2>/dev/null";
    guest.wait_until(none_left, Duration::from_secs(20))?;
    same(
        "zombies",
        &guest.text("cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.*Z' || true")?,
        &"0".to_owned(),
    )
}

/// Some commands after one another, each with an exit code of its own.
fn exits_with(guest: &Guest, number: usize) -> Checked {
    for code in [number as i32 + 1, 200 - number as i32, 0] {
        let line = format!("(exit 9); sleep 0.1; exit {code}");
        same(&line, &guest.run(&line)?.outcome, &Outcome::Exited(code))?;
    }
    Ok(())
}

/// Kills the agent such that it stays away for a while: the first restart is immediate.
fn send_away(guest: &Guest) -> Checked {
    guest.kill_agent()?;
    if guest.channel()?.ping(RESTART_LIMIT).is_ok() {
        guest.kill_agent()?;
    }
    Ok(())
}

pub(crate) fn backlog(guest: &Guest) -> Checked {
    send_away(guest)?;
    let failed = |error: smolvm_host::transport::TransportError| error.to_string();
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let began = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(500));
    let connection =
        connect(guest.address(), Absence::IsAnError, deadline, &cancel).map_err(failed)?;
    let connected = began.elapsed();
    let deadline = Deadline::after(AWAY_LIMIT);
    connection
        .write_all(&frame_of(&Request::Ping), deadline)
        .map_err(failed)?;
    let mut answer = [0; 5];
    let mut length = 0;
    while length < answer.len() {
        length += match connection.read(&mut answer[length..], deadline) {
            Ok(0) => return Err("the connection was ended".to_owned()),
            other => other.map_err(failed)?,
        };
    }
    println!(
        "measured: connected after {} ms, answered after {} ms",
        connected.as_millis(),
        began.elapsed().as_millis()
    );
    same("the answer's type", &answer[0], &1)
}

/// Who tries has left the agent's control group, which is ended with the agent.
pub(crate) fn port(guest: &Guest) -> Checked {
    let line = "cat >/tmp/taker <<'END'\n\
                echo $$ >/sys/fs/cgroup/cgroup.procs\n\
                echo ready\n\
                exec >/tmp/taken 2>&1\n\
                n=0; while [ $n -lt 40 ]; do smolvm-guest-agent --listen vsock:1024 & \
                sleep 0.05; kill $! 2>/dev/null; n=$((n+1)); done\n\
                echo done\n\
                END\n\
                setsid sh /tmp/taker </dev/null 2>&1 | head -n 1";
    same("the taker", &guest.text(line)?, &"ready".to_owned())?;
    send_away(guest)?;
    guest
        .channel()?
        .wait_ready(AWAY_LIMIT)
        .map_err(|error| error.to_string())?;
    guest.wait_until("grep -q done /tmp/taken", Duration::from_secs(30))?;
    let tries = guest.text("grep -c 'cannot listen on vsock port 1024' /tmp/taken")?;
    let taken = guest.text("grep -c 'listening on' /tmp/taken || true")?;
    guest.text("rm /tmp/taken /tmp/taker")?;
    same("how often the port was taken", &taken, &"0".to_owned())?;
    holds(
        &format!("only {tries} tries"),
        tries.parse::<u32>().is_ok_and(|tries| tries >= 10),
    )
}
