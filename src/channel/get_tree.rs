//! `get_tree`: a tree of files out of the guest.
//!
//! Owns the way from the agent's entries to a tree here. The guest is not trusted: what it names goes where
//! [`TreeWriter`] lets it.

use super::exchange::{Exchange, Message, refusal, unexpected};
use super::put::stalled;
use super::put_tree::Copied;
use super::{Channel, ChannelError, STALL_LIMIT};
use crate::deadline::Deadline;
use crate::local_tree::{Begun, TreeFile, TreeWriter, WriteError};
use crate::transport::Absence;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{GetTreeRequest, Request};
use smolvm_protocol::tree::{Entry, MAX_SKIPPED_SHOWN};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Channel {
    /// Copies the file, directory or link `path` out of the guest, with modes (without those that lend rights) and
    /// links as they are. `local` becomes its root; where that is a directory, the root goes into it as `name`, or,
    /// without a name, a directory's content does. `progress` is told how many bytes of content have come. For agents
    /// with the feature [`super::GET_TREE`].
    ///
    /// # Errors
    /// [`ChannelError`]; what was complete by then stays. [`ChannelError::Write`] where something here cannot be
    /// written.
    pub fn get_tree(
        &self,
        path: &[u8],
        local: &Path,
        name: Option<&OsStr>,
        deadline: Deadline,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Copied, ChannelError> {
        let request = Request::GetTree(GetTreeRequest {
            path: path.to_owned(),
        });
        let tree = TreeWriter::new(local, name).map_err(|error| write_error(local, error))?;
        let exchange = self.begin(&request, Absence::IsAnError, deadline)?;
        let (exchange, outcome) = receive(exchange, tree, deadline, progress);
        match outcome {
            Ok(copied) => Ok(copied),
            Err(error @ ChannelError::Refused { .. }) => Err(error),
            Err(error) => {
                exchange.hang_up();
                Err(match self.cancel.is_cancelled() {
                    true => ChannelError::Cancelled,
                    false => error,
                })
            }
        }
    }
}

/// Writes the tree that comes, up to the agent's answer.
pub(super) fn receive(
    exchange: Exchange,
    tree: TreeWriter,
    deadline: Deadline,
    progress: &mut dyn FnMut(u64),
) -> (Exchange, Result<Copied, ChannelError>) {
    let root = tree.root().to_owned();
    let mut download = Download {
        exchange,
        tree,
        root: &root,
        deadline,
        received: 0,
        copied: Copied::default(),
        progress,
    };
    let outcome = download.entries();
    let Download {
        exchange,
        tree,
        mut copied,
        ..
    } = download;
    let finished = tree.finish().map_err(|error| write_error(&root, error));
    let outcome = outcome.and_then(|answer| {
        finished?;
        copied.skipped.extend(answer.skipped);
        copied.skipped.truncate(MAX_SKIPPED_SHOWN);
        Ok(copied)
    });
    (exchange, outcome)
}

struct Download<'call> {
    exchange: Exchange,
    tree: TreeWriter,
    root: &'call Path,
    deadline: Deadline,
    /// Entries that came, whatever became of them.
    received: u64,
    copied: Copied,
    progress: &'call mut dyn FnMut(u64),
}

impl Download<'_> {
    fn entries(&mut self) -> Result<Answer, ChannelError> {
        loop {
            match self.next()? {
                Message::Entry(entry) => {
                    self.received += 1;
                    self.entry(&entry)?;
                }
                Message::Control(answer) => return self.end(*answer),
                Message::Credit(_) => return Err(unexpected(FrameType::JSON)),
                Message::Bytes(frame_type, _) => return Err(unexpected(frame_type)),
                Message::EndOfFile => return Err(unexpected(FrameType::EOF)),
            }
        }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), ChannelError> {
        let root = self.root;
        let failed = |error: io::Error| {
            let below = OsStr::from_bytes(&entry.path);
            match entry.depth() {
                0 => write_error(root, error),
                _ => write_error(&root.join(below), error),
            }
        };
        match self.tree.begin(entry) {
            Ok(Begun::Done) => {}
            Ok(Begun::File(file)) => {
                self.content(file, &failed)?;
            }
            Ok(Begun::Skipped) => {
                if self.copied.skipped.len() < MAX_SKIPPED_SHOWN {
                    self.copied.skipped.push(entry.path.clone());
                }
                return Ok(());
            }
            Err(WriteError::System(error)) => return Err(failed(error)),
            Err(WriteError::Entry(error)) => {
                return Err(ChannelError::not_an_agent(error.to_string()));
            }
        }
        self.copied.entries += 1;
        Ok(())
    }

    fn content(
        &mut self,
        mut file: TreeFile,
        failed: &dyn Fn(io::Error) -> ChannelError,
    ) -> Result<(), ChannelError> {
        loop {
            match self.next()? {
                Message::Bytes(FrameType::DATA, range) => {
                    self.copied.bytes += range.len() as u64;
                    file.write(self.exchange.bytes(range)).map_err(failed)?;
                    (self.progress)(self.copied.bytes);
                }
                Message::EndOfFile => return file.finish().map_err(failed),
                Message::Control(answer) if !answer.ok => return Err(refusal(*answer)),
                Message::Bytes(frame_type, _) => return Err(unexpected(frame_type)),
                Message::Control(_) | Message::Entry(_) | Message::Credit(_) => {
                    return Err(unexpected(FrameType::JSON));
                }
            }
        }
    }

    fn end(&self, answer: Answer) -> Result<Answer, ChannelError> {
        if !answer.ok {
            return Err(refusal(answer));
        }
        if !self.tree.has_begun() {
            return Err(ChannelError::not_an_agent("its tree has no root"));
        }
        if answer.entries != Some(self.received) {
            return Err(ChannelError::not_an_agent(
                "it counts other entries than it has sent",
            ));
        }
        Ok(answer)
    }

    fn next(&mut self) -> Result<Message, ChannelError> {
        let limit = self.deadline.or_earlier(Deadline::after(STALL_LIMIT));
        self.exchange
            .next(limit)
            .map_err(|error| stalled(error, self.deadline))
    }
}

fn write_error(path: &Path, source: io::Error) -> ChannelError {
    ChannelError::Write {
        what: path.display().to_string(),
        source,
    }
}
