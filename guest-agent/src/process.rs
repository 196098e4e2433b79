//! A request's command: started as a login would start it, its process group, its end.
//!
//! Invariants: the leader stays unreaped until the request's last kill, so that no kill ever hits a
//! number given anew; and a [`Process`] that is dropped before it was reaped has its whole group
//! killed and its leader reaped, whatever ended the request. What made itself a session of its own
//! is out of the group and lives on. Refuses to read or write connections.

use crate::os_error;
use crate::sys::epoll::{self, Epoll};
use crate::sys::process::{self, Pid};
use crate::sys::{signal, spawn};
use smolvm_protocol::request::{RunRequest, Shell};
use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a killed leader is waited for: one in uninterruptible sleep must not hold the answer.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// The shell where nothing else is asked for.
const DEFAULT_SHELL: &[u8] = b"/bin/sh";

/// Leaders that had not died within [`REAP_LIMIT`]; reaped when the next command starts.
static UNREAPED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// What commands inherit from the agent, read once at its start.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The agent's environment without systemd's socket variables.
    environment: BTreeMap<Vec<u8>, Vec<u8>>,
    ignored_signals: Vec<libc::c_int>,
    oom_score_adjustment: Option<CString>,
}

impl Inheritance {
    /// Takes the state of this process; `oom_score_adjustment` is what it was before it was lowered.
    pub(crate) fn of_this_process(oom_score_adjustment: Option<CString>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .filter(|(name, _)| !name.starts_with(b"LISTEN_"))
            .collect();
        Self {
            environment,
            ignored_signals: signal::ignored(),
            oom_score_adjustment,
        }
    }

    /// `$SHELL`, or `/bin/sh` where that is unset or empty.
    fn login_shell(&self) -> &[u8] {
        match self.environment.get(b"SHELL".as_slice()) {
            Some(shell) if !shell.is_empty() => shell,
            _ => DEFAULT_SHELL,
        }
    }

    /// The paths under which a program is looked for: itself where it has a slash, else within each
    /// folder of `PATH`.
    fn candidates(&self, program: &[u8]) -> Result<Vec<CString>, NulError> {
        if program.contains(&b'/') {
            return Ok(vec![CString::new(program)?]);
        }
        let path = self
            .environment
            .get(b"PATH".as_slice())
            .cloned()
            .unwrap_or_default();
        std::env::split_paths(&OsString::from_vec(path))
            .map(|folder| {
                CString::new(
                    folder
                        .join(OsString::from_vec(program.to_vec()))
                        .as_os_str()
                        .as_bytes(),
                )
            })
            .collect()
    }
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Process {
    leader: Pid,
    reaped: bool,
    /// Readable once the leader has exited.
    pub(crate) exit: OwnedFd,
    /// Reading ends of the pipes, non-blocking; taken by who reads them.
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl Process {
    /// Starts a request's command.
    ///
    /// # Errors
    /// The sentence that follows `spawn failed: `.
    pub(crate) fn start(request: &RunRequest, inherited: &Inheritance) -> Result<Self, String> {
        reap_late_ones();
        let (shell, flag) = match request.shell {
            Shell::Login => (inherited.login_shell(), c"-lc"),
            Shell::Raw => (DEFAULT_SHELL, c"-c"),
        };
        let has_nul = |_: NulError| "the command has a NUL byte".to_owned();
        let candidates = inherited.candidates(shell).map_err(has_nul)?;
        let arguments = [
            CString::new(shell).map_err(has_nul)?,
            flag.to_owned(),
            CString::new(request.command.as_slice()).map_err(has_nul)?,
        ];
        let environment = environment(request, inherited).map_err(has_nul)?;
        let program = spawn::Program {
            candidates: &candidates,
            arguments: &arguments,
            environment: &environment,
            ignored_signals: &inherited.ignored_signals,
            oom_score_adjustment: inherited.oom_score_adjustment.as_deref(),
        };
        let spawned = spawn::spawn(&program).map_err(|error| match error {
            spawn::SpawnError::Null(error) => os_error::sentence_about(&error, b"/dev/null"),
            spawn::SpawnError::Execute(error) => os_error::sentence_about(&error, shell),
            spawn::SpawnError::System(error) => os_error::sentence(&error),
        })?;
        match process::open_pidfd(spawned.pid) {
            Ok(exit) => Ok(Self {
                leader: spawned.pid,
                reaped: false,
                exit,
                stdout: Some(spawned.stdout),
                stderr: Some(spawned.stderr),
            }),
            Err(error) => {
                process::kill_group(spawned.pid);
                defer_reaping(spawned.pid);
                Err(os_error::sentence(&error))
            }
        }
    }

    /// Sends `SIGKILL` to the whole group.
    pub(crate) fn kill_group(&self) {
        process::kill_group(self.leader);
    }

    /// Reaps the leader, whose exit has been seen: its exit status, or minus the signal's number.
    pub(crate) fn reap(&mut self) -> io::Result<Option<i32>> {
        let status = process::reap(self.leader)?;
        self.reaped = status.is_some();
        Ok(status)
    }

    /// Kills the group and reaps the leader, waiting for it at most [`REAP_LIMIT`].
    pub(crate) fn kill_and_reap(&mut self) {
        if self.reaped {
            return;
        }
        self.kill_group();
        wait_for_exit(&self.exit, Instant::now() + REAP_LIMIT);
        if !matches!(self.reap(), Ok(Some(_))) {
            defer_reaping(self.leader);
        }
        self.reaped = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

/// The agent's environment with the request's on top, as `NAME=value`.
fn environment(request: &RunRequest, inherited: &Inheritance) -> Result<Vec<CString>, NulError> {
    let mut merged: BTreeMap<&[u8], &[u8]> = inherited
        .environment
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .collect();
    for (name, value) in &request.environment {
        merged.insert(name, value);
    }
    merged
        .into_iter()
        .map(|(name, value)| CString::new([name, b"=", value].concat()))
        .collect()
}

fn wait_for_exit(exit: &OwnedFd, deadline: Instant) {
    let Ok(epoll) = Epoll::new() else { return };
    if epoll.add(exit, 0, epoll::IN).is_err() {
        return;
    }
    while let Ok(mut ready) = epoll.wait(Some(deadline)) {
        if ready.next().is_some() || Instant::now() >= deadline {
            return;
        }
    }
}

fn defer_reaping(leader: Pid) {
    UNREAPED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(leader);
}

fn reap_late_ones() {
    UNREAPED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|leader| matches!(process::reap(*leader), Ok(None)));
}
