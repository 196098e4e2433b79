//! The programs of others that write a file system: found, run, and ended where the caller gives up.
//!
//! Owns that none of them outlives the call that started it, and how much of what one says is kept.

use super::ImageError;
use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

/// How much of its standard error is kept; its first lines tell what was wrong.
const MAX_TOLD_BYTES: usize = 64 * 1024;

/// What a program has come to.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The beginning of its standard error.
    pub(super) told: String,
}

/// Finds a program on the `PATH`, or where systems keep what root alone used to need.
///
/// # Errors
/// [`ImageError::ToolMissing`].
pub(crate) fn find(name: &'static str) -> Result<PathBuf, ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or(ImageError::ToolMissing { program: name })
}

/// Runs a program to its end, or to the caller's.
///
/// # Errors
/// [`ImageError::Tool`] where it cannot be run; [`ImageError::Cancelled`], and then it was killed.
pub(super) fn run(
    command: &mut Command,
    name: &'static str,
    cancel: &Cancel,
) -> Result<Ended, ImageError> {
    let mut run = || {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut running = Running { child };
        let told = match running.child.stderr.take() {
            Some(stderr) => listen(stderr, cancel)?,
            None => Vec::new(),
        };
        Ok(Ended {
            status: running.child.wait()?,
            told: String::from_utf8_lossy(&told).into_owned(),
        })
    };
    let ended = run();
    // A signal from a terminal reaches the program as well as us: its end is then no failure of its own.
    if cancel.is_cancelled() {
        return Err(ImageError::Cancelled);
    }
    ended.map_err(|error: io::Error| failed(name, &error.to_string()))
}

/// A failure of a program, with what it said.
pub(super) fn failed(program: &'static str, reason: &str) -> ImageError {
    ImageError::Tool {
        program,
        reason: reason.to_owned(),
    }
}

/// A program that is killed and reaped once nobody waits for it any more; one that has ended is left alone.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, which is the program's, or until the caller gives up.
fn listen(mut stderr: ChildStderr, cancel: &Cancel) -> io::Result<Vec<u8>> {
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(cancel, PollFlags::IN),
            PollFd::new(&stderr, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return Err(io::Error::other("cancelled")),
            Ok(_) | Err(Errno::INTR) if fds[1].revents().is_empty() => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let count = stderr.read(&mut buffer)?;
        if count == 0 {
            return Ok(told);
        }
        let room = MAX_TOLD_BYTES - told.len();
        told.extend(&buffer[..count.min(room)]);
    }
}
