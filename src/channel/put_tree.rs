//! `put_tree`: a tree of files into the guest.
//!
//! Owns the way from a tree here to the agent's answer. Small files travel many to a write. A refusal that comes while
//! entries are still being sent is reported at once.

use super::exchange::{Exchange, Message, misplaced};
use super::put::{send, stalled};
use super::{Channel, ChannelError, STALL_LIMIT};
use crate::deadline::Deadline;
use crate::local_tree::{Content, ReadError, TreeReader};
use crate::transport::Absence;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES, encode_frame};
use smolvm_protocol::request::{PutTreeRequest, Request};
use smolvm_protocol::tree::{Entry, MAX_SKIPPED_SHOWN};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories and links that were made, the root included.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Paths below the root of what is neither file nor directory nor link, and so was left out: the first 16.
    pub skipped: Vec<Vec<u8>>,
}

impl Channel {
    /// Copies the file, directory or link `local` into the guest, with modes (without those that lend rights) and
    /// links as they are. `path` becomes its root; where that is a directory there, the root goes into it as `name`, or,
    /// without a name, a directory's content does. `progress` is told how many bytes of content have gone. For agents
    /// with the feature [`super::PUT_TREE`].
    ///
    /// # Errors
    /// [`ChannelError`]; what was complete by then stays in the guest. [`ChannelError::Read`] where something here
    /// cannot be read.
    pub fn put_tree(
        &self,
        local: &Path,
        path: &[u8],
        name: Option<&[u8]>,
        deadline: Deadline,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Copied, ChannelError> {
        let request = Request::PutTree(PutTreeRequest {
            path: path.to_owned(),
            name: name.map(<[u8]>::to_owned),
        });
        let exchange = self.begin(&request, Absence::IsAnError, deadline)?;
        let mut upload = Upload {
            exchange,
            local,
            waiting: Vec::with_capacity(2 * MAX_CHUNK_BYTES),
            deadline,
            copied: Copied::default(),
            progress,
        };
        let outcome = upload.tree(TreeReader::new(local));
        match outcome {
            Ok(()) => Ok(upload.copied),
            Err(error @ ChannelError::Refused { .. }) => Err(error),
            Err(error) => {
                upload.exchange.hang_up();
                Err(match self.cancel.is_cancelled() {
                    true => ChannelError::Cancelled,
                    false => error,
                })
            }
        }
    }
}

struct Upload<'call> {
    exchange: Exchange,
    local: &'call Path,
    /// Frames that are not sent yet.
    waiting: Vec<u8>,
    deadline: Deadline,
    copied: Copied,
    progress: &'call mut dyn FnMut(u64),
}

impl Upload<'_> {
    fn tree(&mut self, mut tree: TreeReader) -> Result<(), ChannelError> {
        while let Some((entry, content)) = tree.next().map_err(read_error)? {
            self.entry(&entry, content)?;
        }
        self.push(&encode_frame(FrameType::EOF, b""))?;
        let answer = match self.flush()? {
            Some(message) => message,
            None => {
                let limit = self.deadline.or_earlier(Deadline::after(STALL_LIMIT));
                let answer = self.exchange.next(limit);
                answer.map_err(|error| stalled(error, self.deadline))?
            }
        };
        let answer = match answer {
            Message::Control(answer) if answer.ok => *answer,
            other => return Err(misplaced(other)),
        };
        let Some(entries) = answer.entries else {
            return Err(ChannelError::not_an_agent(
                "its answer to put_tree counts no entries",
            ));
        };
        self.copied.entries = entries;
        self.copied.skipped = tree.into_skipped();
        self.copied.skipped.extend(answer.skipped);
        self.copied.skipped.truncate(MAX_SKIPPED_SHOWN);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, content: Content) -> Result<(), ChannelError> {
        self.push(&encode_frame(FrameType::JSON, entry.to_json().as_bytes()))?;
        let Some(mut file) = content else {
            return Ok(());
        };
        let local = self.local;
        let failed = |source: io::Error| {
            let path = match entry.depth() {
                0 => local.to_owned(),
                _ => local.join(OsStr::from_bytes(&entry.path)),
            };
            read_error(ReadError { path, source })
        };
        loop {
            let count = self.chunk(&mut file).map_err(failed)?;
            if count == 0 {
                return self.push(&encode_frame(FrameType::EOF, b""));
            }
            self.copied.bytes += count as u64;
            self.flush_when_full()?;
            (self.progress)(self.copied.bytes);
        }
    }

    /// Appends a frame of the file's next bytes, unless there are none.
    fn chunk(&mut self, file: &mut File) -> io::Result<usize> {
        let start = self.waiting.len();
        let content = start + HEADER_BYTES;
        self.waiting.resize(content + MAX_CHUNK_BYTES, 0);
        let count = loop {
            match file.read(&mut self.waiting[content..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let count = count.inspect_err(|_| self.waiting.truncate(start))?;
        if count == 0 {
            self.waiting.truncate(start);
            return Ok(0);
        }
        let header = FrameHeader::new(FrameType::DATA, count).encode();
        self.waiting[start..content].copy_from_slice(&header);
        self.waiting.truncate(content + count);
        Ok(count)
    }

    fn push(&mut self, frame: &[u8]) -> Result<(), ChannelError> {
        self.waiting.extend_from_slice(frame);
        self.flush_when_full()
    }

    /// Nothing that comes before the tree's end is an answer but a refusal.
    fn flush_when_full(&mut self) -> Result<(), ChannelError> {
        if self.waiting.len() < MAX_CHUNK_BYTES {
            return Ok(());
        }
        match self.flush()? {
            None => Ok(()),
            Some(message) => Err(misplaced(message)),
        }
    }

    fn flush(&mut self) -> Result<Option<Message>, ChannelError> {
        let sent = send(&mut self.exchange, &self.waiting, self.deadline);
        self.waiting.clear();
        sent
    }
}

fn read_error(error: ReadError) -> ChannelError {
    ChannelError::Read {
        what: error.path.display().to_string(),
        source: error.source,
    }
}
