//! A request's command: started as a login would start it, its process group, its end.
//!
//! Invariants: the leader stays unreaped until the request's last kill, so that no kill ever hits a
//! number given anew; and a [`Process`] that is dropped before it was reaped has its whole group
//! killed and its leader reaped, whatever ended the request. What made itself a session of its own
//! is out of the group and lives on. Refuses to read or write connections.

use crate::accounts::Account;
use crate::os_error;
use crate::sys::eventfd::EventFd;
use crate::sys::limit::DescriptorLimit;
use crate::sys::process::{self, Ending, Pid};
use crate::sys::spawn::{Ends, Streams};
use crate::sys::{file, session, signal, spawn};
use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::request::{RunRequest, Shell};
use smolvm_protocol::text::shown;
use std::ffi::{CString, NulError};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a killed leader is waited for: one in uninterruptible sleep must not hold the answer.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// How long the processes of a terminal that its host has left have after their `SIGHUP`.
const HANG_UP_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks at who is left of a session.
const SESSION_RETRY: Duration = Duration::from_millis(10);

/// Between two looks whether a killed leader can be reaped.
const REAP_RETRY: Duration = Duration::from_millis(5);

/// The shell where nothing else is asked for.
const DEFAULT_SHELL: &[u8] = b"/bin/sh";

/// Leaders that had not died within [`REAP_LIMIT`]; reaped when the next connection comes.
static UNREAPED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// What commands inherit from the agent, read once at its start.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The agent's environment without systemd's socket variables.
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    ignored_signals: Vec<libc::c_int>,
    oom_score_adjustment: Option<CString>,
    descriptor_limit: Option<DescriptorLimit>,
}

impl Inheritance {
    /// Takes the state of this process; `oom_score_adjustment` and `descriptor_limit` are what they were before they were
    /// changed.
    pub(crate) fn of_this_process(
        oom_score_adjustment: Option<CString>,
        descriptor_limit: Option<DescriptorLimit>,
    ) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.into_vec(), value.into_vec()))
            .filter(|(name, _)| !name.starts_with(b"LISTEN_"))
            .collect();
        Self {
            environment,
            ignored_signals: signal::ignored(),
            oom_score_adjustment,
            descriptor_limit,
        }
    }

    /// The agent's environment with the account's on top, and the request's on top of that.
    fn with<'a>(&'a self, request: &'a RunRequest, account: Option<&'a Account>) -> Variables<'a> {
        let mut variables = Variables(Vec::new());
        variables.set_all(&self.environment);
        if let Some(account) = account {
            variables.set(b"HOME", &account.home);
            variables.set(b"USER", &account.name);
            variables.set(b"LOGNAME", &account.name);
            variables.set(b"SHELL", &account.shell);
        }
        if let Some(terminal) = &request.terminal {
            variables.set(b"TERM", &terminal.term);
        }
        variables.set_all(&request.environment);
        variables
    }

    /// `$SHELL`, or `/bin/sh` where that is unset or empty.
    fn login_shell(&self) -> &[u8] {
        match self.environment.iter().rfind(|(name, _)| name == b"SHELL") {
            Some((_, shell)) if !shell.is_empty() => shell,
            _ => DEFAULT_SHELL,
        }
    }
}

/// A command's environment, sorted by name. A tree map would be over 10 KB of code; without one, the most
/// entries that a request can have take 0.1 s where they come in the worst order.
struct Variables<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Variables<'a> {
    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (*other).cmp(name))
    }

    fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(name).ok().map(|at| self.0[at].1)
    }

    fn set(&mut self, name: &'a [u8], value: &'a [u8]) {
        match self.find(name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    fn set_all(&mut self, variables: &'a [(Vec<u8>, Vec<u8>)]) {
        for (name, value) in variables {
            self.set(name, value);
        }
    }

    /// Each as `NAME=value`.
    fn in_c(&self) -> Result<Vec<CString>, NulError> {
        let mut strings = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            strings.push(CString::new([name, b"=".as_slice(), value].concat())?);
        }
        Ok(strings)
    }
}

fn in_c(words: &[&[u8]]) -> Result<Vec<CString>, NulError> {
    let mut in_c = Vec::with_capacity(words.len());
    for word in words {
        in_c.push(CString::new(*word)?);
    }
    Ok(in_c)
}

