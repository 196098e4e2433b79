//! One run of the system's `ssh`.
//!
//! Owns the process, its three pipes, none of which blocks, and the file that ssh's own words go to. The process
//! never outlives this: when it is dropped, its standard input ends, which ends what a script has started in the
//! guest, and soon after that it is killed.

use super::{SshChannel, SshError};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::transport::pause;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::NamedTempFile;

/// How long ssh may take to connect, where the call's deadline is not earlier.
const TCP_LIMIT: Duration = Duration::from_secs(10);
/// How long the guest may take to hear that we hang up.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long ssh may take to end once it has closed its output.
const END_LIMIT: Duration = Duration::from_secs(5);
const END_INTERVAL: Duration = Duration::from_millis(2);
/// So much of what ssh itself has said is read, from its end.
const MAX_LOG_BYTES: u64 = 4096;
/// So much is read at once.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// What ssh has for us.
pub(super) enum Event<'process> {
    Stdout(&'process [u8]),
    Stderr(&'process [u8]),
    /// It takes more of its standard input, or takes none any more.
    Writable,
    /// It has closed its output.
    End,
}

/// One run of ssh.
pub(super) struct SshProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    log: NamedTempFile,
    cancel: Cancel,
    buffer: Vec<u8>,
    /// Whether our script runs in the guest, and would see its standard input end.
    has_begun: bool,
    is_stdouts_turn: bool,
}

impl SshProcess {
    pub(super) fn start(
        channel: &SshChannel,
        command_line: &OsStr,
        deadline: Deadline,
    ) -> Result<Self, SshError> {
        let log = NamedTempFile::new().map_err(|source| SshError::Write {
            what: "a temporary file for ssh's words".to_owned(),
            source,
        })?;
        let limit = deadline.remaining().unwrap_or(TCP_LIMIT).min(TCP_LIMIT);
        let arguments = channel
            .destination
            .arguments(limit, log.path().as_os_str(), command_line);
        let mut child = Command::new("ssh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for us, who hang up.
            .process_group(0)
            .spawn()
            .map_err(SshError::Program)?;
        let process = Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            log,
            cancel: channel.cancel.clone(),
            buffer: vec![0; BUFFER_BYTES],
            has_begun: false,
            is_stdouts_turn: false,
        };
        process.unblock().map_err(SshError::Program)?;
        Ok(process)
    }

    fn unblock(&self) -> io::Result<()> {
        let pipes = [
            self.stdin.as_ref().map(AsFd::as_fd),
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            ioctl_fionbio(pipe, true)?;
        }
        Ok(())
    }

