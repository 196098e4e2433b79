//! `epoll(7)`: waiting for several descriptors together.
#![expect(
    unsafe_code,
    reason = "epoll_create1, epoll_ctl and epoll_wait have no safe wrapper in std"
)]

use super::checked;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// What to be told of a descriptor, and what is told: `EPOLLIN` and its like.
pub(crate) type Interest = u32;

/// Readable, or at its end.
pub(crate) const IN: Interest = libc::EPOLLIN as u32;
/// Writable.
pub(crate) const OUT: Interest = libc::EPOLLOUT as u32;
/// The other side has closed its sending side, or is gone.
pub(crate) const RDHUP: Interest = libc::EPOLLRDHUP as u32;
/// The other side is gone; told unasked.
pub(crate) const HUP: Interest = libc::EPOLLHUP as u32;
/// An error is pending; told unasked.
pub(crate) const ERR: Interest = libc::EPOLLERR as u32;
/// Tell changes alone: each event once.
pub(crate) const EDGE: Interest = libc::EPOLLET as u32;

/// Events taken in one wait: every connection watches fewer descriptors than this.
const EVENTS: usize = 8;

/// One event: which descriptor, by the token it was added with, and what is so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) events: Interest,
}

/// A set of watched descriptors.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd` until it is removed or its last duplicate is closed.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Changes what to be told of a watched `fd`, which needs no memory; what is so already is told once more.
    pub(crate) fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, call: i32, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token,
        };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are borrowed, so open; `event` lives through the call.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), call, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits for events until `deadline` (for ever without one). None come where the deadline has
    /// passed, or a signal has interrupted the wait.
    pub(crate) fn wait(
        &self,
        deadline: Option<Instant>,
    ) -> io::Result<impl Iterator<Item = Ready> + use<>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: `events` has room for `EVENTS` entries and lives through the call.
        let returned = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as i32,
                milliseconds_until(deadline),
            )
        };
        let count = match checked(returned) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(events.into_iter().take(count).map(|event| Ready {
            token: event.u64,
            events: event.events,
        }))
    }
}

/// A time-out for `epoll_wait`: rounded up, so that no wait ends before its deadline; -1 is none.
fn milliseconds_until(deadline: Option<Instant>) -> i32 {
    let Some(deadline) = deadline else { return -1 };
    let left = deadline.saturating_duration_since(Instant::now());
    let rounded_up = left
        .saturating_add(Duration::from_nanos(999_999))
        .as_millis();
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}