/// Where programs are looked for without a `PATH`, as Python's `os.defpath` says.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The paths under which a program is looked for: itself where it has a slash, else within each folder
/// of the `PATH` that the command gets.
fn candidates(program: &[u8], path: Option<&[u8]>) -> Result<Vec<CString>, NulError> {
    if program.contains(&b'/') {
        return Ok(vec![CString::new(program)?]);
    }
    let mut candidates = Vec::new();
    for folder in path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':') {
        // An empty folder is the working directory.
        let slash: &[u8] = match folder {
            [] | [.., b'/'] => b"",
            _ => b"/",
        };
        candidates.push(CString::new([folder, slash, program].concat())?);
    }
    Ok(candidates)
}

/// Why a command did not start; shown, it is the sentence that follows `spawn failed: `.
#[derive(Debug)]
pub(crate) struct StartError(Box<StartFailure>);

#[derive(Debug)]
struct StartFailure {
    reason: String,
    errno: Option<i32>,
    /// The file that it was about.
    path: Option<Vec<u8>>,
}

impl StartError {
    fn new(error: &io::Error, path: Option<&[u8]>) -> Self {
        Self(Box::new(StartFailure {
            reason: os_error::sentence(error),
            errno: error.raw_os_error(),
            path: path.map(<[u8]>::to_vec),
        }))
    }

    /// The reason alone, without the file that it was about.
    pub(crate) fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The error's number.
    pub(crate) fn errno(&self) -> Option<i32> {
        self.0.errno
    }
}

impl StartError {
    /// One that is no error of the operating system's.
    fn of_ours(reason: impl Into<String>) -> Self {
        Self(Box::new(StartFailure {
            reason: reason.into(),
            errno: None,
            path: None,
        }))
    }
}

impl From<NulError> for StartError {
    fn from(_: NulError) -> Self {
        Self::of_ours("the command has a NUL byte")
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason())?;
        match &self.0.path {
            Some(path) => write!(formatter, ": {}", quoted(&shown(path))),
            None => Ok(()),
        }
    }
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Process {
    leader: Pid,
    reaped: bool,
    /// Whether it has a terminal: then its whole session ends with the request.
    has_terminal: bool,
    /// Given up for what going through the session takes, when there may be none left.
    spare: Vec<EventFd>,
    /// Readable once the leader has exited.
    pub(crate) exit: OwnedFd,
}

impl Process {
    /// Starts a request's command, as the account where there is one.
    pub(crate) fn start(
        request: &RunRequest,
        inherited: &Inheritance,
        account: Option<&Account>,
    ) -> Result<(Self, Ends), StartError> {
        let (shell, flag) = match request.shell {
            Shell::Login => match account {
                Some(account) => (account.shell.as_slice(), b"-lc".as_slice()),
                None => (inherited.login_shell(), b"-lc".as_slice()),
            },
            Shell::Raw => (DEFAULT_SHELL, b"-c".as_slice()),
        };
        let mut words: Vec<&[u8]> = Vec::with_capacity(request.argv.len().max(3));
        if request.argv.is_empty() {
            words.extend_from_slice(&[shell, flag, &request.command]);
        }
        for argument in &request.argv {
            words.push(argument);
        }
        let executed = words[0];
        let variables = inherited.with(request, account);
        let program = spawn::Program {
            candidates: &candidates(executed, variables.get(b"PATH"))?,
            arguments: &in_c(&words)?,
            environment: &variables.in_c()?,
            identity: account.map(|account| spawn::Identity {
                uid: account.uid,
                gid: account.gid,
                groups: &account.groups,
            }),
            directory: &in_c(&[&request.directory])?[0],
            ignored_signals: &inherited.ignored_signals,
            oom_score_adjustment: inherited.oom_score_adjustment.as_deref(),
            descriptor_limit: inherited.descriptor_limit,
        };
        let streams = match &request.terminal {
            Some(terminal) => Streams::Terminal(terminal.size),
            None if request.stdin => Streams::Pipes,
            None => Streams::Outputs,
        };
        let mut spare = Vec::new();
        while request.terminal.is_some() && spare.len() < session::DESCRIPTORS {
            spare.push(EventFd::new().map_err(|error| StartError::new(&error, None))?);
        }
        let spawned = spawn::spawn_with(&program, streams).map_err(|error| match error {
            spawn::SpawnError::Null(error) => StartError::new(&error, Some(b"/dev/null")),
            spawn::SpawnError::Terminal(error) => StartError::new(&error, Some(b"/dev/ptmx")),
            spawn::SpawnError::Identity(error) => StartError::new(&error, Some(&request.user)),
            spawn::SpawnError::Directory(error) => {
                StartError::new(&error, Some(&request.directory))
            }
            spawn::SpawnError::Execute(error) => StartError::new(&error, Some(executed)),
            spawn::SpawnError::System(error) => StartError::new(&error, None),
            spawn::SpawnError::Late(pid, limit) => {
                reap_killed(pid, Instant::now() + REAP_LIMIT);
                let seconds = limit.as_secs();
                StartError::of_ours(format!("the command did not start within {seconds} s"))
            }
        })?;
        let has_terminal = spawned.ends.terminal.is_some();
        match process::open_pidfd(spawned.pid) {
            Ok(exit) => {
                let process = Self {
                    leader: spawned.pid,
                    reaped: false,
                    has_terminal,
                    spare,
                    exit,
                };
                Ok((process, spawned.ends))
            }
            Err(error) => {
                kill_all(spawned.pid, has_terminal, &mut spare);
                reap_killed(spawned.pid, Instant::now() + REAP_LIMIT);
                Err(StartError::new(&error, None))
            }
        }
    }

