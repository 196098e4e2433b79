//! What is sent behind a request, over AF_VSOCK at both ends: input under flow control, signals, a terminal, a stream.

use super::hang_up::{Holder, SILENT_TREE};
use super::own_agent::OwnAgent;
use crate::checksum::{Checksum, Pattern};
use crate::client::{Client, LIMIT, frame_of};
use crate::guest::{Checked, holds, same};
use crate::process::{wait_for_group_of, wait_for_groups_end};
use smolvm_protocol::answer::FromAgent;
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::{
    ConnectRequest, Control, Request, RunRequest, Shell, Target, Terminal, TerminalSize,
    WINDOW_BYTES,
};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

/// By then nothing of a command may be left.
const END_LIMIT: Duration = Duration::from_secs(1);

/// By then nothing of a terminal's session may be left: it has a second after its hang-up.
const SESSION_LIMIT: Duration = Duration::from_secs(3);

/// No credit within that time is none at all.
const CREDIT_LIMIT: Duration = Duration::from_millis(500);

/// `SIGTERM`.
const TERM: u8 = 15;

fn told(error: io::Error) -> String {
    error.to_string()
}

fn begun(agent: &OwnAgent, request: RunRequest) -> Result<Client, String> {
    let mut client = agent.connect()?;
    let request = Request::Run(RunRequest {
        shell: Shell::Raw,
        ..request
    });
    client.write(&frame_of(&request)).map_err(told)?;
    Ok(client)
}

fn with_input(agent: &OwnAgent, line: &str) -> Result<Client, String> {
    begun(
        agent,
        RunRequest {
            command: line.as_bytes().to_vec(),
            stdin: true,
            ..RunRequest::default()
        },
    )
}

/// What the agent has credited so far.
fn credited(client: &Client) -> usize {
    let credit = |payload: &Vec<u8>| match FromAgent::parse(payload) {
        Ok(FromAgent::Credit(bytes)) => bytes,
        _ => 0,
    };
    client.received().control.iter().map(credit).sum()
}

fn send(client: &mut Client, frame_type: FrameType, payload: &[u8]) -> Checked {
    client
        .write(&encode_frame(frame_type, payload))
        .map_err(told)
}