    /// Our script runs in the guest. Until then, standard output is not read: nothing of it is lost, and nothing
    /// has to be kept.
    pub(super) fn set_begun(&mut self) {
        self.has_begun = true;
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`SshError::TimedOut`] and [`SshError::Cancelled`].
    pub(super) fn next(
        &mut self,
        wants_to_write: bool,
        deadline: Deadline,
    ) -> Result<Event<'_>, SshError> {
        loop {
            if self.stderr.is_none() && (self.stdout.is_none() || !self.has_begun) {
                return Ok(Event::End);
            }
            let [writable, stdout, stderr] = self.wait(wants_to_write, deadline)?;
            // In turn, so that neither stream can keep the other from being heard.
            self.is_stdouts_turn = !self.is_stdouts_turn;
            if stdout && (self.is_stdouts_turn || !stderr) {
                if let Some(count) = read_or_close(&mut self.stdout, &mut self.buffer) {
                    return Ok(Event::Stdout(&self.buffer[..count]));
                }
            } else if stderr {
                if let Some(count) = read_or_close(&mut self.stderr, &mut self.buffer) {
                    return Ok(Event::Stderr(&self.buffer[..count]));
                }
            }
            if writable {
                return Ok(Event::Writable);
            }
        }
    }

    /// Whether standard input, standard output and standard error are ready.
    fn wait(&self, wants_to_write: bool, deadline: Deadline) -> Result<[bool; 3], SshError> {
        loop {
            // Asked first: output that never stops must not outrun the deadline.
            let has_passed = deadline.has_passed();
            let mut fds = vec![PollFd::new(&self.cancel, PollFlags::IN)];
            let mut indices = [None; 3];
            let stdin = self.stdin.as_ref().filter(|_| wants_to_write);
            let stdout = self.stdout.as_ref().filter(|_| self.has_begun);
            for (index, pipe) in [
                stdin.map(|pipe| (pipe.as_fd(), PollFlags::OUT)),
                stdout.map(|pipe| (pipe.as_fd(), PollFlags::IN)),
                self.stderr
                    .as_ref()
                    .map(|pipe| (pipe.as_fd(), PollFlags::IN)),
            ]
            .into_iter()
            .enumerate()
            {
                if let Some((pipe, interest)) = pipe {
                    indices[index] = Some(fds.len());
                    fds.push(PollFd::from_borrowed_fd(pipe, interest));
                }
            }
            match poll(&mut fds, deadline.timespec().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(SshError::Program(errno.into())),
            }
            if !fds[0].revents().is_empty() {
                return Err(SshError::Cancelled);
            }
            if has_passed {
                return Err(SshError::TimedOut);
            }
            let ready = indices.map(|index| index.is_some_and(|at| !fds[at].revents().is_empty()));
            if ready.contains(&true) {
                return Ok(ready);
            }
        }
    }

    /// Writes what fits now of `bytes`; all of it where nobody takes any more, which the end will explain.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(stdin) = &mut self.stdin else {
            return bytes.len();
        };
        match stdin.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => {
                self.stdin = None;
                bytes.len()
            }
        }
    }

    /// Ends its standard input.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end after [`Event::End`]; whether it was a success.
    pub(super) fn finish(&mut self) -> Result<bool, SshError> {
        self.stdin = None;
        let deadline = Deadline::after(END_LIMIT);
        loop {
            match self.child.try_wait().map_err(SshError::Program)? {
                Some(status) => return Ok(status.success()),
                None if deadline.has_passed() => return Ok(false),
                None => pause(END_INTERVAL, &self.cancel).map_err(|_| SshError::Cancelled)?,
            }
        }
    }

    /// The last thing that ssh itself said; empty where it said nothing.
    pub(super) fn own_words(&self) -> String {
        let log = end_of(self.log.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let is_telling = |line: &&str| !line.is_empty() && !line.starts_with("Warning: ");
        log.lines()
            .map(str::trim)
            .rfind(is_telling)
            .unwrap_or_default()
            .to_owned()
    }

    /// Discards what still comes, until ssh has heard from the guest that all is over there.
    fn hang_up(&mut self) {
        self.stdin = None;
        if !self.has_begun {
            return;
        }
        let deadline = Deadline::after(FAREWELL);
        while !deadline.has_passed() {
            let mut fds: Vec<_> = [
                self.stdout.as_ref().map(AsFd::as_fd),
                self.stderr.as_ref().map(AsFd::as_fd),
            ]
            .into_iter()
            .flatten()
            .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN))
            .collect();
            if fds.is_empty() {
                return;
            }
            let _ = poll(&mut fds, deadline.timespec().as_ref());
            read_or_close(&mut self.stdout, &mut self.buffer);
            read_or_close(&mut self.stderr, &mut self.buffer);
        }
    }
}

/// What a file ends with.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(MAX_LOG_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(MAX_LOG_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

/// How much was read; `None` where nothing is there, or nothing will be any more: the pipe is closed then.
fn read_or_close<P: Read>(pipe: &mut Option<P>, buffer: &mut [u8]) -> Option<usize> {
    let count = match pipe.as_mut()?.read(buffer) {
        Ok(count) => count,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return None,
            _ => 0,
        },
    };
    if count == 0 {
        *pipe = None;
        return None;
    }
    Some(count)
}

impl Drop for SshProcess {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.hang_up();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
