//! Links of a user's that stand where the host has the agent go.

use super::super::own_agent::OwnAgent;
use super::{Folder, Put, ROOTS, USER, run_as_user, told};
use crate::client::frame_of;
use crate::guest::{Checked, holds, same};
use smolvm_protocol::request::{GetFileRequest, Request};
use std::fs;
use std::path::Path;

/// A link in a folder that is everybody's and sticky.
const LINK: &str = "/tmp/within-link";

/// Whether the last part of a path is followed only where it is the reader's own, or its folder's owner's.
const SETTING: &str = "/proc/sys/fs/protected_symlinks";

const CONTENT: &[u8] = b"the host's";

/// Makes such a link as the user.
fn link(agent: &OwnAgent, to: &Path, at: &Path) -> Checked {
    let line = format!("ln -s {} {}", to.display(), at.display());
    let made = run_as_user(agent, &line)?;
    same("exit code of ln", &made.answer()?.exit_code, &Some(0))
}

fn put_through(agent: &OwnAgent, link: &Path) -> Checked {
    let path = link.join("file");
    Put {
        path: &path,
        owner: ROOTS,
        mode: None,
        content: CONTENT,
    }
    .by(agent)
}

fn get(agent: &OwnAgent, path: &Path) -> Result<bool, String> {
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    Ok(agent
        .ask(&frame_of(&Request::GetFile(GetFileRequest {
            path,
            sha256: false,
        })))?
        .answer()?
        .ok)
}

pub(crate) fn in_tmp(agent: &OwnAgent) -> Checked {
    let roots = Folder::of(0, "roots")?;
    fs::write(roots.path("secret"), CONTENT).map_err(told)?;
    let at = Path::new(LINK);
    link(agent, &roots.0, at)?;
    let stored = put_through(agent, at);
    fs::write(SETTING, "0").map_err(told)?;
    let stored_without = put_through(agent, at);
    fs::write(SETTING, "1").map_err(told)?;
    fs::remove_file(LINK).map_err(told)?;
    link(agent, &roots.path("secret"), at)?;
    let fetched = get(agent, at);
    fs::remove_file(LINK).map_err(told)?;
    let is_refused = stored
        .as_ref()
        .is_err_and(|error| error.contains("Permission denied"));
    holds(&format!("put: {stored:?}"), is_refused)?;
    stored_without?;
    holds("got what the link leads to", !fetched?)?;
    agent.rests()
}

pub(crate) fn followed(agent: &OwnAgent) -> Checked {
    let roots = Folder::of(0, "roots")?;
    let own = Folder::of(USER, "own")?;
    fs::write(roots.path("secret"), CONTENT).map_err(told)?;
    let at = own.path("link");
    link(agent, &roots.0, &at)?;
    put_through(agent, &at)?;
    holds("not got through the link", get(agent, &at.join("secret"))?)?;
    same(
        "what was put",
        &fs::read(roots.path("file")).map_err(told)?.as_slice(),
        &CONTENT,
    )?;
    // What runs as that user goes nowhere that the user may not.
    let line = format!("echo no >{}", at.join("other").display());
    let ran = run_as_user(agent, &line)?;
    holds("the user wrote there", ran.answer()?.exit_code != Some(0))?;
    same(
        "names",
        &roots.names()?,
        &["file", "secret"].map(str::to_owned).to_vec(),
    )?;
    agent.rests()
}
