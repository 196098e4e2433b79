//! A command on a terminal of the guest's, shown on ours.
//!
//! Owns the loop that hands on keys as they are typed, each read at once, and the terminal's size as it changes. The
//! command's own thread sends them, and prints what comes. Refuses to know exit codes.

use crate::escape::{Escapes, HELP};
use crate::interrupt::with_signals_kept_here;
use crate::terminal::{Raw, Terminal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{Signal, kill_current_process_group};
use signal_hook::consts::{SIGCONT, SIGWINCH};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{ChannelError, Ended};
use smolvm_host::standard_stream::show;
use smolvm_host::{Child, ChildStdin, Command, GuestError, Stdin};
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;

/// A raw terminal gives no more at once.
const KEYS_BYTES: usize = 4096;

/// How a session ended.
pub(crate) enum Parting {
    /// The command has.
    Ended(Ended),
    /// The user left it, or their terminal is gone, which ended it.
    Left,
}

/// Runs a command on a terminal until it ends, or until the user leaves it by what `escapes` finds.
///
/// # Errors
/// [`GuestError`]; the terminal is then as it was.
pub(crate) fn hold(
    command: Command<'static>,
    terminal: &Terminal,
    escapes: Option<Escapes>,
    cancel: &Cancel,
) -> Result<Parting, GuestError> {
    // First, so that no change is missed.
    let changes = changes().map_err(GuestError::Process)?;
    if terminal.is_anothers() {
        // As the kernel does with one who changes it all the same, but that would go on once we are told to end.
        let _ = kill_current_process_group(Signal::TTOU);
        if cancel.is_cancelled() {
            return Err(ChannelError::Cancelled.into());
        }
    }
    let raw = terminal.raw().map_err(GuestError::Process)?;
    let (rows, cols) = terminal.size();
    let mut command = command.terminal(rows, cols).stdin(Stdin::piped());
    if let Some(term) = std::env::var_os("TERM").filter(|term| !term.is_empty()) {
        command = command.term(term);
    }
    // Who is continued behind another job after a signal to end must know of that one first, or stops again for good.
    let mut child = with_signals_kept_here(|| command.spawn())?;
    let stdin = child.take_stdin().expect("it is piped, and taken once");
    let mut session = Session {
        terminal,
        raw,
        changes,
        child,
        escapes,
        kept: Vec::new(),
    };
    let outcome = session.hand_on(stdin, cancel);
    let Session { raw, child, .. } = session;
    drop(raw);
    if outcome.map_err(GuestError::Process)? {
        child.kill();
        begin_line();
        return Ok(Parting::Left);
    }
    child
        .wait_to_end()
        .map(Parting::Ended)
        .inspect_err(|_| begin_line())
}

/// Readable when the terminal's size has changed, or when this process goes on after a stop.
fn changes() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGWINCH, writer.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGCONT, writer)?;
    Ok(reader)
}

/// What we say next does not stand behind a prompt.
fn begin_line() {
    if io::stderr().is_terminal() {
        show(b"\r\n");
    }
}

struct Session<'terminal> {
    terminal: &'terminal Terminal,
    raw: Raw<'terminal>,
    changes: UnixStream,
    child: Child,
    escapes: Option<Escapes>,
    /// Keys that the guest has not taken yet. While there are some, no more are read.
    kept: Vec<u8>,
}

impl Session<'_> {
    /// Until the command ends, or somebody cancels: false; until the user leaves, or our terminal is gone: true.
    fn hand_on(&mut self, mut stdin: ChildStdin, cancel: &Cancel) -> io::Result<bool> {
        ioctl_fionbio(&stdin, true)?;
        loop {
            let (keys, room) = match self.kept.is_empty() {
                true => (PollFlags::IN, PollFlags::empty()),
                false => (PollFlags::empty(), PollFlags::OUT),
            };
            let mut fds = [
                PollFd::new(&self.changes, PollFlags::IN),
                PollFd::new(cancel, PollFlags::IN),
                // Its other end is closed once the command is over.
                PollFd::new(&stdin, room),
                PollFd::new(self.terminal, keys),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [changed, cancelled, room, keys] = fds.map(|fd| fd.revents());
            if !cancelled.is_empty() || room.contains(PollFlags::ERR) {
                return Ok(false);
            }
            if !changed.is_empty() {
                self.follow_changes();
            }
            // Whatever was asked for; mostly it is also told by a signal.
            if keys.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(true);
            }
            if !keys.is_empty() && !self.read_keys()? {
                return Ok(true);
            }
            if !self.write_kept(&mut stdin)? {
                return Ok(false);
            }
        }
    }

    fn follow_changes(&mut self) {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.changes, &mut bytes).is_ok_and(|count| count > 0) {}
        if self.terminal.is_anothers() {
            let _ = kill_current_process_group(Signal::TTOU);
        } else {
            // A terminal that is gone says so when it is read.
            let _ = self.raw.enter();
        }
        let (rows, cols) = self.terminal.size();
        let _ = self.child.resize(rows, cols);
    }

    /// False where there are no more: the user leaves, or the terminal is gone.
    fn read_keys(&mut self) -> io::Result<bool> {
        let mut bytes = [0; KEYS_BYTES];
        let typed = match rustix::io::read(self.terminal, &mut bytes) {
            Ok(0) | Err(Errno::IO) => return Ok(false),
            Ok(count) => &bytes[..count],
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let Some(escapes) = &mut self.escapes else {
            self.kept.extend_from_slice(typed);
            return Ok(true);
        };
        let wish = escapes.filter(typed, &mut self.kept);
        if wish.help {
            show(HELP.as_bytes());
        }
        Ok(!wish.leave)
    }

    /// False where the command is over.
    fn write_kept(&mut self, stdin: &mut ChildStdin) -> io::Result<bool> {
        if self.kept.is_empty() {
            return Ok(true);
        }
        match stdin.write(&self.kept) {
            Ok(count) => drop(self.kept.drain(..count)),
            Err(error) => match error.kind() {
                io::ErrorKind::BrokenPipe => return Ok(false),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
        Ok(true)
    }
}
