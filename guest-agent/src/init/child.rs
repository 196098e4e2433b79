//! How a child of process 1 is started: a login's environment, the console, a clean state of signals.

use crate::sys::process::Pid;
use crate::sys::signal;
use crate::sys::spawn::{self, Handed, Program, SpawnError};
use std::ffi::{CString, NulError};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

/// Also what the agent's commands have, unless a request says otherwise.
const ENVIRONMENT: [&str; 5] = [
    "HOME=/root",
    "LOGNAME=root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL=/bin/sh",
    "USER=root",
];

/// What a child gets of process 1's besides the console.
#[derive(Default)]
pub(super) struct Gifts<'a> {
    /// Descriptors that it keeps, under the same numbers.
    pub(super) kept: &'a [BorrowedFd<'a>],
    /// `cgroup.procs` of the control group that it joins.
    pub(super) cgroup: Option<&'a File>,
}

/// Starts the first of `candidates` that can be executed.
pub(super) fn start(candidates: &[&str], arguments: &[&str], gifts: &Gifts<'_>) -> io::Result<Pid> {
    let program = Program {
        candidates: &in_c(candidates)?,
        arguments: &in_c(arguments)?,
        environment: &in_c(&ENVIRONMENT)?,
        ignored_signals: &signal::ignored(),
        oom_score_adjustment: None,
        descriptor_limit: None,
        identity: None,
        directory: c"",
    };
    let null = File::open("/dev/null")?;
    let stderr = io::stderr();
    let console = stderr.as_fd();
    let handed = Handed {
        streams: [null.as_fd(), console, console],
        kept: gifts.kept,
        cgroup: gifts.cgroup.map(|procs| procs.as_fd()),
        is_terminal: false,
    };
    spawn::spawn(&program, &handed).map_err(|error| match error {
        SpawnError::Null(error)
        | SpawnError::Terminal(error)
        | SpawnError::Identity(error)
        | SpawnError::Directory(error)
        | SpawnError::Execute(error)
        | SpawnError::System(error) => error,
        SpawnError::Late(..) => io::ErrorKind::TimedOut.into(),
    })
}

fn in_c(strings: &[&str]) -> Result<Vec<CString>, NulError> {
    let mut in_c = Vec::with_capacity(strings.len());
    for string in strings {
        in_c.push(CString::new(*string)?);
    }
    Ok(in_c)
}
