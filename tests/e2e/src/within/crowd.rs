//! Many clients at once, and more of them than an agent serves: who waits, where, and who is refused.

use super::hang_up::SILENT_TREE;
use super::own_agent::OwnAgent;
use crate::client::{Client, frame_of};
use crate::guest::{Checked, holds, same};
use smolvm_protocol::request::Request;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Requests served at a time, and connections open at a time, by the contract.
const SERVED: usize = 64;
const OPEN: usize = 192;

/// What `listen` is asked for; the kernel lets one more wait.
const BACKLOG: usize = 128;

/// Who has no answer by then waits.
const WAITS: Duration = Duration::from_millis(500);

pub(crate) fn answered(agent: &OwnAgent) -> Checked {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..SERVED)
            .map(|number| scope.spawn(move || answered_right(agent, number)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| "panicked".to_owned())?)
    })?;
    agent.rests()
}

/// As many bytes, and such an exit code, as no other client's.
fn answered_right(agent: &OwnAgent, number: usize) -> Checked {
    let bytes = 100_000 + number;
    let client = agent.run(&format!("head -c {bytes} /dev/zero; exit {number}"))?;
    let received = client.receive_all().map_err(|error| error.to_string())?;
    same("bytes", &received.content.bytes, &(bytes as u64))?;
    let code = received.answer()?.exit_code;
    same("exit code", &code, &Some(number as i32))
}

/// So many silent commands, all of which run.
fn silent_commands(agent: &OwnAgent, count: usize) -> Result<Vec<Client>, String> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(agent.run(SILENT_TREE)?);
    }
    for client in &mut clients {
        client.first_pid()?;
    }
    Ok(clients)
}

pub(crate) fn permits(agent: &OwnAgent) -> Checked {
    let marks = ["/tmp/within-waited", "/tmp/within-gone"];
    let mut running = silent_commands(agent, SERVED)?;
    let mut waiting = agent.run(&format!("touch {}; exit 9", marks[0]))?;
    let gone = agent.run(&format!("touch {}", marks[1]))?;
    agent.wait_for_threads(1 + SERVED + 2)?;
    agent.ping()?;
    drop(gone);
    agent.wait_for_threads(1 + SERVED + 1)?;
    holds("it does not wait", waits(&mut waiting)?)?;
    holds("it ran early", !Path::new(marks[0]).exists())?;
    running.pop();
    let answer = waiting.receive_all().map_err(|error| error.to_string())?;
    same("exit code", &answer.answer()?.exit_code, &Some(9))?;
    drop(running);
    agent.rests()?;
    let ran = marks.map(|mark| std::fs::remove_file(mark).is_ok());
    same("which of the waiting ran", &ran, &[true, false])
}

/// Whether nothing comes for a while.
fn waits(client: &mut Client) -> Result<bool, String> {
    let failed = |error: io::Error| error.to_string();
    client.wait_at_most(WAITS).map_err(failed)?;
    let waits = match client.advance() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
        other => !other.map_err(failed)?,
    };
    client.wait_at_most(crate::client::LIMIT).map_err(failed)?;
    Ok(waits)
}

pub(crate) fn connections(agent: &OwnAgent) -> Checked {
    let running = silent_commands(agent, SERVED)?;
    let mut open = Vec::new();
    for _ in SERVED..OPEN {
        open.push(agent.run("exit 4")?);
    }
    agent.wait_for_threads(1 + OPEN)?;
    let ping = frame_of(&Request::Ping);
    let mut backlog = Vec::new();
    let refusal = loop {
        match agent.connect() {
            Ok(mut client) => {
                client.write(&ping).map_err(|error| error.to_string())?;
                backlog.push(client);
            }
            Err(reason) => break reason,
        }
        holds("the backlog has no end", backlog.len() <= 2 * BACKLOG)?;
    };
    println!(
        "measured: {} connections wait in the kernel, and the next one is refused: {refusal}",
        backlog.len()
    );
    same("connections in the kernel", &backlog.len(), &(BACKLOG + 1))?;
    holds("the first of them does not wait", waits(&mut backlog[0])?)?;
    // One that waits for a permit goes, and all of the backlog comes in by its place.
    open.pop();
    for client in backlog {
        let received = client.receive_all().map_err(|error| error.to_string())?;
        let answer = received.answer()?;
        same("the answer", &answer.op.as_deref(), &Some("pong"))?;
    }
    drop(running);
    for client in open {
        let received = client.receive_all().map_err(|error| error.to_string())?;
        same("exit code", &received.answer()?.exit_code, &Some(4))?;
    }
    agent.rests()
}
