//! What a child does between `clone` and `execve`.
//!
//! Only system calls that are async-signal-safe run in there: `setsid`, `dup2`, `ioctl`, `fchown`, `prctl`, `getppid`,
//! `prlimit`, `fcntl`, `open`, `write`, `close`, `close_range`, `rt_sigaction`, `rt_sigprocmask`,
//! `setgroups`, `setresgid`, `setresuid`, `chdir`, `execve`, `_exit`. Nothing is allocated, nothing unwinds.

use super::super::limit::DescriptorLimit;
use super::{Identity, change_owner};
use std::ffi::c_void;
use std::io;
use std::os::fd::RawFd;
use std::ptr;

/// What a child that fails writes: the step at which it did, and `errno`.
pub(super) const FAILURE_BYTES: usize = 1 + size_of::<i32>();

/// Steps of a child that a failure tells apart.
const EXECUTING: u8 = 0;
pub(super) const ENTERING: u8 = 1;
pub(super) const BECOMING: u8 = 2;

/// All that the child needs, as numbers and pointers.
pub(super) struct Child<'a> {
    pub(super) candidates: Vec<*const libc::c_char>,
    pub(super) arguments: Vec<*const libc::c_char>,
    pub(super) environment: Vec<*const libc::c_char>,
    pub(super) ignored_signals: *const [libc::c_int],
    pub(super) oom_score_adjustment: *const [u8],
    pub(super) descriptor_limit: Option<DescriptorLimit>,
    pub(super) identity: Option<Identity<'a>>,
    pub(super) directory: *const libc::c_char,
    /// For descriptors 0, 1 and 2.
    pub(super) streams: [RawFd; 3],
    pub(super) kept: Vec<RawFd>,
    pub(super) cgroup: Option<RawFd>,
    pub(super) is_terminal: bool,
    pub(super) error_pipe: RawFd,
    pub(super) parent: libc::pid_t,
}

