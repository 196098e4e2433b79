//! What hosts that send as none should can make our agent hold, and what it keeps after many requests.

use crate::competitor::{Agent, Command, Competitor, Name, Program};
use crate::connection::Connection;
use crate::process::{Holdings, Server, holdings};
use crate::results::{Outcome, Task};
use crate::rounds::Run;
use crate::work::{Place, Work};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use smolvm_protocol::frame::{
    FrameHeader, FrameType, MAX_CHUNK_BYTES, MAX_FRAME_BYTES, encode_frame,
};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// As many as are served at a time, of commands and of streams each.
const CONNECTIONS: usize = 64;
/// What a host may send that is not handed on yet, in frames.
const WINDOW_FRAMES: usize = 4;
/// How long credit is waited for that may not come.
const CREDIT_PATIENCE: Duration = Duration::from_millis(300);
/// Within this, what is given back is given back.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Requests of a file, and pings, beside each of a command.
const FILE_BYTES: u64 = 1024;

/// Measures our agent, a fresh one for each work.
pub(crate) fn measure(run: &mut Run<'_>, ours: &Program, folder: &Path) -> Result<()> {
    if run.is_wanted(Place::Here, Work::StalledResident) {
        run.check()?;
        let figure = fresh(ours, folder).and_then(|agent| stalled(&agent));
        push(run, Work::StalledResident, figure);
    }
    if run.is_wanted(Place::Here, Work::FloodResident) {
        run.check()?;
        let figure = fresh(ours, folder).and_then(|agent| flooded(&agent, folder));
        push(run, Work::FloodResident, figure);
    }
    if run.is_wanted(Place::Here, Work::AfterManyGrowth) {
        run.check()?;
        let requests = run.scale.runs_in_a_row;
        let figures = fresh(ours, folder).and_then(|agent| after_many(&agent, folder, requests));
        match figures {
            Ok((growth, left)) => {
                push(run, Work::AfterManyGrowth, Ok(growth));
                push(run, Work::AfterManyLeft, Ok(left));
            }
            Err(error) => push(run, Work::AfterManyGrowth, Err(error)),
        }
    }
    Ok(())
}

