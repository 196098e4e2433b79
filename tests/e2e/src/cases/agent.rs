//! The agent itself: memory, threads, peers, restart.

use crate::guest::{AGENT, Checked, Guest, command, holds, same};
use smolvm_host::channel::Outcome;
use smolvm_protocol::request::Destination;
use std::time::Duration;

/// Requests served at a time, by the contract.
const AT_ONCE: usize = 64;

/// A user of the guest who is not root, and how often the agent is asked meanwhile.
const KNOCKER: u32 = 65534;
const PINGS: usize = 20;

/// A folder that is root's, where the knockers are told to end.
const KNOCKING: &str = "/tmp/knocking";

/// How many knock at a time.
const KNOCKERS: usize = 4;

/// A port for a second agent within the guest.
const SECOND_PORT: u32 = 2048;

pub(crate) fn ping(guest: &Guest) -> Checked {
    let pong = guest
        .channel()?
        .ping(Duration::from_secs(10))
        .map_err(|error| error.to_string())?;
    holds("the version is empty", !pong.agent_version.is_empty())?;
    same("protocol", &pong.protocol, &1)
}

/// The request that looks is one thread and a few KiB of what it sees.
pub(crate) fn idle(guest: &Guest) -> Checked {
    same(
        "threads, the looking request's among them",
        &guest.agent_threads()?,
        &2,
    )?;
    let resident = guest.agent_resident_kib()?;
    println!("measured: idle agent with one request under way: {resident} KiB resident");
    holds(
        &format!("{resident} KiB resident, promised {}", guest.max_idle_kib),
        resident <= guest.max_idle_kib,
    )
}

pub(crate) fn oom_score(guest: &Guest) -> Checked {
    let agent = guest.text(&format!("cat /proc/$({AGENT})/oom_score_adj"))?;
    same("the agent's adjustment", &agent, &"-1000".to_owned())?;
    same(
        "a command's",
        &guest.text("cat /proc/self/oom_score_adj")?,
        &"0".to_owned(),
    )
}

pub(crate) fn many(guest: &Guest) -> Checked {
    let before = guest.agent_resident_kib()?;
    let each = guest.max_transfer_bytes / 256;
    // By busybox's shell itself, which waits for what never comes: a guest that is emulated twice starts two processes a second.
    guest.text("mkfifo /tmp/never")?;
    let line = &format!("printf %{each}s; echo done >&2; ! read -t 0.2 never <>/tmp/never");
    let outcomes = std::thread::scope(|scope| {
        let running: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| guest.run(line)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().map_err(|_| "panicked".to_owned())?)
            .collect::<Vec<_>>()
    });
    guest.text("rm /tmp/never")?;
    for outcome in outcomes {
        let ran = outcome?;
        same("outcome", &ran.outcome, &Outcome::Exited(0))?;
        same("bytes", &(ran.stdout.len() as u64), &each)?;
        same("standard error", &ran.stderr, &b"done\n".to_vec())?;
    }
    guest.wait_until(
        &format!("test $(sed -n 's/^Threads:[^0-9]*//p' /proc/$({AGENT})/status) -le 2"),
        2 * guest.begin_limit()?,
    )?;
    let after = guest.agent_resident_kib()?;
    println!("measured: after {AT_ONCE} requests at once: {after} KiB resident, {before} before");
    holds(
        &format!(
            "{after} KiB resident, {before} before, promised {} more",
            guest.max_growth_kib
        ),
        after.saturating_sub(before) <= guest.max_growth_kib,
    )
}

