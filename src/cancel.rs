//! A way to give up on a call from another thread, or from a signal handler.
//!
//! Owns one pair of connected sockets: a byte in it means "give up", and every wait of this library
//! polls for it. Once cancelled, it stays so. A part of a greater whole ([`Cancel::part`]) is watched
//! together with that whole by one descriptor, so that no wait has to know of both.

use rustix::event::{PollFd, PollFlags, epoll, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Tells a call that it should give up. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reader: UnixStream,
    writer: UnixStream,
    whole: Option<Whole>,
}

/// What a part is cancelled with.
#[derive(Debug)]
struct Whole {
    /// Readable once the part or the whole was cancelled.
    either: OwnedFd,
    /// Keeps the descriptor open that `either` watches.
    _cancel: Cancel,
}

impl Cancel {
    /// One that nobody has cancelled yet.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        Self::within(None)
    }

    /// One that can be cancelled by itself, and is when `self` is.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn part(&self) -> io::Result<Self> {
        Self::within(Some(self.clone()))
    }

    fn within(cancel: Option<Self>) -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        let whole = match cancel {
            None => None,
            Some(cancel) => {
                let either = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                for watched in [reader.as_fd(), cancel.as_fd()] {
                    let data = epoll::EventData::new_u64(0);
                    epoll::add(&either, watched, data, epoll::EventFlags::IN)?;
                }
                Some(Whole {
                    either,
                    _cancel: cancel,
                })
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                reader,
                writer,
                whole,
            }),
        })
    }

    /// Gives up on every call that was handed this, a clone or a part of it.
    pub fn cancel(&self) {
        // A full socket means that it is cancelled already.
        let _ = (&self.inner.writer).write(&[1]);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&rustix::event::Timespec::default())), Ok(count) if count > 0)
    }

    /// A descriptor of which one written byte cancels; for a signal handler.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn trigger(&self) -> io::Result<UnixStream> {
        self.inner.writer.try_clone()
    }

    /// A reader of the same bytes that gives an error once this is cancelled, for long ones.
    pub(crate) fn reader<R: Read>(&self, source: R) -> impl Read {
        CancellableReader {
            source,
            cancel: self,
        }
    }
}

struct CancellableReader<'cancel, R> {
    source: R,
    cancel: &'cancel Cancel,
}

impl<R: Read> Read for CancellableReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not `Interrupted`, which those who copy would take for a reason to go on.
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.source.read(buffer)
    }
}

impl AsFd for Cancel {
    /// Readable once it was cancelled.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner.whole {
            Some(whole) => whole.either.as_fd(),
            None => self.inner.reader.as_fd(),
        }
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

    #[test]
    fn part_is_cancelled_with_the_whole_and_not_the_other_way_round() {
        let whole = Cancel::new().unwrap();
        let (one, other) = (whole.part().unwrap(), whole.part().unwrap());
        one.cancel();
        assert!(one.is_cancelled() && !other.is_cancelled() && !whole.is_cancelled());
        let innermost = other.part().unwrap();
        whole.cancel();
        assert!(other.is_cancelled() && innermost.is_cancelled() && whole.is_cancelled());
    }

    #[test]
    fn reader_gives_all_bytes_until_it_is_cancelled() {
        let cancel = Cancel::new().unwrap();
        let mut read = String::new();
        cancel
            .reader(&b"abc"[..])
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "abc");
        let mut reader = cancel.reader(std::io::repeat(7));
        cancel.cancel();
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }
}
