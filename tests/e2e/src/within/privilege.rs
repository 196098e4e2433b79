//! What a user of the guest who is not root gets of the agent: nothing, whatever is tried.
//!
//! The program is the host then, whom its own agent serves, and has the same program attack as that user. Each attempt is
//! tried as well where it is allowed, so that one which could not work would be seen.

mod files;
mod image;
mod links;
mod processes;
mod sockets;
mod terminals;

pub(crate) use files::{kept, set_group_id, swapped, target};
pub(crate) use image::{files as image_files, settings};
pub(crate) use links::{followed, in_tmp};
pub(crate) use processes::{agent as agents_processes, given, starting};
pub(crate) use sockets::{loopback, port, unix};
pub(crate) use terminals::{held, of_another, pushed};

use super::own_agent::OwnAgent;
use crate::client::{LIMIT, Received, frame_of};
use crate::guest::{Checked, holds, same};
use crate::process::wait_until;
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::{Destination, Owner, PutFileRequest, Request};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The attacker: nobody's number, in no group of anybody's.
pub(crate) const USER: u32 = 65534;

fn told(error: impl ToString) -> String {
    error.to_string()
}

/// This program, with such words, as the attacker.
fn as_user(words: &[&str]) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(told)?);
    command
        .args(words)
        .uid(USER)
        .gid(USER)
        .current_dir("/")
        .stdin(Stdio::null());
    Ok(command)
}

/// How attempts went, by what was tried.
#[derive(Debug)]
struct Attempts(BTreeMap<String, String>);

impl Attempts {
    fn parse(output: &str) -> Self {
        let lines = output.lines().filter_map(|line| line.split_once(' '));
        Self(
            lines
                .map(|(what, how)| (what.to_owned(), how.to_owned()))
                .collect(),
        )
    }

    /// What was told of one.
    fn of(&self, what: &str) -> &str {
        self.0.get(what).map_or("", String::as_str)
    }

    fn number(&self, what: &str) -> Result<u32, String> {
        self.of(what)
            .parse()
            .map_err(|_| format!("{what}: {self:?}"))
    }

    /// That each attempt went `how`, and that there was one.
    fn all_went(&self, how: &str) -> Checked {
        let differ: Vec<_> = self.0.iter().filter(|(_, went)| *went != how).collect();
        holds(
            &format!("not {how}: {differ:?} of {} attempts", self.0.len()),
            differ.is_empty() && !self.0.is_empty(),
        )
    }

    /// Leaves one out.
    fn without(mut self, what: &str) -> Self {
        self.0.remove(what);
        self
    }
}

const REFUSED: &str = "PermissionDenied";
const DONE: &str = "done";

/// Attacks, and tells how that went.
fn attack(words: &[&str]) -> Result<Attempts, String> {
    let output = as_user(&[&["attack"], words].concat())?
        .output()
        .map_err(told)?;
    Ok(Attempts::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// An attack under way.
struct Attacker {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Attacker {
    /// Starts one, and waits until it is ready.
    fn start(words: &[&str]) -> Result<Self, String> {
        let mut command = as_user(&[&["attack"], words].concat())?;
        let mut process = command.stdout(Stdio::piped()).spawn().map_err(told)?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut attacker = Self {
            process,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        attacker.output.read_line(&mut line).map_err(told)?;
        same("the attacker's first word", &line.trim_end(), &"ready")?;
        Ok(attacker)
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its end, and tells how its attempts went.
    fn attempts(mut self) -> Result<Attempts, String> {
        let mut output = String::new();
        self.output.read_to_string(&mut output).map_err(told)?;
        Ok(Attempts::parse(&output))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // Nobody else waits for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder below `/tmp`, of a user's; gone with this.
struct Folder(PathBuf);

impl Folder {
    fn of(owner: u32, name: &str) -> Result<Self, String> {
        let folder = Self(PathBuf::from(format!("/tmp/within-{name}")));
        fs::create_dir(&folder.0).map_err(|error| format!("{name}: {error}"))?;
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).map_err(told)?;
        chown(&folder.0, Some(owner), Some(owner)).map_err(told)?;
        Ok(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    /// Tells an attacker to end.
    fn say_over(&self) -> Checked {
        fs::write(self.path("over"), "").map_err(told)
    }

    /// Names that are there.
    fn names(&self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(told)? {
            names.push(
                entry
                    .map_err(told)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        names.sort();
        Ok(names)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for a file that an attacker makes.
fn wait_for_file(path: &Path) -> Checked {
    let what = format!("{} is there", path.display());
    wait_until(&what, LIMIT, || path.exists()).map(drop)
}

/// A file as the host puts it.
struct Put<'a> {
    path: &'a Path,
    owner: Owner,
    mode: Option<u32>,
    content: &'a [u8],
}

const ROOTS: Owner = Owner {
    uid: None,
    gid: None,
};

impl Put<'_> {
    fn request(&self) -> Vec<u8> {
        frame_of(&Request::PutFile(PutFileRequest {
            size: self.content.len() as u64,
            destination: Ok(Destination {
                path: self.path.as_os_str().as_encoded_bytes().to_vec(),
                owner: self.owner,
                mode: self.mode,
                ..Destination::default()
            }),
        }))
    }

    /// Puts it; an error is the agent's sentence.
    fn by(&self, agent: &OwnAgent) -> Checked {
        let mut bytes = self.request();
        bytes.extend(encode_frame(FrameType::DATA, self.content));
        let answer = agent.ask(&bytes)?.answer()?;
        holds(&answer.error.unwrap_or_default(), answer.ok)
    }
}

/// A command line of the attacker's, once it has ended.
fn run_as_user(agent: &OwnAgent, line: &str) -> Result<Received, String> {
    use smolvm_protocol::request::{RunRequest, Shell};
    agent.ask(&frame_of(&Request::Run(RunRequest {
        command: line.as_bytes().to_vec(),
        shell: Shell::Raw,
        user: USER.to_string().into_bytes(),
        ..RunRequest::default()
    })))
}
