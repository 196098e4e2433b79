//! Starting a program as a login would.
//!
//! Owns what a child is made of, its `clone`, and the wait for its `execve`; what it does in between is
//! in `child.rs`. The child shares our memory and the calling thread waits for it (`CLONE_VM |
//! CLONE_VFORK`, as `posix_spawn` does), so that no page table is copied. A child that becomes another
//! user gets a copy of our memory instead: what that user has may stop it before it executes, and the
//! thread would wait for ever.
//!
//! The error comes back by a pipe, not by the shared memory: emulators of user programs turn the
//! `vfork` into a `fork`.
#![expect(
    unsafe_code,
    reason = "std::process has no setsid, and copies page tables to get it"
)]

mod child;

use super::limit::DescriptorLimit;
use super::process::Pid;
use super::{checked, file, socket, terminal};
use child::{BECOMING, Child, ENTERING, FAILURE_BYTES, clean_signals, in_child};
use smolvm_protocol::request::TerminalSize;
use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

/// Stack for the child: its deepest frame is one `execve`.
const CHILD_STACK_BYTES: usize = 16 * 1024;

/// How long a child that becomes another user may take to execute its program, where it is stopped by then.
const STOPPED_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take in all where nobody stops it: a disk under load delays an `execve` by seconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks whether it is stopped.
const STOPPED_RETRY: Duration = Duration::from_millis(100);

/// Whom a child becomes.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) uid: libc::uid_t,
    pub(crate) gid: libc::gid_t,
    /// All of its supplementary groups.
    pub(crate) groups: &'a [libc::gid_t],
}

/// What to execute, all of it made before the child is.
pub(crate) struct Program<'a> {
    /// Paths to try in order.
    pub(crate) candidates: &'a [CString],
    pub(crate) arguments: &'a [CString],
    /// `NAME=value`.
    pub(crate) environment: &'a [CString],
    /// Signals to put back to their defaults; `execve` does so for all but the ignored.
    pub(crate) ignored_signals: &'a [libc::c_int],
    /// What to write to `/proc/self/oom_score_adj`.
    pub(crate) oom_score_adjustment: Option<&'a CStr>,
    /// How many descriptors it may have open; where there is none, as many as we may.
    pub(crate) descriptor_limit: Option<DescriptorLimit>,
    /// Whom the child becomes; otherwise it stays who we are.
    pub(crate) identity: Option<Identity<'a>>,
    /// The working directory; where it is empty, ours.
    pub(crate) directory: &'a CStr,
}

/// What a child has of ours.
pub(crate) struct Handed<'a> {
    /// Standard input, output and error: each above 2, or standard error itself.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    /// Descriptors that it keeps, under the same numbers.
    pub(crate) kept: &'a [BorrowedFd<'a>],
    /// `cgroup.procs` of the control group that it joins.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Whether its streams are a terminal, which becomes its session's.
    pub(crate) is_terminal: bool,
}

/// What a child's standard streams are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Streams {
    /// `/dev/null` to read, and two pipes to write to.
    Outputs,
    /// Three pipes.
    Pipes,
    /// A terminal of that size, for all three.
    Terminal(TerminalSize),
}

/// Our ends of a child's standard streams, non-blocking.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The writing end of its standard input; none where that is `/dev/null` or a terminal.
    pub(crate) stdin: Option<OwnedFd>,
    /// The reading end of its standard output, or the terminal's master.
    pub(crate) stdout: OwnedFd,
    /// The reading end of its standard error; none where there is a terminal.
    pub(crate) stderr: Option<OwnedFd>,
    /// The child's side of its terminal, which no read of the master fails while it is open.
    pub(crate) terminal: Option<OwnedFd>,
}

/// A child that has executed its program; nobody has reaped it.
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) ends: Ends,
}

