//! Signals: which end the agent, which it ignores, and which ones a command must get back.
#![expect(
    unsafe_code,
    reason = "signal sets, dispositions and signalfd have no safe wrapper in std"
)]

use super::{checked, checked_length};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

/// Asks the agent to stop, always.
const STOP_SIGNAL: libc::c_int = libc::SIGTERM;

/// Ask the agent to stop unless its starter had it ignore them, as shells do for what they start in
/// the background, and `nohup`.
const STOP_SIGNALS_UNLESS_IGNORED: [libc::c_int; 2] = [libc::SIGINT, libc::SIGHUP];

/// Makes the agent's own dispositions, for a process whose parent may have set any.
///
/// - `SIGCHLD` at its default: ignored, it makes the kernel reap children, and exit codes are lost.
/// - `SIGXFSZ` ignored: a file too large is an error of one upload, not the agent's end.
/// - `SIGPIPE` is ignored since the start (`entry.rs`).
pub(crate) fn set_dispositions() {
    for (signal, handler) in [
        (libc::SIGCHLD, libc::SIG_DFL),
        (libc::SIGXFSZ, libc::SIG_IGN),
    ] {
        // SAFETY: both dispositions run no code of ours.
        unsafe { libc::signal(signal, handler) };
    }
}

/// The signals that this process ignores: an `exec` keeps exactly these, and a login has none.
pub(crate) fn ignored() -> Vec<libc::c_int> {
    (1..=64).filter(|&signal| is_ignored(signal)).collect()
}

/// By the raw call: the C library keeps three signals to itself, and an ignored one of those stays
/// ignored over an `exec` like any.
fn is_ignored(signal: libc::c_int) -> bool {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask.
    let mut action = [0u64; 4];
    // SAFETY: only reads the disposition into `action`, which is as long as the kernel's structure
    // and lives through the call; its signal set is 8 bytes.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<u64>(),
            action.as_mut_ptr(),
            8usize,
        )
    };
    returned == 0 && action[0] == libc::SIG_IGN as u64
}

/// The signals that ask the agent to stop.
pub(crate) fn that_stop() -> Vec<libc::c_int> {
    STOP_SIGNALS_UNLESS_IGNORED
        .into_iter()
        .filter(|one| !is_ignored(*one))
        .chain([STOP_SIGNAL])
        .collect()
}

/// Blocks signals in this thread and all that it starts, and returns a descriptor that is readable
/// while one of them is pending. To be called before any other thread is started.
pub(crate) fn block_and_watch(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` lives through the call, which fills it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for &signal in signals {
        // SAFETY: `set` was filled above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: `set` was filled above; no old set is asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` was filled above; -1 asks for a new descriptor.
    let fd = checked(unsafe { libc::signalfd(-1, set.as_ptr(), flags) })?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes one pending signal from a descriptor of [`block_and_watch`]; `None` where there is none.
pub(crate) fn take(watched: impl AsFd) -> Option<libc::c_int> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    let watched = watched.as_fd().as_raw_fd();
    // SAFETY: `info` has room for `size` bytes and lives through the call.
    let length = checked_length(unsafe { libc::read(watched, info.as_mut_ptr().cast(), size) });
    // SAFETY: zeroed is a valid value, and a successful call has filled it.
    let info = unsafe { info.assume_init() };
    (length.ok()? == size).then_some(info.ssi_signo as libc::c_int)
}
