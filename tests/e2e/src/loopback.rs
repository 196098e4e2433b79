//! Within the guest: how the agent meets a peer that is not the host.

use crate::client::{Client, frame_of};
use smolvm_protocol::request::Request;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use vsock::{VsockListener, VsockStream};

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

/// What an agent that inherits such a socket answers to a ping.
pub(crate) fn ping_inherited(
    socket: Inherited,
    port: u32,
    options: &[OsString],
) -> io::Result<Vec<u8>> {
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

/// What is answered to a ping; nothing where the connection is closed without a word.
fn ping(stream: VsockStream) -> io::Result<Vec<u8>> {
    let mut client = Client::over(stream)?;
    // A refused connection may be reset before the request is out: that is for the read to tell.
    let _ = client.write(&frame_of(&Request::Ping));
    match client.receive_all() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Vec::new()),
        other => Ok(other?.control.into_iter().next().unwrap_or_default()),
    }
}