pub(super) extern "C" fn in_child(argument: *mut c_void) -> libc::c_int {
    // SAFETY: `clone` was given a pointer to a `Child` that outlives this function.
    let child = unsafe { &*argument.cast_const().cast::<Child<'_>>() };
    let (step, errno) = become_program(child);
    let [a, b, c, d] = errno.to_ne_bytes();
    let bytes: [u8; FAILURE_BYTES] = [step, a, b, c, d];
    // SAFETY: `bytes` lives through the call.
    unsafe { libc::write(child.error_pipe, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: ends this process alone, and runs no handler of the parent's.
    unsafe { libc::_exit(127) }
}

/// Makes `directory` the working directory, unless it is empty.
fn enter(directory: *const libc::c_char) -> Result<(), i32> {
    // SAFETY: a C string, which has a first byte, of the parent's, which waits, or our copy of it.
    if unsafe { *directory } == 0 {
        return Ok(());
    }
    // SAFETY: as above.
    match unsafe { libc::chdir(directory) } {
        -1 => Err(errno()),
        _ => Ok(()),
    }
}

/// The calling thread's `errno`.
fn errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EINVAL)
}

/// Returns only where that failed: the step, and why.
fn become_program(child: &Child<'_>) -> (u8, i32) {
    if let Err(errno) = prepare(child) {
        return (EXECUTING, errno);
    }
    if child.identity.is_some() {
        close_others(child.error_pipe);
    }
    if let Err(errno) = become_user(child) {
        return (BECOMING, errno);
    }
    // Not before: a change of the user clears it (`prctl(2)`).
    if let Err(errno) = die_with_parent(child) {
        return (EXECUTING, errno);
    }
    if let Err(errno) = enter(child.directory) {
        return (ENTERING, errno);
    }
    (EXECUTING, execute(child))
}

/// Closes every descriptor above standard error but one: other children's pipes among them, whose start
/// would wait for this one where it is stopped. Best effort: the call is of Linux 5.9.
fn close_others(kept: RawFd) {
    let kept = kept as libc::c_uint;
    for (first, last) in [(3, kept - 1), (kept + 1, libc::c_uint::MAX)] {
        // SAFETY: takes no pointer; nothing of this process uses them any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Becomes who the child should be, by raw calls: the C library would have all threads of ours do so.
fn become_user(child: &Child<'_>) -> Result<(), i32> {
    let Some(Identity { uid, gid, groups }) = child.identity else {
        return Ok(());
    };
    let failed = |returned: libc::c_long| if returned == -1 { Err(errno()) } else { Ok(()) };
    if child.is_terminal {
        // Once it controls this session: sooner, a process of that user could make it its own session's.
        failed(change_owner(0, uid))?;
    }
    // SAFETY: `groups` is as long as the call is told; the parent's, which waits, or our copy.
    failed(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: takes no pointer.
    failed(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: takes no pointer.
    failed(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

fn die_with_parent(child: &Child<'_>) -> Result<(), i32> {
    // SAFETY: this option's argument is a number.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == -1 {
        return Err(errno());
    }
    // SAFETY: takes no pointer. A parent that died before the line above is not noticed by it.
    if unsafe { libc::getppid() } != child.parent {
        return Err(libc::ESRCH);
    }
    Ok(())
}

fn prepare(child: &Child<'_>) -> Result<(), i32> {
    let failed = |returned: libc::c_int| if returned == -1 { Err(errno()) } else { Ok(()) };
    // SAFETY: takes no pointer.
    failed(unsafe { libc::setsid() })?;
    for (number, &stream) in (0..).zip(&child.streams) {
        // SAFETY: takes no pointer. `Handed` has the streams such that none is replaced before.
        failed(unsafe { libc::dup2(stream, number) })?;
    }
    if child.is_terminal {
        // SAFETY: takes no pointer.
        failed(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
    }
    for &number in &child.kept {
        // SAFETY: takes no pointer.
        failed(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
    }
    if let Some(procs) = child.cgroup {
        // `cgroups(7)`: 0 is the writing process.
        // SAFETY: the byte lives for ever.
        failed(unsafe { libc::write(procs, b"0".as_ptr().cast(), 1) } as libc::c_int)?;
    }
    // While this is root still: a process of another user may not lower its own.
    write_oom_score(child.oom_score_adjustment);
    if let Some(limit) = child.descriptor_limit {
        // Somebody may have lowered ours since: then that one holds.
        limit.set();
    }
    // SAFETY: points to the parent's slice, which outlives this child's use of it.
    clean_signals(unsafe { &*child.ignored_signals });
    Ok(())
}

/// Ignores no signal and blocks none.
pub(super) fn clean_signals(ignored: &[libc::c_int]) {
    for &signal in ignored {
        reset_signal(signal);
    }
    let none = 0u64;
    // SAFETY: the kernel's signal set is 8 bytes; `none` lives through the call. By the raw call,
    // since the C library keeps some signals back.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            8usize,
        )
    };
}

/// Puts one signal to its default, by the raw call: the C library refuses its own three.
fn reset_signal(signal: libc::c_int) {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask; all zero is SIG_DFL.
    let default_action = [0u64; 4];
    // SAFETY: `default_action` lives through the call and is as long as the kernel's structure.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default_action.as_ptr(),
            ptr::null_mut::<u64>(),
            8usize,
        )
    };
}

/// Gives the child the score that the agent had before it lowered its own. Best effort: a guest
/// without `/proc` has no such score.
///
/// `proc(5)`: a process that a `vfork` parent waits for has a score of its own.
fn write_oom_score(adjustment: *const [u8]) {
    // SAFETY: points to the parent's slice, which outlives this child's use of it.
    let adjustment = unsafe { &*adjustment };
    if adjustment.is_empty() {
        return;
    }
    let path = c"/proc/self/oom_score_adj".as_ptr();
    // SAFETY: `path` is a C string that lives for ever.
    let fd = unsafe { libc::open(path, libc::O_WRONLY | libc::O_CLOEXEC) };
    if fd == -1 {
        return;
    }
    // SAFETY: `adjustment` lives through the call.
    unsafe { libc::write(fd, adjustment.as_ptr().cast(), adjustment.len()) };
    // SAFETY: opened above, used no more.
    unsafe { libc::close(fd) };
}

/// Executes the first candidate that is there; returns only where none could be executed. As
/// `execvp(3)` does: a candidate that may not be executed is the error if no later one works.
fn execute(child: &Child<'_>) -> i32 {
    let mut first_refusal = None;
    let mut last = libc::ENOENT;
    for &path in &child.candidates {
        // SAFETY: C strings and null-terminated lists of them, made by the parent; as above.
        unsafe { libc::execve(path, child.arguments.as_ptr(), child.environment.as_ptr()) };
        last = errno();
        match last {
            libc::EACCES => first_refusal = Some(last),
            libc::ENOENT | libc::ENOTDIR => {}
            _ => return last,
        }
    }
    first_refusal.unwrap_or(last)
}
