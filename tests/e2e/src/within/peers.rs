//! Whom an agent serves over AF_VSOCK, seen by the guest's own processes, which have CID 1.

use super::own_agent::OwnAgent;
use crate::client::{Client, frame_of};
use crate::guest::{Checked, holds, same};
use crate::loopback::{Inherited, ping_inherited};
use smolvm_protocol::AGENT_PORT;
use smolvm_protocol::request::{Destination, GetFileRequest, PutFileRequest, Request};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use vsock::VMADDR_CID_LOCAL;

/// Where an inherited socket listens.
const INHERITED_PORT: u32 = 2049;

/// What a request that must not be carried out would leave.
const TRACE: &str = "/tmp/within-trace";

/// The guest's agent serves its host alone.
pub(crate) fn refused(agent: &OwnAgent) -> Checked {
    let mut client =
        Client::connect(VMADDR_CID_LOCAL, AGENT_PORT).map_err(|error| error.to_string())?;
    // The refusal may be there before the request is out.
    let _ = client.run(&format!("touch {TRACE}"));
    match client.receive_all() {
        Ok(received) => same("answers", &received.control.len(), &0)?,
        Err(error) => same("the end", &error.kind(), &io::ErrorKind::ConnectionReset)?,
    }
    holds("the request was carried out", !Path::new(TRACE).exists())?;
    agent.rests()
}

pub(crate) fn inherited(agent: &OwnAgent) -> Checked {
    let allow = ["--allow-cid", "1"].map(OsString::from);
    let another = ["--allow-cid", "7"].map(OsString::from);
    for socket in [Inherited::Listener, Inherited::Connection] {
        for (options, is_served) in [(&[][..], false), (&another[..], false), (&allow[..], true)] {
            let answer = ping_inherited(socket, INHERITED_PORT, options)
                .map_err(|error| format!("{options:?}: {error}"))?;
            let shown = String::from_utf8_lossy(&answer);
            let what = format!("with {options:?}, the answer is '{shown}'");
            holds(
                &what,
                shown.contains("pong") == is_served && shown.is_empty() != is_served,
            )?;
        }
    }
    agent.rests()
}

pub(crate) fn allowed(agent: &OwnAgent) -> Checked {
    agent.ping()?;
    let run = agent.run("echo out; echo err >&2; exit 5")?;
    let ran = run.receive_all().map_err(|error| error.to_string())?;
    same("bytes of both streams", &ran.content.bytes, &8)?;
    same("exit code", &ran.answer()?.exit_code, &Some(5))?;
    let path = TRACE.as_bytes().to_vec();
    let mut put = frame_of(&Request::PutFile(PutFileRequest {
        size: 4,
        destination: Ok(Destination {
            path: path.clone(),
            ..Destination::default()
        }),
    }));
    put.extend_from_slice(b"\x04\0\0\0\x04four\x05\0\0\0\0");
    let stored = agent.ask(&put)?.answer()?;
    let get = frame_of(&Request::GetFile(GetFileRequest {
        path,
        sha256: false,
    }));
    let fetched = agent.ask(&get);
    let _ = std::fs::remove_file(TRACE);
    holds(&format!("stored: {stored:?}"), stored.ok)?;
    let fetched = fetched?;
    same("size", &fetched.answer()?.size, &Some(4))?;
    same("bytes fetched", &fetched.content.bytes, &4)?;
    agent.rests()
}
