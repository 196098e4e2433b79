//! Within the guest: how the agent meets a peer that is not the host.

use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::Request;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use vsock::{VsockListener, VsockStream};

/// How long the agent may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Exit status where the agent closed without a word, as it does to a peer that it refuses.
const REFUSED: u8 = 3;

/// Pings the agent on `cid`: exits with 0 where it answers, 3 where it closes without a word, 1 where neither is so.
pub(crate) fn meet(cid: u32, port: u32) -> ExitCode {
    tell(VsockStream::connect_with_cid_port(cid, port).and_then(ping))
}

/// What an agent is handed as its standard input, to serve by `--listen fd:0`.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Inherited {
    /// A socket that listens.
    Listener,
    /// A socket that is connected already.
    Connection,
}

/// As [`meet`], with an agent that inherits a socket whose peer is this very guest.
pub(crate) fn meet_inherited(socket: Inherited, port: u32, options: &[OsString]) -> ExitCode {
    tell(ping_inherited(socket, port, options))
}

fn ping_inherited(socket: Inherited, port: u32, options: &[OsString]) -> io::Result<Vec<u8>> {
    let listener = VsockListener::bind_with_cid_port(vsock::VMADDR_CID_ANY, port)?;
    // Connected before anybody accepts: it waits in the kernel.
    let stream = VsockStream::connect_with_cid_port(vsock::VMADDR_CID_LOCAL, port)?;
    let handed: OwnedFd = match socket {
        Inherited::Listener => listener.into(),
        Inherited::Connection => listener.accept()?.0.into(),
    };
    let mut agent = Command::new("smolvm-guest-agent")
        .args(["--listen", "fd:0"])
        .args(options)
        .stdin(Stdio::from(handed))
        .stderr(Stdio::null())
        .spawn()?;
    let answer = ping(stream);
    agent.kill()?;
    agent.wait()?;
    answer
}

fn tell(answer: io::Result<Vec<u8>>) -> ExitCode {
    match answer {
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
fn ping(mut stream: VsockStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    // A refused connection may be reset before the request is out: that is for the read to tell.
    let _ = stream.write_all(&frame_of(&Request::Ping));
    let (mut decoder, mut payload, mut buffer) = (Decoder::new(), Vec::new(), [0; 4096]);
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        if count == 0 {
            return Ok(payload);
        }
        let mut input = &buffer[..count];
        while let Some(event) = decoder.next(&mut input).map_err(io::Error::other)? {
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