fn push(run: &mut Run<'_>, work: Work, figure: Result<u64>) {
    let task = Task {
        place: Place::Here,
        work,
        bytes: None,
    };
    let outcome = match figure {
        Ok(figure) => Outcome::Rounds(vec![vec![figure]]),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    run.results.push(task, Name::Ours, outcome);
}

fn fresh(ours: &Program, folder: &Path) -> Result<Agent> {
    let folder = folder.join("fresh");
    // Of the agent before.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder)?;
    Agent::start(Name::Ours, ours.clone(), &folder)
}

fn server(agent: &Agent) -> Result<&Server> {
    agent.server().context("the agent is not ours to measure")
}

/// KiB that are resident at most while hosts have sent nearly 64 KiB of a request each, and no more.
fn stalled(agent: &Agent) -> Result<u64> {
    let mut begun = FrameHeader::new(FrameType::JSON, MAX_CHUNK_BYTES - 1)
        .encode()
        .to_vec();
    begun.extend_from_slice(br#"{"op":"ping","x":""#);
    begun.resize(begun.len() + MAX_CHUNK_BYTES - 64, b'x');
    let mut hosts = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut host = agent.connect()?;
        host.write_all(&begun)?;
        hosts.push(host);
    }
    // They wait for 5 s at most.
    largest(agent, Duration::from_secs(2))
}

/// The most that is resident within a time.
fn largest(agent: &Agent, time: Duration) -> Result<u64> {
    let began = Instant::now();
    let mut largest = 0;
    while began.elapsed() < time {
        largest = largest.max(server(agent)?.memory()?.resident_kib);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(largest)
}

/// KiB that are resident at most while every window is full, and a request as long as may be arrives beside.
fn flooded(agent: &Agent, folder: &Path) -> Result<u64> {
    let path = folder.join("fresh/silent");
    let listener = UnixListener::bind(&path)?;
    let silent = format!("unix:{}", path.display());
    let run = json!({"op": "run", "argv": ["sleep", "600"], "stdin": true});
    let connect = json!({"op": "connect", "to": silent});
    let hosts: Result<Vec<Connection>> = std::thread::scope(|scope| {
        let filled: Vec<_> = (0..2 * CONNECTIONS)
            .map(|number| if number % 2 == 0 { &run } else { &connect })
            .map(|request| scope.spawn(|| fill(agent, request)))
            .collect();
        filled
            .into_iter()
            .map(|host| host.join().expect("a host does not panic"))
            .collect()
    });
    let hosts = hosts?;
    let mut longest = agent.connect()?;
    let empty = json!({"op": "ping", "x": ""}).to_string();
    let pad = "x".repeat(MAX_FRAME_BYTES as usize - empty.len());
    let request = json!({"op": "ping", "x": pad}).to_string();
    let frame = encode_frame(FrameType::JSON, request.as_bytes());
    let (last, before) = frame.split_last().context("a frame has bytes")?;
    longest.write_all(before)?;
    let mut most = largest(agent, Duration::from_secs(1))?;
    longest.write_all(&[*last])?;
    longest.answer()?;
    most = most.max(server(agent)?.memory()?.resident_kib);
    drop((hosts, listener));
    Ok(most)
}

/// Sends for as long as the agent gives credit.
fn fill(agent: &Agent, request: &Value) -> Result<Connection> {
    let mut host = agent.connect()?;
    host.request(request)?;
    if request["op"] == "connect" {
        host.answer()?;
    }
    host.set_patience(CREDIT_PATIENCE)?;
    let frame = encode_frame(FrameType::DATA, &[0x5a; MAX_CHUNK_BYTES]);
    for _ in 0..WINDOW_FRAMES {
        host.write_all(&frame)?;
    }
    let mut credit = 0;
    while let Some(more) = host.credit()? {
        credit += more;
        while credit >= MAX_CHUNK_BYTES as u64 {
            credit -= MAX_CHUNK_BYTES as u64;
            host.write_all(&frame)?;
        }
    }
    let rest = usize::try_from(credit)?;
    if rest > 0 {
        host.write_all(&encode_frame(FrameType::DATA, &vec![0x5a; rest]))?;
    }
    Ok(host)
}

/// By how many thousandths of a percent more or less is resident after many requests of all kinds, and how many descriptors, threads,
/// processes and files more there are.
fn after_many(agent: &Agent, folder: &Path, requests: usize) -> Result<(u64, u64)> {
    let folder = folder.join("fresh");
    some_of_each(agent, 8)?;
    let before = settled(agent, &folder, None)?;
    some_of_each(agent, requests)?;
    let after = settled(agent, &folder, Some(before))?;
    let growth = after.resident_kib.abs_diff(before.resident_kib) * 100_000 / before.resident_kib;
    let more = |after: usize, before: usize| after.saturating_sub(before);
    let left = more(after.holdings.descriptors, before.holdings.descriptors)
        + more(after.holdings.threads, before.holdings.threads)
        + more(after.holdings.children, before.holdings.children)
        + more(after.files, before.files);
    Ok((growth, left as u64))
}

fn some_of_each(agent: &Agent, requests: usize) -> Result<()> {
    for _ in 0..requests.div_ceil(4) {
        agent.ping()?;
        agent.runs(Command::Shell, 1)?;
        agent.put(FILE_BYTES)?;
        agent.get(FILE_BYTES)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct State {
    resident_kib: u64,
    holdings: Holdings,
    files: usize,
}

/// What an agent holds once its last connections are closed: as much as before, or, where that is not known, one thread.
fn settled(agent: &Agent, folder: &Path, before: Option<State>) -> Result<State> {
    let server = server(agent)?;
    let began = Instant::now();
    loop {
        let state = State {
            resident_kib: server.memory()?.resident_kib,
            holdings: holdings(server.pid())?,
            files: fs::read_dir(folder)?.count(),
        };
        let is_settled = match before {
            Some(before) => state.holdings == before.holdings,
            None => state.holdings.threads == 1 && state.holdings.children == 0,
        };
        if is_settled || (before.is_some() && began.elapsed() > SETTLE_LIMIT) {
            return Ok(state);
        }
        ensure!(
            began.elapsed() < SETTLE_LIMIT,
            "it does not come to rest: {:?}",
            state.holdings
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