/// Sends until all of the window is under way, and no more of it is credited.
fn fill(client: &mut Client) -> Checked {
    let chunk = [7; MAX_CHUNK_BYTES];
    let mut sent = 0;
    client.wait_at_most(CREDIT_LIMIT).map_err(told)?;
    loop {
        while sent + chunk.len() <= credited(client) + WINDOW_BYTES {
            send(client, FrameType::DATA, &chunk)?;
            sent += chunk.len();
        }
        match client.advance() {
            Ok(true) => {}
            Ok(false) => return Err("the agent has ended the request".into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    client.wait_at_most(LIMIT).map_err(told)
}

/// The silent tree with its window full, and its group.
fn stuck(agent: &OwnAgent) -> Result<(Client, u32), String> {
    let mut client = with_input(agent, SILENT_TREE)?;
    let group = client.first_pid()?;
    fill(&mut client)?;
    Ok((client, group))
}

fn ends(agent: &OwnAgent, group: u32, how: &str, limit: Duration) -> Checked {
    let after = wait_for_groups_end(group, limit)?;
    println!(
        "measured: {how}: the group is gone after {} ms",
        after.as_millis()
    );
    agent.rests()
}

pub(crate) fn close(agent: &OwnAgent) -> Checked {
    let (client, group) = stuck(agent)?;
    drop(client);
    ends(agent, group, "close with the window full", END_LIMIT)
}

pub(crate) fn death(agent: &OwnAgent) -> Checked {
    let (client, group) = stuck(agent)?;
    Holder::of(client)?.die()?;
    ends(agent, group, "SIGKILL with the window full", END_LIMIT)
}

pub(crate) fn mirrored(agent: &OwnAgent) -> Checked {
    let size = 4 << 20;
    let mut client = with_input(agent, "cat")?;
    let (mut source, mut sent) = (Pattern::new(3, size), 0);
    let mut chunk = vec![0; MAX_CHUNK_BYTES];
    while sent < size as usize {
        while sent + chunk.len() > credited(&client) + WINDOW_BYTES {
            holds("ended early", client.advance().map_err(told)?)?;
        }
        source.read_exact(&mut chunk).map_err(told)?;
        send(&mut client, FrameType::DATA, &chunk)?;
        sent += chunk.len();
    }
    send(&mut client, FrameType::EOF, b"")?;
    let received = client.receive_all().map_err(told)?;
    same("exit code", &received.answer()?.exit_code, &Some(0))?;
    same("bytes", &received.content.bytes, &size)?;
    let wanted = Checksum::of(Pattern::new(3, size)).map_err(told)?;
    same("checksum", &received.content.sha256(), &wanted.sha256())?;
    agent.rests()
}

pub(crate) fn signal(agent: &OwnAgent) -> Checked {
    let (mut client, group) = stuck(agent)?;
    let term = Control::Signal(TERM).to_json();
    send(&mut client, FrameType::JSON, term.as_bytes())?;
    let received = client.receive_all().map_err(told)?;
    let wanted = Some(-i32::from(TERM));
    same("exit code", &received.answer()?.exit_code, &wanted)?;
    ends(agent, group, "SIGTERM with the window full", END_LIMIT)
}

pub(crate) fn terminal(agent: &OwnAgent) -> Checked {
    let terminal = Terminal {
        size: TerminalSize { rows: 33, cols: 99 },
        term: b"vt100".to_vec(),
    };
    let line = "stty -opost; echo $$; stty size; echo $TERM; sleep 1000 & wait";
    let mut client = begun(
        agent,
        RunRequest {
            command: line.as_bytes().to_vec(),
            stdin: true,
            terminal: Some(terminal),
            ..RunRequest::default()
        },
    )?;
    let group = client.first_pid()?;
    let wanted = format!("{group}\n33 99\nvt100\n");
    client.receive_at_least(wanted.len() as u64)?;
    same("the output", &client.received().head_text(), &wanted)?;
    wait_for_group_of(group, 2, LIMIT)?;
    drop(client);
    ends(agent, group, "close of a terminal", SESSION_LIMIT)
}

pub(crate) fn stream(agent: &OwnAgent) -> Checked {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(told)?;
    let port = listener.local_addr().map_err(told)?.port();
    let target = std::thread::spawn(move || -> io::Result<()> {
        let (mut peer, _) = listener.accept()?;
        let mut content = Vec::new();
        peer.read_to_end(&mut content)?;
        peer.write_all(&content)?;
        peer.shutdown(Shutdown::Write)
    });
    let mut client = agent.connect()?;
    let to = Target::Tcp {
        host: b"127.0.0.1".to_vec(),
        port,
    };
    let request = frame_of(&Request::Connect(ConnectRequest { to }));
    client.write(&request).map_err(told)?;
    let size = 100_000;
    let mut content = Vec::new();
    Pattern::new(4, size)
        .read_to_end(&mut content)
        .map_err(told)?;
    for piece in content.chunks(MAX_CHUNK_BYTES) {
        send(&mut client, FrameType::DATA, piece)?;
    }
    send(&mut client, FrameType::EOF, b"")?;
    let received = client.receive_all().map_err(told)?;
    holds("the target failed", matches!(target.join(), Ok(Ok(()))))?;
    let first = received.control.first().map(Vec::as_slice);
    same("the answer", &first, &Some(b"{\"ok\": true}".as_slice()))?;
    same("the last frame", &received.last, &Some(FrameType::EOF))?;
    let wanted = Checksum::of(Pattern::new(4, size)).map_err(told)?;
    same("checksum", &received.content.sha256(), &wanted.sha256())?;
    agent.rests()
}
