//! What is no request, comes in part, or never comes.

use super::own_agent::OwnAgent;
use crate::checksum::Pattern;
use crate::client::{Client, LIMIT};
use crate::guest::{Checked, holds, same};
use smolvm_protocol::frame::{FrameType, MAX_FRAME_BYTES, encode_frame};
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

/// Peers that never finish a request.
const SILENT: usize = 64;

/// A silent peer is closed after 5 s without a byte, by the contract; no later than this on a busy machine.
const CLOSED_LIMIT: Duration = Duration::from_secs(12);

fn header(frame_type: u8, payload_bytes: u32) -> Vec<u8> {
    [&[frame_type][..], &payload_bytes.to_be_bytes()].concat()
}

fn is_refused(agent: &OwnAgent, bytes: &[u8]) -> Checked {
    let start = &bytes[..bytes.len().min(16)];
    let received = agent
        .ask(bytes)
        .map_err(|error| format!("{start:?}: {error}"))?;
    same("answers", &received.control.len(), &1)?;
    let answer = received.answer()?;
    let reason = answer.error.unwrap_or_default();
    holds(
        &format!("{start:?} is answered with '{reason}'"),
        !answer.ok && reason.starts_with("bad request: "),
    )
}

pub(crate) fn refused(agent: &OwnAgent) -> Checked {
    let mut noise = Vec::new();
    let read = Pattern::new(4, 1 << 20).read_to_end(&mut noise);
    read.map_err(|error| error.to_string())?;
    let json = |payload: &[u8]| encode_frame(FrameType::JSON, payload);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n".to_vec(),
        noise,
        vec![0; 1 << 20],
        encode_frame(FrameType::DATA, b"{\"op\": \"ping\"}"),
        encode_frame(FrameType::EOF, b""),
        json(b""),
        json(b"ping"),
        json(b"[]"),
        json(b"\xff\xfe"),
        json(b"{\"op\": \"ping\""),
        json(&vec![b'['; 1 << 20]),
    ] {
        is_refused(agent, &bytes)?;
    }
    agent.rests()
}

pub(crate) fn promised(agent: &OwnAgent) -> Checked {
    for frame_type in [1, 4, 0xFF] {
        is_refused(agent, &header(frame_type, u32::MAX))?;
        is_refused(agent, &header(frame_type, MAX_FRAME_BYTES + 1))?;
    }
    agent.rests()
}

pub(crate) fn cut_short(agent: &OwnAgent) -> Checked {
    // As much as is allowed, and so waited for. Such frames come in one at a time: the second stays in the kernel.
    let mut large = header(1, MAX_FRAME_BYTES);
    large.resize(1 << 20, b' ');
    let parts = [
        &b"\x01"[..],
        b"\x01\0\0",
        b"\x01\0\0\0\x40{",
        &large,
        &large[..100_000],
    ];
    let mut clients = Vec::new();
    for part in parts {
        let mut client = agent.connect()?;
        client.write(part).map_err(|error| error.to_string())?;
        clients.push(client);
    }
    agent.wait_for_threads(1 + parts.len())?;
    agent.ping()?;
    drop(clients);
    agent.rests()
}

pub(crate) fn silent(agent: &OwnAgent) -> Checked {
    let mut clients = Vec::new();
    for number in 0..SILENT {
        let mut client = agent.connect()?;
        let part = if number % 2 == 0 { &b""[..] } else { b"\x01\0" };
        client.write(part).map_err(|error| error.to_string())?;
        clients.push(client);
    }
    let began = Instant::now();
    agent.wait_for_threads(1 + SILENT)?;
    agent.ping()?;
    for client in clients {
        let control = end_of(client)?;
        same("answers", &control, &0)?;
    }
    let closed = began.elapsed();
    println!(
        "measured: {SILENT} silent clients are closed after {:.1} s",
        closed.as_secs_f64()
    );
    holds(&format!("closed after {closed:?}"), closed < CLOSED_LIMIT)?;
    agent.rests()
}

/// How many answers come before the end, which may be a reset.
fn end_of(client: Client) -> Result<usize, String> {
    client
        .wait_at_most(LIMIT)
        .map_err(|error| error.to_string())?;
    match client.receive_all() {
        Ok(received) => Ok(received.control.len()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}
