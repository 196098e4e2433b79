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
use smolvm_protocol::frame::{FrameError, FrameHeader, FrameType};
use smolvm_protocol::request::{
    Destination, ExpectedSum, FollowingSum, MAX_CONTROL_BYTES, Owner, PutFileRequest,
};
use smolvm_protocol::response::{Refusal, Response};
use smolvm_protocol::text::shown;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::time::Duration;

/// From one byte of the payload to the next.
pub(super) const PAYLOAD_BETWEEN_BYTES: Duration = Duration::from_secs(60);

const PATIENCE: Patience = Patience {
    between_bytes: PAYLOAD_BETWEEN_BYTES,
    until: None,
};

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: PutFileRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let PutFileRequest { size, destination } = request;
    let upload = destination.and_then(|destination| Upload::begin(&destination));
    *turn = None;
    let mut upload = receive(connection, size, upload)?;
    if let Ok(Upload {
        sum: Some((expected @ ExpectedSum::Follows, _)),
        ..
    }) = &mut upload
    {
        match receive_sum(connection)? {
            Ok(FollowingSum(sum)) => *expected = ExpectedSum::Given(sum),
            Err(refusal) => upload = Err(refusal),
        }
    }
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
        let file = StagedFile::create(&target).map_err(|error| {
            let sentence = os_error::sentence_about(&error, &target);
            Refusal::new(format!("cannot create file: {sentence}"))
        })?;
        Ok(Self {
            file,
            sum: destination.sha256.map(|sum| (sum, Sha256::new())),
            owner: destination.owner,
            mode: destination.mode,
            sync: destination.sync,
        })
    }

    fn write(mut self, bytes: &[u8]) -> Result<Self, Refusal> {
        if let Some((_, sum)) = &mut self.sum {
            sum.update(bytes);
        }
        match self.file.write(bytes) {
            Ok(()) => Ok(self),
            Err(error) => Err(Refusal::new(os_error::sentence(&error))),
        }
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

/// The file that a request means: `path` made absolute, or, where that is a directory, the last
/// component of `name` within it.
fn target(destination: &Destination) -> Result<Vec<u8>, Refusal> {
    let target = absolute(&destination.path)?;
    if !Path::new(OsStr::from_bytes(&target)).is_dir() {
        return Ok(target);
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

/// Reads `size` bytes of payload into `upload`; after a failure, past it.
fn receive(
    connection: &mut Connection<'_>,
    size: u64,
    mut upload: Result<Upload, Refusal>,
) -> Result<Result<Upload, Refusal>, ConnectionError> {
    let mut remaining = size;
    if remaining > 0 {
        connection.expect_bulk();
    }
    while remaining > 0 {
        match connection.next_event(&PATIENCE) {
            Ok(Arrived::Header(header)) => {
                if let Err(refusal) = check(header, remaining) {
                    return Ok(upload.and(Err(refusal)));
                }
            }
            Ok(Arrived::Payload(range)) => {
                let bytes = connection.bytes(range);
                remaining -= bytes.len() as u64;
                upload = upload.and_then(|upload| upload.write(bytes));
            }
            Ok(Arrived::End) => {}
            Err(ConnectionError::Frame(error)) => {
                return Ok(upload.and(Err(broken(error))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(upload)
}

/// Reads what is behind the payload where the sum follows: the end of the file, and the frame with the sum.
fn receive_sum(
    connection: &mut Connection<'_>,
) -> Result<Result<FollowingSum, Refusal>, ConnectionError> {
    // The one under way, or that before the next: the last of the payload, whose end is not taken yet.
    let mut frame_type = FrameType::DATA;
    let mut json = Vec::new();
    loop {
        match connection.next_event(&PATIENCE) {
            Ok(Arrived::Header(header)) => {
                if let Err(refusal) = check_behind(frame_type, header) {
                    return Ok(Err(refusal));
                }
                frame_type = header.frame_type;
            }
            Ok(Arrived::Payload(range)) if frame_type == FrameType::JSON => {
                json.extend_from_slice(connection.bytes(range));
            }
            Ok(Arrived::End) if frame_type == FrameType::JSON => {
                return Ok(FollowingSum::parse(&json));
            }
            Ok(Arrived::Payload(_) | Arrived::End) => {}
            Err(ConnectionError::Frame(error)) => return Ok(Err(broken(error))),
            Err(error) => return Err(error),
        }
    }
}

fn broken(error: FrameError) -> Refusal {
    Refusal::new(format!("bad upload: {error}"))
}

/// Whether a frame can come after one of type `last`, with the payload complete and its sum missing.
fn check_behind(last: FrameType, header: FrameHeader) -> Result<(), Refusal> {
    let length = header.payload_bytes as usize;
    match (last, header.frame_type) {
        (FrameType::EOF, FrameType::JSON) if length > MAX_CONTROL_BYTES => Err(too_long(length)),
        (FrameType::EOF, FrameType::JSON) => Ok(()),
        (FrameType::EOF, other) => Err(Refusal::new(format!(
            "unexpected frame type {other} where the upload's sum must follow"
        ))),
        (_, FrameType::EOF) => Ok(()),
        _ => check(header, 0),
    }
}

/// Whether a frame can be the next of a payload of which `remaining` bytes are missing.
fn check(header: FrameHeader, remaining: u64) -> Result<(), Refusal> {
    match header.frame_type {
        FrameType::DATA if u64::from(header.payload_bytes) <= remaining => Ok(()),
        FrameType::DATA => Err(Refusal::new(format!(
            "the upload is longer than 'size': a frame of {} bytes came where {remaining} were left",
            header.payload_bytes
        ))),
        FrameType::EOF => Err(Refusal::new(format!(
            "the upload ended {remaining} bytes before 'size'"
        ))),
        other => Err(Refusal::new(format!(
            "unexpected frame type {other} during upload"
        ))),
    }
}
