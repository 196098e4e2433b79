//! A client that has ended its sending side alone is still there: it gets its answer, and costs nothing meanwhile.

use super::own_agent::OwnAgent;
use crate::checksum::{Checksum, Pattern};
use crate::client::frame_of;
use crate::guest::{Checked, holds, same};
use crate::process::processor_ticks;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{GetFileRequest, Request};
use std::io;
use std::time::Instant;

/// Clock ticks a second: what every Linux tells programs (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// How much of one processor an agent may take while it waits.
const MAX_SHARE: f64 = 0.05;

pub(crate) fn output(agent: &OwnAgent) -> Checked {
    let line =
        "n=0; while [ $n -lt 20 ]; do head -c 65536 /dev/zero; sleep 0.1; n=$((n+1)); done; exit 7";
    let client = agent.run(line)?;
    client.half_close().map_err(|error| error.to_string())?;
    let received = client.receive_all().map_err(|error| error.to_string())?;
    same("bytes", &received.content.bytes, &(20 * 65536))?;
    same("exit code", &received.answer()?.exit_code, &Some(7))?;
    same("the last frame", &received.last, &Some(FrameType::JSON))?;
    agent.rests()
}

pub(crate) fn file(agent: &OwnAgent) -> Checked {
    let (path, size) = ("/tmp/within-file", 8 << 20);
    let failed = |error: io::Error| error.to_string();
    let mut file = std::fs::File::create(path).map_err(failed)?;
    io::copy(&mut Pattern::new(1, size), &mut file).map_err(failed)?;
    drop(file);
    let mut client = agent.connect()?;
    let request = frame_of(&Request::GetFile(GetFileRequest {
        path: path.as_bytes().to_vec(),
        sha256: false,
    }));
    client.write(&request).map_err(failed)?;
    client.half_close().map_err(failed)?;
    let received = client.receive_all();
    std::fs::remove_file(path).map_err(failed)?;
    let received = received.map_err(failed)?;
    same("bytes", &received.content.bytes, &size)?;
    same("the last frame", &received.last, &Some(FrameType::EOF))?;
    let sent = Checksum::of(Pattern::new(1, size)).map_err(failed)?;
    same("checksum", &received.content.sha256(), &sent.sha256())?;
    agent.rests()
}

pub(crate) fn processor_time(agent: &OwnAgent) -> Checked {
    let client = agent.run("sleep 5; echo done; exit 3")?;
    client.half_close().map_err(|error| error.to_string())?;
    let (began, before) = (Instant::now(), processor_ticks(agent.pid())?);
    let received = client.receive_all().map_err(|error| error.to_string())?;
    let ticks = processor_ticks(agent.pid())? - before;
    let waited = began.elapsed().as_secs_f64();
    same("exit code", &received.answer()?.exit_code, &Some(3))?;
    same("bytes", &received.content.bytes, &5)?;
    let share = ticks as f64 / TICKS_A_SECOND / waited;
    println!(
        "measured: {:.1} % of a processor in {waited:.1} s of waiting after a half-close",
        100.0 * share
    );
    holds(
        &format!("{ticks} ticks of processor time in {waited:.1} s of waiting"),
        share < MAX_SHARE,
    )?;
    agent.rests()
}
