//! A client that goes while much is under way in either direction. AF_VSOCK has no call for a reset: the kernel
//! sends one for whatever arrives at a socket that has been closed.

use super::hang_up::Holder;
use super::own_agent::OwnAgent;
use crate::client::{Client, LIMIT, frame_of};
use crate::guest::{Checked, holds, same};
use crate::process::{bytes_written, group_members, wait_for_groups_end, wait_until};
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::{Destination, PutFileRequest, Request};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where uploads of these cases go.
const FOLDER: &str = "/tmp/within-upload";

/// What an upload promises, and what it has sent when its client goes, in frames of [`MAX_CHUNK_BYTES`].
const PROMISED_FRAMES: usize = 1024;
const SENT_FRAMES: usize = 128;

/// A command that has written nothing for so long waits for its client.
const STALL: Duration = Duration::from_millis(300);

/// By then nothing of a request may be left.
const END_LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn upload(agent: &OwnAgent) -> Checked {
    let target = Path::new(FOLDER).join("target");
    fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    fs::write(&target, "old").map_err(|error| error.to_string())?;
    let outcome = leave_uploads(agent, &target);
    fs::remove_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    outcome?;
    agent.rests()
}

fn leave_uploads(agent: &OwnAgent, target: &Path) -> Checked {
    drop(begin_upload(agent, target)?);
    leaves_nothing("close", target)?;
    // No hang-up, but an end of the payload before its promised size.
    let client = begin_upload(agent, target)?;
    client.half_close().map_err(|error| error.to_string())?;
    leaves_nothing("a half-close", target)?;
    die_while_sending(agent, target)?;
    leaves_nothing("SIGKILL", target)
}

/// An upload of which a part is sent, and the first of that stored.
fn begin_upload(agent: &OwnAgent, target: &Path) -> Result<Client, String> {
    let mut client = agent.connect()?;
    let send = |bytes: &[u8]| client.write(bytes);
    send_frames(target, SENT_FRAMES, send).map_err(|error| error.to_string())?;
    wait_for_staged_file()?;
    Ok(client)
}

/// Kills a client that sends as fast as it can.
fn die_while_sending(agent: &OwnAgent, target: &Path) -> Checked {
    let (holder, mut input) = Holder::fed(agent.connect()?)?;
    let all = std::thread::scope(|scope| {
        let sending = scope
            .spawn(move || send_frames(target, PROMISED_FRAMES, |bytes| input.write_all(bytes)));
        let stored = wait_for_staged_file();
        holder.die()?;
        stored?;
        sending.join().map_err(|_| "panicked".to_owned())
    })?;
    holds("the client had sent all before it died", all.is_err())
}

/// Sends a request for the whole upload, and so many of its frames.
fn send_frames(
    target: &Path,
    frames: usize,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let path = target.as_os_str().as_encoded_bytes().to_vec();
    send(&frame_of(&Request::PutFile(PutFileRequest {
        size: (PROMISED_FRAMES * MAX_CHUNK_BYTES) as u64,
        destination: Ok(Destination {
            path,
            ..Destination::default()
        }),
    })))?;
    let frame = encode_frame(FrameType::DATA, &[b'x'; MAX_CHUNK_BYTES]);
    for _ in 0..frames {
        send(&frame)?;
    }
    Ok(())
}

/// Names and sizes of what an upload has beside its target.
fn staged_files() -> Vec<(String, u64)> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let named = entries.map(|entry| {
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        (entry.file_name().to_string_lossy().into_owned(), size)
    });
    named.filter(|(name, _)| name != "target").collect()
}

fn wait_for_staged_file() -> Checked {
    let some = 1 << 20;
    wait_until("an upload is in the middle", LIMIT, || {
        staged_files().iter().any(|(_, size)| *size >= some)
    })
    .map(drop)
}

fn leaves_nothing(how: &str, target: &Path) -> Checked {
    let what = format!("no temporary file is left after {how}");
    wait_until(&what, END_LIMIT, || staged_files().is_empty())?;
    let content = fs::read(target).map_err(|error| error.to_string())?;
    same("the target", &content, &b"old".to_vec())
}

/// Says its number, then prints 64 MiB; another process of its group is silent.
const LARGE_OUTPUT: &str =
    "sleep 1000 & echo $$; head -c 67108864 /dev/zero; echo more; exec sleep 1000";

fn start_output(agent: &OwnAgent) -> Result<(Client, u32), String> {
    let mut client = agent.run(LARGE_OUTPUT)?;
    let group = client.first_pid()?;
    Ok((client, group))
}

pub(crate) fn output(agent: &OwnAgent) -> Checked {
    let (mut client, group) = start_output(agent)?;
    client.receive_at_least(4 << 20)?;
    drop(client);
    wait_for_groups_end(group, END_LIMIT)?;
    let (mut client, group) = start_output(agent)?;
    client.receive_at_least(4 << 20)?;
    Holder::of(client)?.die()?;
    wait_for_groups_end(group, END_LIMIT)?;
    agent.rests()
}

pub(crate) fn output_not_taken(agent: &OwnAgent) -> Checked {
    let (client, group) = start_output(agent)?;
    wait_until_stalled(group)?;
    Holder::of(client)?.die()?;
    wait_for_groups_end(group, END_LIMIT)?;
    agent.rests()
}

/// Waits until the group writes nothing more for a while: its output has filled all there is on the way.
fn wait_until_stalled(group: u32) -> Checked {
    let (mut written, mut since) = (0, Instant::now());
    wait_until("the command waits for its client", LIMIT, || {
        let now = group_members(group).map_or(0, |members| {
            members.into_iter().map(bytes_written).max().unwrap_or(0)
        });
        if now != written {
            (written, since) = (now, Instant::now());
        }
        written > 1 << 16 && since.elapsed() > STALL
    })
    .map(drop)
}
