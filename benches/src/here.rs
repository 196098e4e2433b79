//! What is measured on this machine itself: starts all competitors, and has them take turns.

use crate::arguments::RunArguments;
use crate::competitor::{Agent, Competitor, Floor, Name, Program, Ssh, SshServer};
use crate::machine;
use crate::memory;
use crate::results::{Outcome, Task};
use crate::rounds::Run;
use crate::work::{Place, Work};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A file of 1 GiB of each competitor, a new one beside it, the one that clients of ssh send, and some to spare.
const NEEDED_BYTES: u64 = 8 << 30;

/// Measures all that is on this machine.
pub(crate) fn measure(run: &mut Run<'_>, arguments: &RunArguments) -> Result<()> {
    let parent = place_of_files(run.results.about.is_quick);
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent);
    let folder = folder.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let told = parent.display().to_string();
    run.results
        .about
        .machine
        .push(("files are in".to_owned(), told));
    let mut competitors: Vec<Box<dyn Competitor>> = Vec::new();
    competitors.push(Box::new(Floor::start(&arguments.floor, folder.path())?));
    let ours = Program::Ours(arguments.agent.clone());
    competitors.push(Box::new(
        Agent::start(Name::Ours, ours.clone(), folder.path()).context("our agent")?,
    ));
    let mut absent = Vec::new();
    match published(arguments) {
        Err(why) => absent.push((Name::Python, Outcome::Skipped(format!("{why:#}")))),
        Ok(program) => match Agent::start(Name::Python, program, folder.path()) {
            Ok(agent) => competitors.push(Box::new(agent)),
            Err(why) => absent.push((Name::Python, Outcome::Failed(format!("{why:#}")))),
        },
    }
    let sshd = arguments.sshd.clone().map(SshServer::OpenSsh);
    let dropbear = arguments.dropbear.clone().map(SshServer::Dropbear);
    for (name, program, key) in [
        (Name::OpenSsh, sshd, "openssh"),
        (Name::Dropbear, dropbear, "dropbear"),
    ] {
        let Some(program) = program else {
            absent.push((name, Outcome::Skipped(arguments.reason(key))));
            continue;
        };
        match Ssh::start(program, folder.path()) {
            Ok(ssh) => competitors.push(Box::new(ssh)),
            Err(why) => absent.push((name, Outcome::Failed(format!("{why:#}")))),
        }
    }
    for (name, outcome) in absent {
        eprintln!("{} takes no part: {}", name.title(), outcome.reason());
        run.results.push(task(Work::Ping), name, outcome);
    }
    idle(run, &competitors)?;
    run.all(Place::Here, &competitors)?;
    drop(competitors);
    memory::measure(run, &ours, folder.path())
}

/// In memory where that is large enough, so that no disk is measured.
fn place_of_files(is_quick: bool) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(shared)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) > NEEDED_BYTES);
    let is_large = has_room && machine::available_bytes() > NEEDED_BYTES;
    match shared.is_dir() && (is_quick || is_large) {
        true => shared.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn published(arguments: &RunArguments) -> Result<Program> {
    let given = |path: &Option<PathBuf>| path.clone().context(arguments.reason("python"));
    Ok(Program::Published {
        python: given(&arguments.python)?,
        server: given(&arguments.published_server)?,
        wheel: given(&arguments.published)?,
    })
}

fn task(work: Work) -> Task {
    Task {
        place: Place::Here,
        work,
        bytes: None,
    }
}

/// Memory of those that have served nothing but what began them: a first connection.
fn idle(run: &mut Run<'_>, competitors: &[Box<dyn Competitor>]) -> Result<()> {
    for competitor in competitors {
        let Some(server) = competitor.server() else {
            continue;
        };
        let memory = server.memory()?;
        for (work, kib) in [
            (Work::IdleResident, memory.resident_kib),
            (Work::IdleUnshared, memory.unshared_kib),
        ] {
            if run.is_wanted(Place::Here, work) {
                let outcome = Outcome::Rounds(vec![vec![kib]]);
                run.results.push(task(work), competitor.name(), outcome);
            }
        }
    }
    Ok(())
}
