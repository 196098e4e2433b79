//! A command's standard input, in the manner of `std::process`.
//!
//! Owns what it can come from, each as a descriptor that can be waited for. A reader that can only be read is pumped
//! into a pipe by a thread of its own, which ends with the reader, or with its next bytes once the command is over.

use crate::channel::{Input, PumpEnd};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::PoisonError;
use std::thread;

/// Where a command's standard input comes from.
#[derive(Debug)]
pub struct Stdin {
    source: Source,
}

enum Source {
    Null,
    Inherit,
    Piped,
    Descriptor(OwnedFd),
    Reader(Box<dyn Read + Send>),
}

impl Stdin {
    /// There is none, which is the default: `/dev/null` in the guest, or a terminal on which nobody types.
    #[must_use]
    pub fn null() -> Self {
        Self::from(Source::Null)
    }

    /// This process's own, to its end.
    #[must_use]
    pub fn inherit() -> Self {
        Self::from(Source::Inherit)
    }

    /// What the caller writes: [`super::Child::take_stdin`].
    #[must_use]
    pub fn piped() -> Self {
        Self::from(Source::Piped)
    }

    /// A file, a pipe, a socket, to its end. It may block or not.
    pub fn descriptor(descriptor: impl Into<OwnedFd>) -> Self {
        Self::from(Source::Descriptor(descriptor.into()))
    }

    /// Anything that can be read, to its end. A read under way when the command ends keeps a thread until it returns.
    pub fn reader(reader: impl Read + Send + 'static) -> Self {
        Self::from(Source::Reader(Box::new(reader)))
    }

    /// Whether the command is to be sent anything.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self.source, Source::Null)
    }

    /// What to read, and where the caller writes.
    pub(super) fn open(self) -> io::Result<(Option<Input>, Option<ChildStdin>)> {
        let input = |descriptor, what| Input {
            descriptor,
            what,
            pump: None,
        };
        Ok(match self.source {
            Source::Null => (None, None),
            Source::Inherit => {
                let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
                (Some(input(descriptor, "standard input")), None)
            }
            Source::Descriptor(descriptor) => {
                (Some(input(descriptor, "the command's input")), None)
            }
            Source::Piped => {
                let (descriptor, writer) = pipe_with(PipeFlags::CLOEXEC)?;
                let writer = ChildStdin {
                    pipe: File::from(writer),
                };
                (Some(input(descriptor, "the command's input")), Some(writer))
            }
            Source::Reader(reader) => (Some(pumped(reader)?), None),
        })
    }
}

impl From<Source> for Stdin {
    fn from(source: Source) -> Self {
        Self { source }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "Null",
            Self::Inherit => "Inherit",
            Self::Piped => "Piped",
            Self::Descriptor(_) => "Descriptor",
            Self::Reader(_) => "Reader",
        })
    }
}

fn pumped(mut reader: Box<dyn Read + Send>) -> io::Result<Input> {
    let (descriptor, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let end = PumpEnd::default();
    let input = Input {
        descriptor,
        what: "the command's input",
        pump: Some(PumpEnd::clone(&end)),
    };
    thread::Builder::new()
        .name("guest-input".to_owned())
        .spawn(move || {
            let mut pipe = File::from(writer);
            let outcome = io::copy(&mut reader, &mut pipe).map(drop);
            // Before the pipe ends, which is when it is looked at.
            *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            drop(pipe);
        })?;
    Ok(input)
}

/// The standard input of a [`super::Child`]. Dropping it is the input's end; on a terminal, that is as if somebody
/// typed its end-of-file character.
///
/// A write waits until the guest takes more; once the command is over, it fails with
/// [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct ChildStdin {
    pipe: File,
}

impl Write for ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for ChildStdin {
    /// The write end of a pipe: it has an error to tell once the command is over.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl From<ChildStdin> for OwnedFd {
    fn from(stdin: ChildStdin) -> Self {
        stdin.pipe.into()
    }
}