/// Puts this program where the guest's users can run it.
fn put_client(guest: &Guest) -> Checked {
    let mut program = std::fs::File::open(&guest.program).map_err(|error| error.to_string())?;
    let size = program.metadata().map_err(|error| error.to_string())?.len();
    let destination = Destination {
        path: b"/tmp/client".to_vec(),
        mode: Some(0o755),
        ..Destination::default()
    };
    guest
        .channel()?
        .put_file(&mut program, size, destination, guest.deadline())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The most threads that the agent has while one request looks a hundred times. Those of the requests before may end first.
fn most_threads(guest: &Guest) -> Result<String, String> {
    guest.text(&format!(
        "agent=$({AGENT})
         threads() {{ sed -n 's/^Threads:[^0-9]*//p' /proc/$agent/status; }}
         until [ $(threads) -le 2 ]; do :; done
         for _ in $(seq 100); do threads; done | sort -n | tail -n 1"
    ))
}

/// What each knocker told in the end.
fn end_knocking(guest: &Guest, pids: &str) -> Checked {
    guest.text(&format!(": >{KNOCKING}/over"))?;
    for pid in pids.split_ascii_whitespace() {
        guest.wait_for_death(pid, Duration::from_secs(20))?;
    }
    let told = guest.text("cat /tmp/knocked-*")?;
    println!("measured: connections of each knocker that the agent closed: {told:?}");
    let reached = told.lines().filter_map(|line| line.strip_prefix("closed "));
    let reached = reached.filter(|count| *count != "0").count();
    same("knockers that reached the agent", &reached, &KNOCKERS)
}

/// Whoever is refused costs the agent no thread and no permit, and the host waits for its turn at most.
pub(crate) fn knocked(guest: &Guest) -> Checked {
    put_client(guest)?;
    guest.text(&format!("mkdir {KNOCKING}"))?;
    let start = format!(
        "for one in $(seq {KNOCKERS}); do \
         setsid /tmp/client attack knock 1 1024 {KNOCKING} </dev/null >/tmp/knocked-$one 2>&1 & echo $!; done"
    );
    let mut knock = command(&start, None);
    knock.request.user = KNOCKER.to_string().into_bytes();
    let mut pids = Vec::new();
    let started = guest.channel()?.run(&knock, &mut pids, &mut Vec::new());
    started.map_err(|error| error.to_string())?;
    let pids = String::from_utf8_lossy(&pids).replace('\n', " ");
    let answered = (0..PINGS).try_for_each(|_| ping(guest));
    let threads = most_threads(guest);
    let knocking = guest.text(&format!("for pid in {pids}; do kill -0 $pid || exit; done"));
    let reached = end_knocking(guest, &pids);
    guest.text(&format!(
        "kill -9 {pids} 2>/dev/null; rm -r /tmp/client {KNOCKING} /tmp/knocked-*"
    ))?;
    answered?;
    knocking?;
    reached?;
    same(
        "threads, the looking request's among them",
        &threads?,
        &"2".to_owned(),
    )
}

pub(crate) fn loopback(guest: &Guest) -> Checked {
    put_client(guest)?;
    let refused = guest.run("/tmp/client loopback 1 1024")?;
    let shown = String::from_utf8_lossy(&refused.stdout).into_owned();
    same(
        &format!("a peer of the guest's own: {shown}"),
        &refused.outcome,
        &Outcome::Exited(3),
    )?;
    let start = format!(
        "setsid smolvm-guest-agent --listen vsock:{SECOND_PORT} --allow-cid 1 </dev/null >/dev/null 2>&1 & echo $!"
    );
    let second = guest.text(&start)?;
    let limit = guest.begin_limit()?;
    let served = guest.wait_until(&format!("/tmp/client loopback 1 {SECOND_PORT}"), limit);
    guest.text(&format!("kill {second}"))?;
    served?;
    for socket in ["listener", "connection"] {
        for (options, outcome) in [
            ("", Outcome::Exited(3)),
            ("-- --allow-cid 1", Outcome::Exited(0)),
        ] {
            let ran = guest.run(&format!(
                "/tmp/client inherited {socket} {SECOND_PORT} {options}"
            ))?;
            let shown = String::from_utf8_lossy(&ran.stdout).into_owned();
            let what =
                format!("a peer of the guest's own on an inherited {socket} {options}: {shown}");
            same(&what, &ran.outcome, &outcome)?;
        }
    }
    guest.text("rm /tmp/client").map(drop)
}

/// Leaves behind a daemon that waits for another agent to be there, and tells of it; prints the daemon's number.
fn leave_a_watcher(guest: &Guest) -> Result<String, String> {
    guest.text(&format!(
        "cat >/tmp/watcher <<'END'\n\
         old=$({AGENT} | head -n 1)\n\
         while [ -e /proc/$old ]; do :; done\n\
         until [ -n \"$({AGENT})\" ]; do :; done\n\
         : >/tmp/outlived\n\
         END\n\
         setsid sh /tmp/watcher </dev/null >/dev/null 2>&1 & echo $!"
    ))
}

/// What it left behind is ended before another one is there, whatever made itself a daemon among it.
pub(crate) fn killed(guest: &Guest) -> Checked {
    let agent = guest.text(AGENT)?;
    holds("there is no agent", !agent.is_empty())?;
    let line = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; \
                (sleep 1000 </dev/null >/dev/null 2>&1 & echo $!)";
    let left = guest.text(line)?;
    same("daemons", &left.lines().count(), &2)?;
    let limit = guest.begin_limit()?;
    let watcher = leave_a_watcher(guest)?;
    let held = std::thread::scope(|scope| {
        let running =
            scope.spawn(|| guest.run_with("echo $$ >/tmp/held; exec sleep 1000", Some(60.0)));
        guest.wait_until("test -s /tmp/held", limit)?;
        let held = guest.text("cat /tmp/held")?;
        guest.kill_agent()?;
        let ran = running.join().map_err(|_| "panicked".to_owned())?;
        holds("a command of the killed agent's was answered", ran.is_err())?;
        Ok::<_, String>(held)
    })?;
    guest
        .channel()?
        .wait_ready(Duration::from_secs(60))
        .map_err(|error| error.to_string())?;
    let another = guest.text(AGENT)?;
    holds(
        &format!("the agent was {agent} and is '{another}'"),
        !another.is_empty() && another != agent,
    )?;
    for pid in left.lines().chain([watcher.as_str(), held.as_str()]) {
        guest.wait_for_death(pid, Duration::from_secs(5))?;
    }
    guest.text("test ! -e /tmp/outlived && rm /tmp/watcher /tmp/held")?;
    Ok(())
}
