//! Files that the host puts into a folder of a user's, who does there what a folder's owner can.

use super::super::own_agent::OwnAgent;
use super::{Attacker, DONE, Folder, Put, REFUSED, ROOTS, USER, attack, told, wait_for_file};
use crate::attack::{TAMPERED, let_go_first};
use crate::client::{Client, LIMIT};
use crate::guest::{Checked, holds, same};
use crate::process::wait_until;
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::Owner;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTENT: &[u8] = b"what the host has put there";
const SECRET: &str = "root's alone";

/// Uploads of which each is attacked.
const ROUNDS: u32 = 20;

const USERS: Owner = Owner {
    uid: Some(USER),
    gid: Some(USER),
};

/// A file that is root's alone, in a folder of its own.
struct Victim {
    _folder: Folder,
    path: PathBuf,
}

impl Victim {
    fn new() -> Result<Self, String> {
        let folder = Folder::of(0, "victim")?;
        let path = folder.path("victim");
        fs::write(&path, SECRET).map_err(told)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(told)?;
        Ok(Self {
            _folder: folder,
            path,
        })
    }

    fn is_untouched(&self) -> Result<bool, String> {
        let status = fs::metadata(&self.path).map_err(told)?;
        let content = fs::read_to_string(&self.path).map_err(told)?;
        Ok(
            (status.uid(), status.gid(), status.mode() & 0o7777) == (0, 0, 0o600)
                && content == SECRET,
        )
    }
}

/// That a file is what the host has put, and the user's.
fn is_as_put(path: &Path, mode: u32) -> Checked {
    let status = fs::symlink_metadata(path).map_err(told)?;
    holds("it is no file", status.is_file())?;
    same("its owner", &status.uid(), &USER)?;
    same("its mode", &(status.mode() & 0o7777), &mode)?;
    same(
        "its content",
        &fs::read(path).map_err(told)?.as_slice(),
        &CONTENT,
    )
}

pub(crate) fn target(agent: &OwnAgent) -> Checked {
    let folder = Folder::of(USER, "target")?;
    let victim = Victim::new()?;
    let mode = 0o4755;
    let put = |name: &str| -> Checked {
        let path = folder.path(name);
        let put = Put {
            path: &path,
            owner: USERS,
            mode: Some(mode),
            content: CONTENT,
        };
        put.by(agent)
            .and_then(|()| is_as_put(&path, mode))
            .map_err(|error| format!("{name}: {error}"))
    };
    symlink(&victim.path, folder.path("link")).map_err(told)?;
    put("link")?;
    // Only where `fs.protected_hardlinks` is 0 can its owner make this.
    fs::hard_link(&victim.path, folder.path("name")).map_err(told)?;
    put("name")?;
    let made = Command::new("mkfifo")
        .arg(folder.path("fifo"))
        .status()
        .map_err(told)?;
    holds("mkfifo", made.success())?;
    put("fifo")?;
    holds("the victim was touched", victim.is_untouched()?)?;
    same(
        "names",
        &folder.names()?,
        &["fifo", "link", "name"].map(str::to_owned).to_vec(),
    )?;
    // As a program would that writes to what is there.
    symlink(&victim.path, folder.path("again")).map_err(told)?;
    fs::write(folder.path("again"), CONTENT).map_err(told)?;
    holds("the link leads nowhere", !victim.is_untouched()?)?;
    agent.rests()
}

/// Sends the request for an upload, and waits for its temporary file.
fn begin(agent: &OwnAgent, put: &Put<'_>, has_begun: impl Fn() -> bool) -> Result<Client, String> {
    let mut client = agent.connect()?;
    client.write(&put.request()).map_err(told)?;
    wait_until("the upload has begun", LIMIT, has_begun)?;
    Ok(client)
}

fn complete(mut client: Client) -> Result<bool, String> {
    client
        .write(&encode_frame(FrameType::DATA, CONTENT))
        .map_err(told)?;
    Ok(client.receive_all().map_err(told)?.answer()?.ok)
}

