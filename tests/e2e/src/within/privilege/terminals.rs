//! Terminals of commands: whose they are, and what stays of them.

use super::super::own_agent::OwnAgent;
use super::{Attempts, DONE, Folder, REFUSED, USER, attack, told, wait_for_file};
use crate::client::{Client, frame_of};
use crate::guest::{Checked, holds, same};
use smolvm_protocol::request::{Request, RunRequest, Shell, Terminal, TerminalSize};
use std::fs;
use std::path::Path;

/// Whether a process may type on its terminal; kernels before Linux 6.2 lack it, and always let it.
const SETTING: &str = "/proc/sys/dev/tty/legacy_tiocsti";

/// A command on a terminal, of the user or root.
fn on_terminal(agent: &OwnAgent, line: &str, is_users: bool) -> Result<Client, String> {
    let mut client = agent.connect()?;
    let user = if is_users {
        USER.to_string()
    } else {
        String::new()
    };
    let request = Request::Run(RunRequest {
        command: line.as_bytes().to_vec(),
        shell: Shell::Raw,
        user: user.into_bytes(),
        terminal: Some(Terminal {
            size: TerminalSize { rows: 24, cols: 80 },
            term: b"linux".to_vec(),
        }),
        ..RunRequest::default()
    });
    client.write(&frame_of(&request)).map_err(told)?;
    Ok(client)
}

/// What it has shown in the end.
fn shown(agent: &OwnAgent, line: &str, is_users: bool) -> Result<String, String> {
    let ended = on_terminal(agent, line, is_users)?
        .receive_all()
        .map_err(told)?;
    Ok(ended.head_text().replace('\r', ""))
}

fn program() -> Result<String, String> {
    Ok(std::env::current_exe().map_err(told)?.display().to_string())
}

/// Whether the kernel is one that can refuse a process to type on its own terminal.
fn can_refuse() -> Result<bool, String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(told)?;
    let mut numbers = release.split(|digit: char| !digit.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => Ok((major, minor) >= (6, 2)),
        _ => Err(format!("the kernel's release is '{}'", release.trim_end())),
    }
}

pub(crate) fn pushed(agent: &OwnAgent) -> Checked {
    let line = format!("{} attack push", program()?);
    let push = || Ok::<_, String>(Attempts::parse(&shown(agent, &line, true)?));
    let can_refuse = can_refuse()?;
    same(SETTING, &Path::new(SETTING).exists(), &can_refuse)?;
    if can_refuse {
        let refused = push()?;
        holds(
            &format!("{refused:?}"),
            !refused.of("push").is_empty() && refused.of("push") != DONE,
        )?;
        fs::write(SETTING, "1").map_err(told)?;
        let done = push();
        fs::write(SETTING, "0").map_err(told)?;
        done?.all_went(DONE)?;
    } else {
        println!("this kernel lets every process type on its own terminal");
        push()?.all_went(DONE)?;
    }
    agent.rests()
}

pub(crate) fn of_another(agent: &OwnAgent) -> Checked {
    let mut roots = on_terminal(agent, "tty; sleep 1000", false)?;
    roots.receive_at_least(1).map_err(told)?;
    while !roots.received().head_text().contains('\n') {
        holds("root's command ended", roots.advance().map_err(told)?)?;
    }
    let path = roots.received().head_text();
    attack(&["open", path.trim_end()])?.all_went(REFUSED)?;
    drop(roots);
    let line = format!("{} attack open $(tty)", program()?);
    Attempts::parse(&shown(agent, &line, true)?).all_went(DONE)?;
    agent.rests()
}

pub(crate) fn held(agent: &OwnAgent) -> Checked {
    let folder = Folder::of(USER, "held")?;
    let held = folder.path("held");
    let line = format!(
        "{} attack hold {} & while [ ! -e {} ]; do sleep 0.1; done; tty",
        program()?,
        folder.text(),
        held.display()
    );
    let users = shown(agent, &line, true)?;
    wait_for_file(&held)?;
    let roots = shown(agent, "echo secret; tty; sleep 0.1", false);
    folder.say_over()?;
    let found = folder.path("found");
    wait_for_file(&found)?;
    let roots = roots?;
    let terminal = |shown: &str| {
        shown
            .lines()
            .find(|line| line.starts_with("/dev/pts/"))
            .map(str::to_owned)
    };
    let users = terminal(&users).ok_or(format!("the user's terminal: {users}"))?;
    let roots = terminal(&roots).ok_or(format!("root's terminal: {roots}"))?;
    holds(&format!("{users} was given anew"), users != roots)?;
    let found = fs::read_to_string(found).map_err(told)?;
    holds(
        &format!("found '{found}'"),
        found == "0" || found.parse::<usize>().is_err(),
    )?;
    agent.rests()
}
