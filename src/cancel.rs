//! A way to give up on a call from another thread, or from a signal handler.
//!
//! Owns one pair of connected sockets: a byte in it means "give up", and every wait of this library
//! polls for it. Once cancelled, it stays so.

use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Tells a call that it should give up. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Cancel {
    pair: Arc<(UnixStream, UnixStream)>,
}

impl Cancel {
    /// One that nobody has cancelled yet.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        Ok(Self {
            pair: Arc::new((reader, writer)),
        })
    }

    /// Gives up on every call that was handed this or a clone of it.
    pub fn cancel(&self) {
        // A full socket means that it is cancelled already.
        let _ = (&self.pair.1).write(&[1]);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(&self.pair.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&rustix::event::Timespec::default())), Ok(count) if count > 0)
    }

    /// A descriptor of which one written byte cancels; for a signal handler.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn trigger(&self) -> io::Result<UnixStream> {
        self.pair.1.try_clone()
    }
}

impl AsFd for Cancel {
    /// Readable once it was cancelled.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pair.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_a_clone_cancels_all_and_lasts() {
        let cancel = Cancel::new().unwrap();
        assert!(!cancel.is_cancelled());
        cancel.clone().cancel();
        assert!(cancel.is_cancelled() && cancel.is_cancelled());
    }
}
