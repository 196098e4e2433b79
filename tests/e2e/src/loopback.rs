//! Within the guest: how the agent meets a peer that is not the host.

use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::Request;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use vsock::VsockStream;

/// How long the agent may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Exit status where the agent closed without a word, as it does to a peer that it refuses.
const REFUSED: u8 = 3;

/// Pings the agent on `cid`: exits with 0 where it answers, 3 where it closes without a word, 1 where neither is so.
pub(crate) fn meet(cid: u32, port: u32) -> ExitCode {
    match ping(cid, port) {
        Ok(answer) if answer.is_empty() => {
            println!("closed without a word");
            ExitCode::from(REFUSED)
        }
        Ok(answer) if answer.starts_with(b"{\"ok\": true, \"op\": \"pong\"") => {
            println!("answered");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            println!("answered with {}", String::from_utf8_lossy(&answer));
            ExitCode::from(1)
        }
        Err(error) => {
            println!("{error}");
            ExitCode::from(1)
        }
    }
}

/// The first frame's payload, empty where none comes before the end.
fn ping(cid: u32, port: u32) -> std::io::Result<Vec<u8>> {
    let mut stream = VsockStream::connect_with_cid_port(cid, port)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // A refused connection may be reset before the request is out: that is for the read to tell.
    let _ = stream.write_all(&frame_of(&Request::Ping));
    let (mut decoder, mut payload, mut buffer) = (Decoder::new(), Vec::new(), [0; 4096]);
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        if count == 0 {
            return Ok(payload);
        }
        let mut input = &buffer[..count];
        while let Some(event) = decoder.next(&mut input).map_err(std::io::Error::other)? {
            match event {
                Event::Payload(bytes) => payload.extend_from_slice(bytes),
                Event::End => return Ok(payload),
                Event::Header(_) => {}
            }
        }
    }
}

/// A request as it is sent.
pub(crate) fn frame_of(request: &Request) -> Vec<u8> {
    encode_frame(FrameType::JSON, request.to_json().as_bytes())
}
