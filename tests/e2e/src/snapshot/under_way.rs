//! A guest that is saved while a host's command and another's upload are under way: both are stale afterwards.

use super::saved_vm::SavedVm;
use super::{AgentState, END_LIMIT};
use crate::client::{Client, frame_of};
use crate::guest::{Checked, Guest, command, same};
use smolvm_host::channel::{ChannelError, Command, Outcome};
use smolvm_protocol::AGENT_PORT;
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::{Destination, PutFileRequest, Request};
use std::cell::RefCell;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Where the upload would go.
const TARGET: &str = "/tmp/uploaded";

/// Tells that a part of an upload is stored.
const STAGED: &str = "ls -A /tmp | grep -q '^[.]smolvm-put-'";

/// How long a call may go on once the QEMU that has the VM is gone.
const CALL_END_LIMIT: Duration = Duration::from_secs(5);

type RunOutcome = Result<Outcome, ChannelError>;

pub(super) fn end_on_both_sides(vm: &RefCell<SavedVm>) -> Checked {
    let mut vm = vm.borrow_mut();
    let guest = vm.guest();
    let before = AgentState::of(&guest)?;
    let (pid, run) = begin_endless_run(&guest)?;
    let mut upload = begin_upload(vm.cid().number())?;
    guest.wait_until(STAGED, guest.begin_limit()?)?;
    vm.save("under-way")?;
    vm.end()?;
    let ended = Instant::now();
    match run.recv_timeout(CALL_END_LIMIT) {
        Ok(Err(_)) => {}
        other => return Err(format!("the command's call gave {other:?}")),
    }
    println!(
        "measured: the command's call failed {} ms after its VM had ended",
        ended.elapsed().as_millis()
    );
    if upload.advance().is_ok_and(|goes_on| goes_on) {
        return Err("the upload's connection goes on".to_owned());
    }
    let cid = vm.cid();
    vm.restore("under-way", cid)?;
    let guest = vm.ready_guest()?;
    let limit = guest.at_its_pace(END_LIMIT, 8)?;
    guest.wait_for_death(&pid, limit)?;
    guest.wait_until(&format!("! {{ {STAGED}; }}"), limit)?;
    same(
        "the upload's target",
        &guest.text(&format!("ls {TARGET} 2>/dev/null || echo none"))?,
        &"none".to_owned(),
    )?;
    same("the agent", &AgentState::of(&guest)?, &before)
}

/// A command that would run for ever: its process id, and how its call ends.
fn begin_endless_run(guest: &Guest) -> Result<(String, mpsc::Receiver<RunOutcome>), String> {
    let (told, pid) = mpsc::channel();
    let (done, outcome) = mpsc::channel();
    let limit = guest.begin_limit()?;
    let channel = guest.channel()?;
    // Not joined: where the call hangs, the case fails and the program ends.
    std::thread::spawn(move || {
        let endless = Command {
            deadline: None,
            ..command("echo $$; exec sleep 100000", None)
        };
        let _ = done.send(channel.run(&endless, &mut Told(told), &mut io::sink()));
    });
    let pid = pid
        .recv_timeout(limit)
        .map_err(|_| "the command did not begin".to_owned())?;
    Ok((String::from_utf8_lossy(&pid).trim().to_owned(), outcome))
}

/// An upload of which the first part is sent.
fn begin_upload(cid: u32) -> Result<Client, String> {
    let request = Request::PutFile(PutFileRequest {
        size: 16 * MAX_CHUNK_BYTES as u64,
        destination: Ok(Destination {
            path: TARGET.into(),
            ..Destination::default()
        }),
    });
    let part = encode_frame(FrameType::DATA, &[7; MAX_CHUNK_BYTES]);
    let begin = || {
        let mut client = Client::connect(cid, AGENT_PORT)?;
        client.write(&frame_of(&request))?;
        client.write(&part)?;
        Ok(client)
    };
    begin().map_err(|error: io::Error| format!("the upload: {error}"))
}

/// Passes on what was written.
struct Told(mpsc::Sender<Vec<u8>>);

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