/// Why a program did not start.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// `/dev/null` cannot be opened.
    Null(io::Error),
    /// No terminal can be opened.
    Terminal(io::Error),
    /// The child may not become who it should be.
    Identity(io::Error),
    /// The working directory cannot be entered.
    Directory(io::Error),
    /// No candidate can be executed.
    Execute(io::Error),
    /// There is no pipe or no process to be had.
    System(io::Error),
    /// The child has not executed anything within this time, [`STOPPED_LIMIT`] or [`START_LIMIT`]: killed, and not reaped.
    Late(Pid, Duration),
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Starts `program` with standard streams of its own.
///
/// # Errors
/// [`SpawnError`]; nothing is left behind.
pub(crate) fn spawn_with(program: &Program<'_>, streams: Streams) -> Result<Spawned, SpawnError> {
    if let Streams::Terminal(size) = streams {
        let (master, slave) = terminal::open(size).map_err(SpawnError::Terminal)?;
        let handed = Handed {
            streams: [slave.as_fd(); 3],
            kept: &[],
            cgroup: None,
            is_terminal: true,
        };
        let pid = spawn(program, &handed)?;
        return Ok(Spawned {
            pid,
            ends: Ends {
                stdin: None,
                stdout: master,
                stderr: None,
                terminal: Some(slave),
            },
        });
    }
    let (child_stdin, stdin) = match streams {
        Streams::Pipes => {
            let (reader, writer) = pipe()?;
            socket::set_nonblocking(&writer)?;
            file::enlarge_pipe(writer.as_fd());
            give(program, &reader)?;
            (reader, Some(writer))
        }
        _ => {
            let null = File::open("/dev/null").map_err(SpawnError::Null)?;
            (OwnedFd::from(null), None)
        }
    };
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    for (ours, childs) in [(&stdout, &child_stdout), (&stderr, &child_stderr)] {
        socket::set_nonblocking(ours)?;
        give(program, childs)?;
    }
    let handed = Handed {
        streams: [
            child_stdin.as_fd(),
            child_stdout.as_fd(),
            child_stderr.as_fd(),
        ],
        kept: &[],
        cgroup: None,
        is_terminal: false,
    };
    let pid = spawn(program, &handed)?;
    Ok(Spawned {
        pid,
        ends: Ends {
            stdin,
            stdout,
            stderr: Some(stderr),
            terminal: None,
        },
    })
}

/// Gives a pipe to who the child becomes: else `/dev/stdout` could not be opened, whose mode is 0600.
fn give(program: &Program<'_>, stream: &OwnedFd) -> Result<(), SpawnError> {
    let Some(Identity { uid, .. }) = program.identity else {
        return Ok(());
    };
    checked(change_owner(stream.as_raw_fd(), uid) as libc::c_int).map_err(SpawnError::Identity)?;
    Ok(())
}

/// By the raw call: the C library's has a way around for descriptors that ours are not. The group stays.
fn change_owner(fd: RawFd, uid: libc::uid_t) -> libc::c_long {
    let same_group = libc::gid_t::MAX;
    // SAFETY: takes no pointer.
    unsafe { libc::syscall(libc::SYS_fchown, fd, uid, same_group) }
}

/// Starts `program` in a session of its own, no signal blocked or ignored. It dies with the thread
/// that called this.
///
/// # Errors
/// [`SpawnError`]; nothing is left behind.
pub(crate) fn spawn(program: &Program<'_>, handed: &Handed<'_>) -> Result<Pid, SpawnError> {
    let (error_reader, error_writer) = pipe()?;
    let child = Child {
        candidates: program
            .candidates
            .iter()
            .map(|path| path.as_ptr())
            .collect(),
        arguments: null_terminated(program.arguments),
        environment: null_terminated(program.environment),
        ignored_signals: program.ignored_signals,
        oom_score_adjustment: program
            .oom_score_adjustment
            .map(CStr::to_bytes)
            .unwrap_or_default(),
        descriptor_limit: program.descriptor_limit,
        identity: program.identity,
        directory: program.directory.as_ptr(),
        streams: handed.streams.map(|stream| stream.as_raw_fd()),
        kept: handed.kept.iter().map(|fd| fd.as_raw_fd()).collect(),
        cgroup: handed.cgroup.map(|procs| procs.as_raw_fd()),
        is_terminal: handed.is_terminal,
        error_pipe: error_writer.as_raw_fd(),
        // SAFETY: takes no pointer.
        parent: unsafe { libc::getpid() },
    };
    let pid = clone(&child)?;
    drop(error_writer);
    let missed = match program.identity {
        Some(_) => missed_limit(pid, &error_reader),
        None => None,
    };
    if let Some(limit) = missed {
        super::process::kill_number(pid.0);
        return Err(SpawnError::Late(pid, limit));
    }
    let mut failure = Vec::with_capacity(FAILURE_BYTES);
    let read = loop {
        match file::read_to_spare(&error_reader, &mut failure) {
            Ok(1..) if failure.len() < FAILURE_BYTES => {}
            ended => break ended,
        }
    };
    if let Ok([step, errno @ ..]) = <[u8; FAILURE_BYTES]>::try_from(failure) {
        reap_failed(pid);
        let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        return Err(match step {
            BECOMING => SpawnError::Identity(error),
            ENTERING => SpawnError::Directory(error),
            _ => SpawnError::Execute(error),
        });
    }
    if let Err(error) = read {
        reap_failed(pid);
        return Err(SpawnError::System(error));
    }
    Ok(pid)
}

