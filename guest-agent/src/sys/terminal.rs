//! Pseudo-terminals: `pty(7)`, `ioctl_tty(2)`, `termios(3)`.
#![expect(
    unsafe_code,
    reason = "opening a terminal, its size and its settings have no safe wrapper in std"
)]

use super::checked;
use smolvm_protocol::request::TerminalSize;
use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

/// Opens a terminal of that size: its master, non-blocking, and the side of the processes on it. Nobody's
/// controlling terminal yet.
///
/// # Errors
/// `ENOENT` where there is no `/dev/ptmx`, `ENOSPC` where there are too many.
pub(crate) fn open(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    // It may be a link into `/dev/pts`.
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open("/dev/ptmx")?;
    let master = OwnedFd::from(master);
    let number = master.as_raw_fd();
    let unlocked: libc::c_int = 0;
    // SAFETY: `unlocked` lives through the call, which reads it.
    checked(unsafe { libc::ioctl(number, libc::TIOCSPTLCK, &raw const unlocked) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // By its master, so that no `/dev/pts` has to be there (Linux 4.13).
    // SAFETY: this request's argument is a number.
    let slave = checked(unsafe { libc::ioctl(number, libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the call above succeeded, so it is open and nobody else's.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    let mut settings = settings(number)?;
    settings.c_iflag |= libc::IUTF8;
    // SAFETY: `settings` lives through the call, which reads it.
    checked(unsafe { libc::tcsetattr(number, libc::TCSANOW, &raw const settings) })?;
    set_size(&master, size)?;
    Ok((master, slave))
}

/// Gives a terminal another size; its foreground is told by `SIGWINCH`.
pub(crate) fn set_size(master: &OwnedFd, size: TerminalSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `size` lives through the call, which reads it.
    checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}

/// The character that is the end of a terminal's input, while it is read by lines; none where that is
/// disabled, or characters are read as they come.
pub(crate) fn end_of_input(master: BorrowedFd<'_>) -> Option<u8> {
    let settings = settings(master.as_raw_fd()).ok()?;
    let character = settings.c_cc[libc::VEOF];
    let is_canonical = settings.c_lflag & libc::ICANON != 0;
    (is_canonical && character != libc::_POSIX_VDISABLE).then_some(character)
}

fn settings(terminal: libc::c_int) -> io::Result<libc::termios> {
    let mut settings = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: `settings` lives through the call, which fills it.
    checked(unsafe { libc::tcgetattr(terminal, settings.as_mut_ptr()) })?;
    // SAFETY: zeroed is a valid value, and the call has filled it.
    Ok(unsafe { settings.assume_init() })
}

/// The number of the process group in a terminal's foreground. Nobody may be in it any more.
pub(crate) fn foreground(master: &OwnedFd) -> Option<libc::pid_t> {
    let mut group: libc::pid_t = 0;
    // SAFETY: `group` lives through the call, which writes one number of that type.
    checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPGRP, &raw mut group) }).ok()?;
    (group > 0).then_some(group)
}
