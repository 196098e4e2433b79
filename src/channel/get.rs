//! `get_file`: a file out of the guest.
//!
//! Owns the way from a path in the guest to a writer, or to a file that appears whole under its name
//! or not at all.

use super::exchange::{Exchange, Message, unexpected};
use super::put::stalled;
use super::sink::Sink;
use super::{Channel, ChannelError, STALL_LIMIT};
use crate::cancel::Cancel;
use crate::checksum::Summer;
use crate::deadline::Deadline;
use crate::transport::Absence;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{GetFileRequest, Request};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permission bits that a fetched file takes over. Those that would lend a user's or group's
/// rights to whoever runs it are dropped: the guest is not trusted with them here.
const KEPT_MODE: u32 = 0o777;

/// What was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file's permission bits in the guest.
    pub mode: u32,
    /// Bytes received.
    pub bytes: u64,
}

impl Channel {
    /// Fetches the file `path`, which need not be UTF-8, into a writer.
    ///
    /// # Errors
    /// [`ChannelError`]; the writer may then have a part of the file. The time that the writer takes
    /// is not cut short.
    pub fn get_file(
        &self,
        path: &[u8],
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, ChannelError> {
        self.fetch(path, None, sink, deadline)
    }

    /// The same, and what has come has the sum that the agent tells of what it sent. For agents with the feature
    /// [`super::SHA256`].
    ///
    /// # Errors
    /// As [`Self::get_file`]; [`ChannelError::Mismatched`] where the sums differ: the writer has all of it then.
    pub fn get_file_verified(
        &self,
        path: &[u8],
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, ChannelError> {
        self.fetch(path, Some(Summer::default()), sink, deadline)
    }

    fn fetch(
        &self,
        path: &[u8],
        summer: Option<Summer>,
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, ChannelError> {
        let request = Request::GetFile(GetFileRequest {
            path: path.to_owned(),
            sha256: summer.is_some(),
        });
        let mut exchange = self.begin(&request, Absence::IsAnError, deadline)?;
        let outcome = download(&mut exchange, summer, sink, deadline);
        match outcome {
            Err(_) if self.cancel.is_cancelled() => {
                exchange.hang_up();
                Err(ChannelError::Cancelled)
            }
            Ok(_) | Err(ChannelError::Refused { .. }) => outcome,
            Err(_) => {
                exchange.hang_up();
                outcome
            }
        }
    }

    /// Fetches the file `path` to `local`, which is replaced once all of it is there. Where `local` is a
    /// link, what it points at is replaced; a device or pipe is written to.
    ///
    /// # Errors
    /// [`ChannelError`]; `local` is then as it was. Nobody who reads a pipe until the deadline is a
    /// [`ChannelError::Write`].
    pub fn get_file_to(
        &self,
        path: &[u8],
        local: &Path,
        deadline: Deadline,
    ) -> Result<Fetched, ChannelError> {
        deliver(local, &self.cancel, deadline, |sink| {
            self.get_file(path, sink, deadline)
        })
    }
}

/// Has `fetch` write to a file beside `local`, which then takes that name; to `local` itself where that is a
/// device or pipe.
pub(crate) fn deliver<E: From<ChannelError>>(
    local: &Path,
    cancel: &Cancel,
    deadline: Deadline,
    fetch: impl FnOnce(&mut dyn Write) -> Result<Fetched, E>,
) -> Result<Fetched, E> {
    let write_error = |source: io::Error| ChannelError::Write {
        what: local.display().to_string(),
        source,
    };
    if local.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return fetch(&mut Sink::open(local, cancel, deadline)?);
    }
    let local = &fs::canonicalize(local).unwrap_or_else(|_| local.to_owned());
    let folder = match local.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let missing = format!("there is no directory {}", folder.display());
        return Err(write_error(io::Error::new(io::ErrorKind::NotFound, missing)).into());
    }
    let mut staged = tempfile::Builder::new()
        .prefix(".smolvm-get-")
        .tempfile_in(folder)
        .map_err(write_error)?;
    let fetched = fetch(staged.as_file_mut())?;
    let permissions = Permissions::from_mode(fetched.mode & KEPT_MODE);
    staged
        .as_file()
        .set_permissions(permissions)
        .and_then(|()| staged.persist(local).map_err(|error| error.error))
        .map_err(write_error)?;
    Ok(fetched)
}

fn download(
    exchange: &mut Exchange,
    mut summer: Option<Summer>,
    sink: &mut dyn Write,
    deadline: Deadline,
) -> Result<Fetched, ChannelError> {
    let limit = || deadline.or_earlier(Deadline::after(STALL_LIMIT));
    let write_error = |source| ChannelError::Write {
        what: "the fetched file".to_owned(),
        source,
    };
    let header = exchange
        .answer(limit())
        .map_err(|error| stalled(error, deadline))?;
    let (Some(mode), Some(_)) = (header.mode, header.size) else {
        return Err(ChannelError::not_an_agent(
            "its answer to get_file is no file's header",
        ));
    };
    let mut bytes = 0;
    loop {
        let message = exchange
            .next(limit())
            .map_err(|error| stalled(error, deadline))?;
        match message {
            Message::Bytes(FrameType::DATA, range) => {
                bytes += range.len() as u64;
                let piece = exchange.bytes(range);
                if let Some(summer) = &mut summer {
                    summer.update(piece);
                }
                sink.write_all(piece).map_err(write_error)?;
            }
            Message::EndOfFile => break,
            Message::Bytes(frame_type, _) => return Err(unexpected(frame_type)),
            Message::Control(_) | Message::Entry(_) | Message::Credit(_) => {
                return Err(unexpected(FrameType::JSON));
            }
        }
    }
    sink.flush().map_err(write_error)?;
    if let Some(summer) = summer {
        let told = exchange
            .answer(limit())
            .map_err(|error| stalled(error, deadline))?;
        verify(&told, bytes, summer.finish())?;
    }
    Ok(Fetched { mode, bytes })
}

/// Compares what has come with what the agent tells of what it sent.
fn verify(told: &Answer, bytes: u64, received: Checksum) -> Result<(), ChannelError> {
    let (Some(sent), Some(size)) = (told.sha256, told.size) else {
        return Err(ChannelError::not_an_agent(
            "it tells no SHA-256 sum of the file that it sent",
        ));
    };
    match (sent, size) == (received, bytes) {
        true => Ok(()),
        false => Err(ChannelError::Mismatched { sent, received }),
    }
}