/// Waits until a child that becomes another user has executed its program or failed, which its error pipe tells; otherwise
/// returns the limit that it has missed.
fn missed_limit(pid: Pid, error_reader: &OwnedFd) -> Option<Duration> {
    let began = Instant::now();
    if file::comes_within(error_reader, STOPPED_LIMIT) {
        return None;
    }
    loop {
        let elapsed = began.elapsed();
        let missed = if elapsed >= START_LIMIT {
            Some(START_LIMIT)
        } else if elapsed >= STOPPED_LIMIT && super::process::is_stopped(pid) {
            Some(STOPPED_LIMIT)
        } else {
            None
        };
        // Asked last: it may have executed its program and been stopped then.
        if file::comes_within(error_reader, Duration::ZERO) {
            return None;
        }
        if missed.is_some() {
            return missed;
        }
        std::thread::sleep(STOPPED_RETRY);
    }
}

/// Executes the file that the first of `arguments` names in this process's place, with all of its
/// environment, no signal blocked and none of `ignored_signals` ignored; returns why that was not
/// possible.
pub(crate) fn execute_in_place(
    arguments: &[CString],
    ignored_signals: &[libc::c_int],
) -> io::Error {
    clean_signals(ignored_signals);
    let arguments = null_terminated(arguments);
    // SAFETY: no thread but this one runs, which changes no variable; a null-terminated list of C
    // strings that lives through the call, whose first one is the path, or null, which is an error.
    unsafe { libc::execv(arguments[0], arguments.as_ptr()) };
    io::Error::last_os_error()
}

/// Pointers to C strings, and the null pointer that ends such a list.
fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call above succeeded, so it is open and nobody else's.
    let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((reader, writer))
}

fn clone(child: &Child<'_>) -> io::Result<Pid> {
    let mut stack = Vec::<u128>::with_capacity(CHILD_STACK_BYTES / size_of::<u128>());
    // SAFETY: the end of the allocation, which may be pointed at; 16-byte aligned as ABIs demand.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    let flags = match child.identity {
        None => libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
        Some(_) => libc::SIGCHLD,
    };
    let argument = ptr::from_ref(child).cast_mut().cast::<c_void>();
    // SAFETY: `stack` and `child` outlive the child's use of our memory, since CLONE_VFORK suspends
    // this thread until it has executed or exited, or the child has its own copy of both; `in_child`
    // keeps to the file's rules.
    let pid = checked(unsafe { libc::clone(in_child, top.cast(), flags, argument) })?;
    Ok(Pid(pid))
}

/// Waits for a child that is about to exit. It is killed, since it may be another user's by now, whose processes
/// may stop it before it does.
fn reap_failed(pid: Pid) {
    super::process::kill_number(pid.0);
    // SAFETY: no status is asked for, which a null pointer says.
    let _ = super::uninterrupted(|| checked(unsafe { libc::waitpid(pid.0, ptr::null_mut(), 0) }));
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_that_is_stopped_before_it_exits_is_reaped() {
        let words = [c"/bin/sleep", c"1000"].map(CString::from);
        let program = Program {
            candidates: &words[..1],
            arguments: &words,
            environment: &[],
            ignored_signals: &[],
            oom_score_adjustment: None,
            descriptor_limit: None,
            identity: None,
            directory: c"",
        };
        let child = spawn_with(&program, Streams::Outputs).ok().unwrap();
        let mut status = 0;
        // SAFETY: takes no pointer.
        checked(unsafe { libc::kill(child.pid.0, libc::SIGSTOP) }).unwrap();
        // SAFETY: `status` lives through the call.
        checked(unsafe { libc::waitpid(child.pid.0, &raw mut status, libc::WUNTRACED) }).unwrap();
        assert!(libc::WIFSTOPPED(status));
        reap_failed(child.pid);
        assert!(super::super::process::reap(child.pid).is_err());
    }
}
