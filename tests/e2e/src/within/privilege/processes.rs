//! What `/proc` and system calls about processes give of root's, and what a command of a user's is given.

use super::super::own_agent::OwnAgent;
use super::{Attacker, Attempts, DONE, Folder, REFUSED, USER, attack, run_as_user, told};
use crate::client::{Client, frame_of};
use crate::guest::{Checked, holds, same};
use crate::process::is_running;
use smolvm_protocol::request::{Request, RunRequest, Shell};
use std::fs;
use std::path::Path;

/// Folders that a program is looked for in and is not: that takes longer than it takes to stop it.
const FOLDERS: usize = 20_000;

/// Commands that an ambush may let pass.
const TRIES: usize = 20;

/// The agent of this guest, by its name: all that have it but process 1 and the one of the cases.
fn guests_agent(own: u32) -> Result<u32, String> {
    for entry in fs::read_dir("/proc").map_err(told)? {
        let entry = entry.map_err(told)?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let Some(pid) =
            pid.filter(|pid| name.starts_with("smolvm-guest-ag") && *pid != 1 && *pid != own)
        {
            return Ok(pid);
        }
    }
    Err("the guest has no agent".into())
}

fn pry(pid: u32) -> Result<Attempts, String> {
    attack(&["pry", &pid.to_string()])
}

/// A command of the attacker's that runs, and its number.
fn running(agent: &OwnAgent) -> Result<(Client, u32), String> {
    let mut client = agent.connect()?;
    let request = Request::Run(RunRequest {
        command: b"echo $$; exec sleep 1000".to_vec(),
        shell: Shell::Raw,
        user: USER.to_string().into_bytes(),
        ..RunRequest::default()
    });
    client.write(&frame_of(&request)).map_err(told)?;
    let pid = client.first_pid()?;
    Ok((client, pid))
}

pub(crate) fn agent(agent: &OwnAgent) -> Checked {
    let guests = guests_agent(agent.pid())?;
    for pid in [1, guests, agent.pid()] {
        pry(pid)?
            .all_went(REFUSED)
            .map_err(|error| format!("process {pid}: {error}"))?;
        holds("it has ended", is_running(pid))?;
    }
    let (client, pid) = running(agent)?;
    pry(pid)?.all_went(DONE)?;
    drop(client);
    agent.rests()
}

pub(crate) fn starting(agent: &OwnAgent) -> Checked {
    let ambush = Attacker::start(&["ambush"])?;
    let mut folders = "/absent:".repeat(FOLDERS / 2);
    folders.push_str("/bin");
    let request = frame_of(&Request::Run(RunRequest {
        argv: vec![b"true".to_vec()],
        environment: vec![(b"PATH".to_vec(), folders.into_bytes())],
        user: USER.to_string().into_bytes(),
        ..RunRequest::default()
    }));
    let ambusher = ambush.pid();
    let attempts = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ambush.attempts());
        for _ in 0..TRIES {
            if is_running(ambusher) {
                agent.ask(&request)?;
            }
        }
        waiting.join().map_err(|_| "panicked".to_owned())?
    })?;
    // It has that user's number already, and so gets that user's signals.
    same("a signal", &attempts.of("signal"), &DONE)?;
    attempts.without("signal").all_went(REFUSED)?;
    let (client, pid) = running(agent)?;
    pry(pid)?.all_went(DONE)?;
    drop(client);
    agent.rests()
}

pub(crate) fn given(agent: &OwnAgent) -> Checked {
    let folder = Folder::of(USER, "given")?;
    let output = folder.path("output");
    let program = std::env::current_exe().map_err(told)?;
    let line = format!("{} attack tell >{}", program.display(), output.display());
    tell_both(agent, &line, &output)?;
    agent.rests()
}

fn tell_both(agent: &OwnAgent, line: &str, output: &Path) -> Checked {
    let told_by = || Ok::<_, String>(Attempts::parse(&fs::read_to_string(output).map_err(told)?));
    let ended = run_as_user(agent, line)?;
    same("exit code", &ended.answer()?.exit_code, &Some(0))?;
    let given = told_by()?;
    let ids = [USER.to_string().as_str(); 4].join(",");
    let no_capability = "0000000000000000";
    for (what, is) in [
        ("Uid", ids.as_str()),
        ("Gid", &ids),
        ("Groups", &USER.to_string()),
        ("CapInh", no_capability),
        ("CapPrm", no_capability),
        ("CapEff", no_capability),
        ("CapAmb", no_capability),
        ("descriptors", "3"),
        ("leave_group", REFUSED),
        ("kill_group", REFUSED),
        ("vsock_device", REFUSED),
        ("kernel_log", REFUSED),
        ("console", REFUSED),
    ] {
        same(what, &given.of(what), &is)?;
    }
    // What is told of root.
    let ended = agent.run(line)?.receive_all().map_err(told)?;
    same("exit code", &ended.answer()?.exit_code, &Some(0))?;
    let given = told_by()?;
    holds(
        "root has no capability",
        given.of("CapEff") != no_capability,
    )?;
    for what in ["kill_group", "vsock_device", "kernel_log", "console"] {
        same(&format!("root: {what}"), &given.of(what), &DONE)?;
    }
    same("root's descriptors", &given.of("descriptors"), &"3")
}
