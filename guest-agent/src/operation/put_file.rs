//! `put_file`: DATA frames into a temporary file beside the target, then a rename over it, once the sum of
//! what came is the one that was asked for.
//!
//! Whatever is wrong with the request or the disk, the payload is read to its end before the answer,
//! so that the host is never cut off while it sends. Unless all went well, nothing is left behind.

use crate::connection::{Arrived, Connection, ConnectionError, Patience};
use crate::host_frames::too_long;
use crate::permits::Permit;
use crate::staged_file::StagedFile;
use crate::{os_error, path};
use sha2::{Digest as _, Sha256};
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::{FrameHeader, FrameType};
use smolvm_protocol::request::{
    Destination, ExpectedSum, FollowingSum, MAX_CONTROL_BYTES, Owner, PutFileRequest,
};
use smolvm_protocol::response::{Refusal, Response};
use smolvm_protocol::text::shown;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// From one byte of the payload to the next.
pub(super) const PAYLOAD_BETWEEN_BYTES: Duration = Duration::from_secs(60);

/// The set-user-ID and set-group-ID bits of a mode.
const SET_ID: u32 = 0o6000;

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: PutFileRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let PutFileRequest { size, destination } = request;
    let upload = destination.and_then(|destination| Upload::begin(&destination));
    *turn = None;
    let upload = receive(connection, size, upload)?;
    match upload.and_then(Upload::finish) {
        Ok(()) => connection.answer(&Response::Stored, None),
        Err(refusal) => super::refuse(connection, "put_file", &refusal),
    }
}

/// An upload that can go on.
struct Upload {
    file: StagedFile,
    /// The sum that the bytes must have, and theirs so far.
    sum: Option<(ExpectedSum, Sha256)>,
    owner: Owner,
    mode: Option<u32>,
    sync: bool,
}

impl Upload {
    fn begin(destination: &Destination) -> Result<Self, Refusal> {
        let target = target(destination)?;
        let owner = destination.owner;
        let sets_id = destination.mode.is_some_and(|mode| mode & SET_ID != 0);
        let is_hidden = sets_id && owner != Owner::default();
        let file = StagedFile::create(&target, is_hidden)
            .map_err(|error| cannot_create(&error, &target))?;
        Ok(Self {
            file,
            sum: destination.sha256.map(|sum| (sum, Sha256::new())),
            owner,
            mode: destination.mode,
            sync: destination.sync,
        })
    }

    fn lacks_its_sum(&self) -> bool {
        matches!(self.sum, Some((ExpectedSum::Follows, _)))
    }