pub(crate) fn swapped(agent: &OwnAgent) -> Checked {
    let folder = Folder::of(USER, "swapped")?;
    let victim = Victim::new()?;
    let attacker = Attacker::start(&["swap", &folder.text(), &victim.path.display().to_string()])?;
    let path = folder.path("file");
    let mode = 0o666;
    for round in 0..ROUNDS {
        let put = Put {
            path: &path,
            owner: USERS,
            mode: Some(mode),
            content: CONTENT,
        };
        let swapped = folder.path(&format!("swapped-{round}"));
        let client = begin(agent, &put, || swapped.exists())?;
        holds("the upload was refused", complete(client)?)?;
        // The link has moved to the target; the file itself got what the host asked for.
        let target = fs::read_link(&path).map_err(told)?;
        same("what the link leads to", &target, &victim.path)?;
        is_as_put(&folder.path(&format!("aside-{round}")), mode)?;
        holds("the victim was touched", victim.is_untouched()?)?;
    }
    folder.say_over()?;
    let swapped = attacker.attempts()?.number("swapped")?;
    same("times that it was swapped", &swapped, &ROUNDS)?;
    // As a program would that goes by a name again.
    let link = folder.path("link");
    symlink(&victim.path, &link).map_err(told)?;
    chown(&link, Some(USER), None).map_err(told)?;
    holds("the link leads nowhere", !victim.is_untouched()?)?;
    agent.rests()
}

pub(crate) fn set_group_id(agent: &OwnAgent) -> Checked {
    // Of a group that its owner is not in: who could write to it would become that group.
    let (seen, tampered) = tampered_with(agent, "group", 0o2555, true)?;
    same("times that it was written to", &tampered, &0)?;
    holds("the attacker has seen nothing", seen > 0)?;
    // The owner's own, which it may write to whenever it likes: so often the attacker is in time.
    let (_, tampered) = tampered_with(agent, "owner", 0o555, false)?;
    println!(
        "measured: of {ROUNDS} files that are the attacker's, {tampered} were opened before they had their mode"
    );
    holds("the attacker is never in time", tampered > 0)?;
    agent.rests()
}

/// Puts files that become the attacker's: how many it has seen, and how many written to, before that was over.
fn tampered_with(
    agent: &OwnAgent,
    name: &str,
    mode: u32,
    is_whole: bool,
) -> Result<(u32, u32), String> {
    let folder = Folder::of(USER, name)?;
    let attacker = Attacker::start(&["tamper", &folder.text()])?;
    let_go_first(attacker.pid()).map_err(told)?;
    let owner = Owner {
        uid: Some(USER),
        gid: Some(0),
    };
    for round in 0..ROUNDS {
        let path = folder.path(&format!("file-{round}"));
        Put {
            path: &path,
            owner,
            mode: Some(mode),
            content: CONTENT,
        }
        .by(agent)?;
        let content = fs::read(&path).map_err(told)?;
        let is_tampered = content.starts_with(TAMPERED);
        holds("its content is another", content == CONTENT || is_tampered)?;
        if is_whole {
            is_as_put(&path, mode)?;
        }
    }
    folder.say_over()?;
    let attempts = attacker.attempts()?;
    Ok((attempts.number("seen")?, attempts.number("tampered")?))
}

pub(crate) fn kept(agent: &OwnAgent) -> Checked {
    let folder = Folder::of(USER, "kept")?;
    let path = folder.path("program");
    let temporary = || -> Option<PathBuf> {
        let names = folder.names().unwrap_or_default();
        names
            .iter()
            .find(|name| name.starts_with(".smolvm-put-"))
            .map(|name| folder.path(name))
    };
    let put = Put {
        path: &path,
        owner: ROOTS,
        mode: Some(0o4755),
        content: CONTENT,
    };
    let client = begin(agent, &put, || temporary().is_some())?;
    let staged = temporary()
        .ok_or("no temporary file")?
        .display()
        .to_string();
    attack(&["open", &staged])?.all_went(REFUSED)?;
    let keep =
        |path: &str, name: &str| attack(&["keep", path, &folder.path(name).display().to_string()]);
    keep(&staged, "kept-early")?.all_went(REFUSED)?;
    holds("the upload failed", complete(client)?)?;
    let program = path.display().to_string();
    let opened = attack(&["open", &program])?;
    same("reading it", &opened.of("read"), &DONE)?;
    same("writing to it", &opened.of("write"), &REFUSED)?;
    // It would outlive the next version.
    keep(&program, "kept-old")?.all_went(REFUSED)?;
    let own = folder.path("own");
    fs::write(&own, "")
        .and_then(|()| chown(&own, Some(USER), None))
        .map_err(told)?;
    let own = own.display().to_string();
    attack(&["open", &own])?.all_went(DONE)?;
    keep(&own, "kept-own")?.all_went(DONE)?;
    wait_for_file(&folder.path("kept-own"))?;
    agent.rests()
}
