//! `get_file`: a header with the file's mode and size, its content in DATA frames, EOF; and the sum of what
//! was sent, where that is asked for.
//!
//! The content is streamed to its real end, whatever `stat` said: files of `/proc` say 0. Opening
//! never blocks, and a file that is none by then is refused. After the header an error can only be
//! told by closing without EOF.

use crate::connection::{Connection, ConnectionError};
use crate::os_error;
use crate::permits::Permit;
use crate::sys::file;
use sha2::{Digest as _, Sha256};
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, encode_frame};
use smolvm_protocol::request::GetFileRequest;
use smolvm_protocol::response::{Refusal, Response};
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: GetFileRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let opened = open(&request.path);
    let mut sent = request.sha256.then(Sent::default);
    drop(request);
    *turn = None;
    let (file, metadata) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return super::refuse(connection, "get_file", &refusal),
    };
    let header = Response::File {
        mode: metadata.mode() & 0o7777,
        size: metadata.size(),
    };
    connection.answer(&header, None)?;
    let mut frame = frame(connection);
    stream(connection, file.as_fd(), &mut frame, sent.as_mut())?
        .map_err(ConnectionError::System)?;
    let Some(Sent { sum, bytes }) = sent else {
        return Ok(());
    };
    let last = Response::FileSent {
        sha256: Checksum(sum.finalize().into()),
        size: bytes,
    };
    connection.answer(&last, None)
}

fn open(path: &[u8]) -> Result<(File, Metadata), Refusal> {
    let failed = |error: io::Error| Refusal::new(os_error::sentence_about(&error, path));
    let no_file = || Refusal::new("not a regular file");
    let name = OsStr::from_bytes(path);
    // Looked at before it is opened, since opening a device can do something.
    if !std::fs::metadata(name).map_err(failed)?.is_file() {
        return Err(no_file());
    }
    // And once more, since another thing may stand there now; a FIFO must not block.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(name)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(no_file())
    }
}

/// The kernel copies to the begin of a cache line faster than elsewhere.
const CACHE_LINE_BYTES: usize = 64;

/// A buffer for [`stream`].
pub(super) fn frame(connection: &Connection<'_>) -> Vec<u8> {
    Vec::with_capacity(CACHE_LINE_BYTES + HEADER_BYTES + connection.chunk_bytes())
}

/// Where a frame begins in its buffer so that its payload begins with a cache line.
fn start_of(frame: &[u8]) -> usize {
    (frame.as_ptr() as usize + HEADER_BYTES).wrapping_neg() % CACHE_LINE_BYTES
}

/// What was sent of a file.
#[derive(Default)]
pub(super) struct Sent {
    sum: Sha256,
    bytes: u64,
}

/// Sends what can be read from `file` as DATA frames and EOF, which is missing where reading fails. `sent` is told of all bytes.
pub(super) fn stream(
    connection: &mut Connection<'_>,
    file: BorrowedFd<'_>,
    frame: &mut Vec<u8>,
    mut sent: Option<&mut Sent>,
) -> Result<io::Result<()>, ConnectionError> {
    let start = start_of(frame);
    let payload = start + HEADER_BYTES;
    loop {
        frame.clear();
        frame.resize(payload, 0);
        let length = match file::read_at_most(file, frame, connection.chunk_bytes()) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        if length == 0 {
            connection.send_all(&encode_frame(FrameType::EOF, b""), None)?;
            return Ok(Ok(()));
        }
        let header = FrameHeader::new(FrameType::DATA, length).encode();
        frame[start..payload].copy_from_slice(&header);
        connection.send_all(&frame[start..], None)?;
        // Sent first, so that the host has something to do meanwhile.
        if let Some(sent) = &mut sent {
            sent.sum.update(&frame[payload..]);
            sent.bytes += length as u64;
        }
    }
}
