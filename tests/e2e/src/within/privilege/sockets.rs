//! The ways to connect to the agent, or to be taken for it.

use super::super::own_agent::{OwnAgent, PORT};
use super::{DONE, REFUSED, as_user, attack, told};
use crate::client::LIMIT;
use crate::guest::{Checked, holds, same};
use crate::process::wait_until;
use smolvm_protocol::AGENT_PORT;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VMADDR_CID_LOCAL, get_local_cid};

/// Exit status of `smolvm-e2e loopback` where it was closed without a word.
const CLOSED: i32 = 3;

/// A port that nobody has.
const FREE_PORT: u32 = 2050;

const SOCKET: &str = "/tmp/within-agent.sock";

fn own_cids() -> Result<[u32; 2], String> {
    Ok([VMADDR_CID_LOCAL, get_local_cid().map_err(told)?])
}

pub(crate) fn loopback(agent: &OwnAgent) -> Checked {
    let meet = |cid: u32, port: u32| -> Result<Option<i32>, String> {
        let words = ["loopback", &cid.to_string(), &port.to_string()];
        Ok(as_user(&words)?
            .stdout(Stdio::null())
            .status()
            .map_err(told)?
            .code())
    };
    for cid in own_cids()? {
        same(
            &format!("exit status at CID {cid}"),
            &meet(cid, AGENT_PORT)?,
            &Some(CLOSED),
        )?;
    }
    // The same attempt where that CID is allowed.
    same(
        "exit status where it is allowed",
        &meet(VMADDR_CID_LOCAL, PORT)?,
        &Some(0),
    )?;
    agent.rests()
}

pub(crate) fn port(_: &OwnAgent) -> Checked {
    let bind = |cid: u32, port: u32| -> Result<String, String> {
        Ok(attack(&["bind", &cid.to_string(), &port.to_string()])?
            .of("bind")
            .to_owned())
    };
    let [local, own] = own_cids()?;
    for cid in [VMADDR_CID_ANY, local, own] {
        same(
            &format!("the agent's port at CID {cid}"),
            &bind(cid, AGENT_PORT)?.as_str(),
            &"AddrInUse",
        )?;
    }
    same(
        "a free port",
        &bind(VMADDR_CID_ANY, FREE_PORT)?.as_str(),
        &DONE,
    )?;
    // Who could have the host's CID would be served.
    same(
        "the host's CID",
        &bind(VMADDR_CID_HOST, FREE_PORT)?.as_str(),
        &"AddrNotAvailable",
    )
}

pub(crate) fn unix(_: &OwnAgent) -> Checked {
    let mut agent = Command::new("smolvm-guest-agent")
        .args(["--listen", &format!("unix:{SOCKET}")])
        .stderr(Stdio::null())
        .spawn()
        .map_err(told)?;
    let outcome = reach();
    end(&mut agent)?;
    outcome
}

fn reach() -> Checked {
    wait_until("the socket is there", LIMIT, || Path::new(SOCKET).exists())?;
    let reach = || attack(&["reach", SOCKET]);
    reach()?.all_went(REFUSED)?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).map_err(told)?;
    reach()?.all_went(DONE)
}

fn end(agent: &mut Child) -> Checked {
    let status = agent.kill().and_then(|()| agent.wait()).map_err(told)?;
    let _ = fs::remove_file(SOCKET);
    holds("the agent had ended by itself", status.code().is_none())
}
