//! One connection to something that is measured: a Unix socket, a VMM's `CONNECT` socket, or a CID.
//!
//! Owns how it is made and read. As little as can be is done here, since what it costs is counted on every side alike.

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, encode_frame};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use vsock::{VsockAddr, VsockStream};

/// Nothing that is measured is silent for as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one read takes at most.
pub(crate) const READ_BYTES: usize = 128 * 1024;

/// What the first read of an answer takes.
const SHORT_BYTES: usize = 4096;

/// Where something listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// A VMM's socket, which wants to be told the port.
    Connect(PathBuf, u32),
    Vsock(u32, u32),
}

/// An open stream.
pub(crate) struct Connection(OwnedFd);

impl Connection {
    pub(crate) fn open(address: &Address) -> Result<Self> {
        let opened = match address {
            Address::Unix(path) => Self(UnixStream::connect(path)?.into()),
            Address::Connect(path, port) => {
                let mut opened = Self(UnixStream::connect(path)?.into());
                opened.ask_for(*port)?;
                opened
            }
            Address::Vsock(cid, port) => {
                Self(VsockStream::connect(&VsockAddr::new(*cid, *port))?.into())
            }
        };
        set_socket_timeout(&opened.0, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(&opened.0, Timeout::Send, Some(PATIENCE))?;
        Ok(opened)
    }

    /// Byte by byte: what follows the line is the guest's.
    fn ask_for(&mut self, port: u32) -> Result<()> {
        self.write_all(format!("CONNECT {port}\n").as_bytes())?;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            ensure!(self.read(&mut byte)? == 1, "the VMM's socket ended");
            line.push(byte[0]);
        }
        ensure!(line.starts_with(b"OK"), "the VMM said no");
        Ok(())
    }

    pub(crate) fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(patience))?)
    }

    /// Sends a request of the protocol.
    pub(crate) fn request(&mut self, request: &serde_json::Value) -> Result<()> {
        let frame = encode_frame(FrameType::JSON, request.to_string().as_bytes());
        Ok(self.write_all(&frame)?)
    }

    /// Reads frames until a control frame that says `ok`, or the end of a file; what the former said, and how much else came.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        // Most answers are short: a large buffer is made for those alone that are not.
        let mut short = [0; SHORT_BYTES];
        let mut long = Vec::new();
        let mut decoder = Decoder::new();
        let mut answer = Answer::default();
        let mut control = Vec::new();
        let mut frame_type = FrameType::EOF;
        loop {
            let buffer = match long.is_empty() {
                true => &mut short[..],
                false => &mut long,
            };
            let got = self.read(buffer).context("no answer")?;
            ensure!(got > 0, "the connection ended without an answer");
            let mut rest = &buffer[..got];
            while let Some(event) = decoder.next(&mut rest)? {
                match event {
                    Event::Header(header) => frame_type = header.frame_type,
                    Event::Payload(part) if frame_type == FrameType::JSON => control.extend(part),
                    Event::Payload(part) => answer.payload_bytes += part.len() as u64,
                    Event::End if frame_type == FrameType::EOF => return Ok(answer),
                    Event::End if frame_type == FrameType::JSON => {
                        let told: serde_json::Value = serde_json::from_slice(&control)?;
                        control.clear();
                        if told["ok"] == false {
                            bail!("refused: {}", told["error"]);
                        }
                        answer.is_download = told.get("size").is_some() && told.get("op").is_none();
                        if told["ok"] == true && !answer.is_download {
                            answer.exit_code = told["exit_code"].as_i64();
                            return Ok(answer);
                        }
                    }
                    Event::End => {}
                }
            }
            long.resize(READ_BYTES, 0);
        }
    }

    /// Credit that a stream's other side gives, in bytes; none where that comes no more.
    pub(crate) fn credit(&mut self) -> Result<Option<u64>> {
        let mut header = [0; HEADER_BYTES];
        match self.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let header = FrameHeader::decode(header)?;
        let mut payload = vec![0; header.payload_bytes as usize];
        self.read_exact(&mut payload)?;
        let told: serde_json::Value = serde_json::from_slice(&payload)?;
        Ok(Some(told["bytes"].as_u64().context("this is no credit")?))
    }

    /// Reads to the end; how much it was.
    pub(crate) fn drain(&mut self) -> Result<u64> {
        let mut buffer = [0; READ_BYTES];
        let mut total = 0;
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(total),
                got => total += got as u64,
            }
        }
    }

    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&self.0, &mut *buffer)
        })?)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        Ok(rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.0, bytes, flags)
        })?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a request came to.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Bytes of output or of a file.
    pub(crate) payload_bytes: u64,
    pub(crate) exit_code: Option<i64>,
    is_download: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a host reads of an agent that sends these frames and then closes.
    fn answer_to(frames: &[(FrameType, &[u8])]) -> Result<Answer> {
        let (host, mut agent) = UnixStream::pair().unwrap();
        for (frame_type, payload) in frames {
            agent
                .write_all(&encode_frame(*frame_type, payload))
                .unwrap();
        }
        drop(agent);
        Connection(host.into()).answer()
    }

    #[test]
    fn output_is_counted_until_the_exit() {
        let long = vec![0; SHORT_BYTES * 3];
        let answer = answer_to(&[
            (FrameType::STDOUT, &long),
            (FrameType::STDERR, b"more"),
            (FrameType::JSON, br#"{"ok":true,"op":"exit","exit_code":3}"#),
        ]);
        let answer = answer.unwrap();
        assert_eq!(answer.payload_bytes, long.len() as u64 + 4);
        assert_eq!(answer.exit_code, Some(3));
    }

    #[test]
    fn file_ends_with_its_last_frame_not_with_its_header() {
        let answer = answer_to(&[
            (FrameType::JSON, br#"{"ok":true,"mode":420,"size":3}"#),
            (FrameType::DATA, b"abc"),
            (FrameType::EOF, b""),
        ]);
        assert_eq!(answer.unwrap().payload_bytes, 3);
    }

    #[test]
    fn refusal_is_an_error_with_its_reason() {
        let error = answer_to(&[(FrameType::JSON, br#"{"ok":false,"error":"no file"}"#)]);
        assert!(error.unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn end_without_an_answer_is_an_error() {
        assert!(answer_to(&[(FrameType::STDOUT, b"some")]).is_err());
    }
}
