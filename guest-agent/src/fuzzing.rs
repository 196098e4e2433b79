//! Entries for `fuzz/` into the parts of the agent that read what others wrote.
//!
//! Owns the way in alone: each function does what the agent does with the same bytes, without an agent around
//! it. Refuses to check anything: what must hold is said in `fuzz/`.

use crate::accounts;
use crate::connection::Connection;
use crate::host_frames::{Broken, HostFrame, HostFrames};
use crate::init;
use crate::input::Input;
use crate::operation;
use crate::sys::eventfd::EventFd;
use crate::sys::socket::Family;
use smolvm_protocol::request::{Control, Request};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Whom a command runs as.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub name: Vec<u8>,
    pub home: Vec<u8>,
    pub shell: Vec<u8>,
}

/// Who `user` is by the texts of `/etc/passwd` and `/etc/group`, or the sentence that refuses it.
///
/// # Errors
/// The sentence.
pub fn account(user: &[u8], passwd: &[u8], group: &[u8]) -> Result<Account, String> {
    match accounts::resolve(user, passwd, group) {
        Ok(account) => Ok(Account {
            uid: account.uid,
            gid: account.gid,
            groups: account.groups,
            name: account.name,
            home: account.home,
            shell: account.shell,
        }),
        Err(refusal) => Err(refusal.sentence().to_owned()),
    }
}

/// What a kernel's command line says of the root on a disk.
#[derive(Debug, PartialEq, Eq)]
pub struct RootWords {
    pub device: String,
    pub kinds: Option<String>,
    pub options: String,
    pub read_only: bool,
    pub init: Option<String>,
}

/// What it says of the network.
#[derive(Debug, PartialEq, Eq)]
pub struct NetworkWords {
    pub device: String,
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub gateway: Option<Ipv4Addr>,
}

/// What process 1 takes a kernel's command line for.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// None where it stays in the initramfs.
    pub root: Option<RootWords>,
    /// None where the device is left alone.
    pub network: Option<NetworkWords>,
    /// Whether a restart is the machine's way to end.
    pub is_ended_by_a_restart: bool,
}

/// Reads a kernel's command line.
#[must_use]
pub fn command_line(text: &str) -> CommandLine {
    init::command_line(text)
}

/// Carries out a `put_file`, `put_tree` or `get_tree` whose request has been read, up to its answer.
///
/// # Errors
/// Where the process has no descriptors left.
pub fn serve(request: Request, socket: UnixStream) -> io::Result<()> {
    let stop = EventFd::new()?;
    let mut connection = Connection::new(socket.into(), Family::Unix, &stop)?;
    // The peer sees how it went.
    let _ = operation::serve_alone(&mut connection, request);
    Ok(())
}

/// What came of a host behind its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Some input, never empty.
    Input(Vec<u8>),
    /// The end of the input.
    End,
    /// A control frame, or the sentence that refuses it.
    Control(Result<Control, String>),
    /// The sentence that ends the request.
    Refused(String),
}

/// What the agent makes of what a host sends behind its request, in pieces of 4096 bytes at most.
///
/// # Errors
/// Where the process has no descriptors left.
pub fn host_frames(has_input: bool, pieces: &[&[u8]]) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    each_step(has_input, pieces, &mut |step| {
        steps.extend(step);
        !matches!(steps.last(), Some(Step::Refused(_)))
    })?;
    Ok(steps)
}

/// Hands a host's input on to `target`, which does not block; `after_each` is called with all that was credited
/// so far when a piece is done with.
///
/// # Errors
/// Where the process has no descriptors left; within, the sentence that refuses the input.
pub fn carry_input(
    pieces: &[&[u8]],
    target: BorrowedFd<'_>,
    after_each: &mut dyn FnMut(usize),
) -> io::Result<Result<(), String>> {
    let mut input = Input::new();
    let mut credited = 0;
    let mut outcome = Ok(());
    each_step(true, pieces, &mut |step| {
        let done = match step {
            Some(Step::Input(bytes)) => input.arrived(Some(target), &bytes),
            Some(Step::End) => input.end(),
            Some(Step::Control(_)) => Ok(()),
            Some(Step::Refused(sentence)) => {
                outcome = Err(sentence);
                return false;
            }
            None => {
                input.note_ready();
                input.hand_on(Some(target));
                credited += input.take_credit().unwrap_or(0);
                after_each(credited);
                Ok(())
            }
        };
        outcome = done.map_err(|refusal| refusal.sentence().to_owned());
        outcome.is_ok()
    })?;
    Ok(outcome)
}

/// Calls `take` for each step, and with none behind each piece, as long as it says true.
fn each_step(
    has_input: bool,
    pieces: &[&[u8]],
    take: &mut dyn FnMut(Option<Step>) -> bool,
) -> io::Result<()> {
    let stop = EventFd::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut connection = Connection::new(ours.into(), Family::Unix, &stop)?;
    let mut frames = HostFrames::new(has_input);
    for piece in pieces {
        theirs.write_all(piece)?;
        // Told of anew, whatever was read before.
        let _ = connection.wait(Some(Instant::now()));
        while connection.is_readable() {
            // Its peer is there; a piece may take several calls.
            let _ = connection.receive_some();
            while let Some(step) = next_step(&mut frames, &mut connection) {
                if !take(Some(step)) {
                    return Ok(());
                }
            }
        }
        if !take(None) {
            return Ok(());
        }
    }
    Ok(())
}

fn next_step(frames: &mut HostFrames, connection: &mut Connection<'_>) -> Option<Step> {
    Some(match frames.next(connection) {
        Ok(None) => return None,
        Ok(Some(HostFrame::Input(range))) => Step::Input(connection.bytes(range).to_vec()),
        Ok(Some(HostFrame::End)) => Step::End,
        Ok(Some(HostFrame::Control(control))) => {
            Step::Control(control.map_err(|refusal| refusal.sentence().to_owned()))
        }
        Err(Broken::Refused(refusal)) => Step::Refused(refusal.sentence().to_owned()),
        Err(Broken::Connection(error)) => Step::Refused(error.to_string()),
    })
}