    /// Takes the frame with the sum.
    fn expect(&mut self, json: &[u8]) -> Result<(), Refusal> {
        let FollowingSum(wanted) = FollowingSum::parse(json)?;
        if let Some((expected, _)) = &mut self.sum {
            *expected = ExpectedSum::Given(wanted);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if let Some((_, sum)) = &mut self.sum {
            sum.update(bytes);
        }
        self.file
            .write(bytes)
            .map_err(|error| Refusal::new(os_error::sentence(&error)))
    }

    fn finish(self) -> Result<(), Refusal> {
        if let Some((ExpectedSum::Given(wanted), sum)) = self.sum {
            let arrived = Checksum(sum.finalize().into());
            if arrived != wanted {
                return Err(Refusal::new(format!(
                    "the content that arrived has the SHA-256 sum {arrived}, not the {wanted} of 'sha256'"
                )));
            }
        }
        if self.owner != Owner::default() {
            self.file.give_to(self.owner).map_err(|error| {
                Refusal::new(format!(
                    "cannot set the owner: {}",
                    os_error::sentence(&error)
                ))
            })?;
        }
        self.file
            .commit(self.mode, self.sync)
            .map_err(|error| Refusal::new(os_error::sentence(&error)))
    }
}

fn cannot_create(error: &io::Error, target: &[u8]) -> Refusal {
    let sentence = os_error::sentence_about(error, target);
    Refusal::new(["cannot create file: ", &sentence].concat())
}

/// The file that a request means: `path` made absolute, or, where that is a directory, the last
/// component of `name` within it.
fn target(destination: &Destination) -> Result<Vec<u8>, Refusal> {
    let target = absolute(&destination.path)?;
    match fs::metadata(OsStr::from_bytes(&target)) {
        Ok(found) if found.is_dir() => {}
        Err(error) if !os_error::is_of_path(&error) => return Err(cannot_create(&error, &target)),
        _ => return Ok(target),
    }
    let name = destination.name.as_deref().unwrap_or_default();
    inside(target, name, &destination.path)
}

/// `path` against the agent's working directory.
pub(super) fn absolute(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    let working_directory = if path.starts_with(b"/") {
        Vec::new()
    } else {
        let directory = std::env::current_dir().map_err(|error| {
            Refusal::new(format!(
                "cannot create file: {}",
                os_error::sentence(&error)
            ))
        })?;
        directory.into_os_string().into_vec()
    };
    Ok(path::absolute(path, &working_directory))
}

/// The last component of `name` within the directory `target`, which a host has called `path`.
pub(super) fn inside(mut target: Vec<u8>, name: &[u8], path: &[u8]) -> Result<Vec<u8>, Refusal> {
    match path::last_component(name) {
        b"" => Err(Refusal::new(format!(
            "destination is a directory and no filename was provided: {}",
            shown(path)
        ))),
        b"." | b".." => Err(Refusal::new(format!(
            "destination filename is invalid: {} (cannot be '.' or '..')",
            shown(name)
        ))),
        last => {
            target.push(b'/');
            target.extend_from_slice(last);
            Ok(target)
        }
    }
}

/// Reads `size` bytes of payload into `upload`, and the sum where it follows; after a failure, past the payload.
fn receive(
    connection: &mut Connection<'_>,
    size: u64,
    mut upload: Result<Upload, Refusal>,
) -> Result<Result<Upload, Refusal>, ConnectionError> {
    let patience = Patience {
        between_bytes: PAYLOAD_BETWEEN_BYTES,
        until: None,
    };
    let mut remaining = size;
    if remaining > 0 {
        connection.expect_bulk();
    }
    let mut frame_type = FrameType::DATA;
    let mut sum = Vec::new();
    while remaining > 0 || upload.as_ref().is_ok_and(Upload::lacks_its_sum) {
        let taken = match (connection.next_event(&patience), &mut upload) {
            (Ok(Arrived::Header(header)), _) => {
                if let Err(refusal) = check(header, frame_type, remaining) {
                    return Ok(upload.and(Err(refusal)));
                }
                frame_type = header.frame_type;
                Ok(())
            }
            (Ok(Arrived::Payload(range)), _) if frame_type == FrameType::JSON => {
                sum.extend_from_slice(connection.bytes(range));
                Ok(())
            }
            (Ok(Arrived::Payload(range)), upload) => {
                remaining -= range.len() as u64;
                let bytes = connection.bytes(range);
                upload.as_mut().map_or(Ok(()), |upload| upload.write(bytes))
            }
            (Ok(Arrived::End), Ok(upload)) if frame_type == FrameType::JSON => upload.expect(&sum),
            (Ok(Arrived::End), _) => Ok(()),
            (Err(ConnectionError::Frame(error)), _) => {
                return Ok(upload.and(Err(Refusal::new(format!("bad upload: {error}")))));
            }
            (Err(error), _) => return Err(error),
        };
        if let Err(refusal) = taken {
            upload = Err(refusal);
        }
    }
    Ok(upload)
}

/// Whether a frame can come behind one of type `last`, with `remaining` bytes of the payload missing; with none, it is the sum's turn.
fn check(header: FrameHeader, last: FrameType, remaining: u64) -> Result<(), Refusal> {
    let length = header.payload_bytes as usize;
    match header.frame_type {
        FrameType::JSON if last == FrameType::EOF && length <= MAX_CONTROL_BYTES => Ok(()),
        FrameType::JSON if last == FrameType::EOF => Err(too_long(length)),
        FrameType::EOF if last != FrameType::EOF && remaining == 0 && length == 0 => Ok(()),
        FrameType::DATA if last != FrameType::EOF && length as u64 <= remaining => Ok(()),
        FrameType::DATA if last != FrameType::EOF => Err(Refusal::new(format!(
            "the upload is longer than 'size': a frame of {length} bytes came where {remaining} were left"
        ))),
        FrameType::EOF if remaining > 0 => Err(Refusal::new(format!(
            "the upload ended {remaining} bytes before 'size'"
        ))),
        other => Err(Refusal::new(format!(
            "unexpected frame type {other} during upload"
        ))),
    }
}
