//! Starting a program that outlives us: a session of its own, its output in files.
//!
//! Owns most of this crate's `unsafe`: std has no safe way to do anything in the child. Between
//! fork and exec the child calls `setsid(2)`, `open(2)`, `read(2)`, `write(2)`, `close(2)`,
//! `getppid(2)` and `close_range(2)` and nothing else; all are plain system calls, async-signal-safe,
//! and allocate nothing.
//!
//! We may be killed before we have put down which process we started. So the child does that itself, in
//! its *trace*, and does not go on where we were gone by then: whoever finds us dead finds the trace.
#![allow(unsafe_code, reason = "std offers no safe setsid in a child")]

use super::VmError;
use super::cid_pool::CidLease;
use super::process::ProcessId;
use super::registry::state_error;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, getpid, getppid};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A started program that is still our child.
#[derive(Debug)]
pub(super) struct Detached {
    /// The child.
    pub(super) child: Child,
    /// The same by id and start time.
    pub(super) process: ProcessId,
}

/// Starts `program` in a new session, its output in `log`, its trace beside it. Its input is the lease of
/// its VM's CID, which it has so for as long as it lives; there is nothing to read.
///
/// # Errors
/// [`VmError::Spawn`], [`VmError::State`] for the log and the trace, [`VmError::CidPool`].
pub(super) fn spawn(
    program: &Path,
    arguments: &[OsString],
    log: &Path,
    lease: &CidLease,
) -> Result<Detached, VmError> {
    let output = File::create(log).map_err(state_error(log))?;
    let errors = output.try_clone().map_err(state_error(log))?;
    let trace = trace_of(log);
    let mut trace = File::create(&trace).map_err(state_error(&trace))?;
    let starter = getpid();
    let spawn_error = |source| VmError::Spawn {
        program: program.display().to_string(),
        source,
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .stdin(lease.stdin()?)
        .stdout(output)
        .stderr(errors);
    // SAFETY: the closure runs in the child between fork and exec. It makes the system calls listed at
    // the top, which are async-signal-safe (signal-safety(7)), and touches no memory that another thread
    // may hold: its buffer is on the stack, and its errors are numbers.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            leave_trace(&mut trace, starter)?;
            close_inherited_on_exec();
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(spawn_error)?;
    let pid = i32::try_from(child.id()).expect("Linux's process ids are below 2^22");
    match ProcessId::of_child(pid) {
        Some(process) => Ok(Detached { child, process }),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            let reason = "/proc does not tell about it";
            Err(spawn_error(io::Error::other(reason)))
        }
    }
}

/// The process that was started with its output in `log`, as far as is known; it may have ended.
pub(super) fn traced(log: &Path) -> Option<ProcessId> {
    ProcessId::of_stat(&fs::read(trace_of(log)).ok()?)
}

fn trace_of(log: &Path) -> PathBuf {
    log.with_extension("process")
}

/// Runs in the child: copies its `/proc/self/stat`, which holds its id and its start time and fits into
/// one read. Fails where the starter is gone, so that nobody has looked for the trace before it was there.
fn leave_trace(trace: &mut File, starter: Pid) -> io::Result<()> {
    let stat = open(
        c"/proc/self/stat",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [0; 1024];
    let length = rustix::io::read(&stat, &mut buffer)?;
    trace.write_all(&buffer[..length])?;
    if getppid() == Some(starter) {
        Ok(())
    } else {
        Err(rustix::io::Errno::SRCH.into())
    }
}

/// Descriptors that our own starter left open, such as a script's lock, end with us and not with a VM.
/// A kernel before 5.11 cannot do this; they stay open there.
fn close_inherited_on_exec() {
    // By the raw call, which musl does not wrap.
    // SAFETY: close_range takes no pointer; with this flag it only marks descriptors for exec, so that
    // the ones std uses meanwhile, marked already, stay usable.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

impl Detached {
    /// Whether it has ended; it is collected then.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