    /// Sends `SIGKILL` to the whole group, and with a terminal to the whole session.
    pub(crate) fn kill_all(&mut self) {
        kill_all(self.leader, self.has_terminal, &mut self.spare);
    }

    /// Sends a signal to the group.
    pub(crate) fn signal(&self, signal: u8) -> io::Result<()> {
        process::signal_group(self.leader, signal)
    }

    /// Sends a signal to the group `group` of its session.
    pub(crate) fn signal_job(&self, group: libc::pid_t, signal: u8) -> io::Result<()> {
        session::signal_group(self.leader, group, signal)
    }

    /// Whether another process of its session is alive.
    pub(crate) fn has_company(&self) -> bool {
        session::has_others(self.leader)
    }

    /// After the end of its terminal, by which its session gets `SIGHUP`: waits until all of it has ended,
    /// at most [`HANG_UP_LIMIT`].
    pub(crate) fn wait_for_hang_up(&self) {
        let deadline = Instant::now() + HANG_UP_LIMIT;
        file::comes_within(&self.exit, HANG_UP_LIMIT);
        while Instant::now() < deadline && self.has_company() {
            std::thread::sleep(SESSION_RETRY);
        }
    }

    /// Reaps the leader, whose exit has been seen.
    pub(crate) fn reap(&mut self) -> io::Result<Option<Ending>> {
        let ending = process::reap(self.leader)?;
        self.reaped = ending.is_some();
        Ok(ending)
    }

    /// Kills the group and reaps the leader, waiting for it at most [`REAP_LIMIT`]; `None` where it has not died by then.
    pub(crate) fn kill_and_reap(&mut self) -> Option<Ending> {
        if self.reaped {
            return None;
        }
        self.kill_all();
        let deadline = Instant::now() + REAP_LIMIT;
        // Where that fails, it is only seen later.
        file::comes_within(&self.exit, REAP_LIMIT);
        self.reaped = true;
        reap_killed(self.leader, deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

fn kill_all(leader: Pid, has_terminal: bool, spare: &mut Vec<EventFd>) {
    process::kill_group(leader);
    if has_terminal {
        spare.clear();
        session::kill_others(leader);
    }
}

/// Reaps a leader that has been killed, waiting for it until `deadline`; one that has not died by then is reaped later.
fn reap_killed(leader: Pid, deadline: Instant) -> Option<Ending> {
    loop {
        match process::reap(leader) {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(REAP_RETRY),
            Ok(None) => break,
            reaped => return reaped.ok().flatten(),
        }
    }
    UNREAPED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(leader);
    None
}

/// Reaps the leaders that took longer than [`REAP_LIMIT`] to die, and have died since.
pub(crate) fn reap_late_ones() {
    UNREAPED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|leader| matches!(process::reap(*leader), Ok(None)));
}
