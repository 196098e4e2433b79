//! Work on one processor alone.
//!
//! A request is little work and several wake-ups. Whether one of them has to reach another processor, which may sleep, is
//! the scheduler's choice: it differs from round to round, for the floor as for anybody, for a ping by several times.

use crate::process::family_of;
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;

/// How often is looked for somebody who was started meanwhile, at most.
const PASSES: usize = 10;

/// While it lives, this program and all that it has started, and what that starts, run on one processor.
pub(crate) struct OneProcessor {
    before: CpuSet,
}

impl OneProcessor {
    /// Takes the first of the processors that this program may use.
    ///
    /// # Errors
    /// When the processors cannot be read, there is none, or somebody cannot be placed on it.
    pub(crate) fn hold() -> Result<Self> {
        let before =
            sched_getaffinity(None).context("it is not known which processors there are")?;
        let first = (0..CpuSet::MAX_CPU).find(|at| before.is_set(*at));
        let mut one = CpuSet::new();
        one.set(first.context("there is no processor to run on")?);
        let held = Self { before };
        place(&one).context("not everybody can be placed on one processor")?;
        Ok(held)
    }
}

impl Drop for OneProcessor {
    /// All get this program's processors.
    fn drop(&mut self) {
        if let Err(errno) = place(&self.before) {
            eprintln!("not everybody can be placed on all processors again: {errno}");
        }
    }
}

/// Places this thread, and every other of this program and of what descends from it, until none is found elsewhere: who starts
/// one meanwhile may do so in its old place.
fn place(on: &CpuSet) -> Result<(), Errno> {
    sched_setaffinity(None, on)?;
    for _ in 0..PASSES {
        let mut is_new = false;
        for id in threads() {
            match sched_getaffinity(Some(id)) {
                Ok(found) if found == *on => continue,
                _ => is_new = true,
            }
            match sched_setaffinity(Some(id), on) {
                // It has ended.
                Err(Errno::SRCH) => {}
                placed => placed?,
            }
        }
        if !is_new {
            break;
        }
    }
    Ok(())
}

fn threads() -> Vec<Pid> {
    let mut found = Vec::new();
    for (pid, _) in family_of(std::process::id()) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
            found.extend(id.and_then(Pid::from_raw));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{START_LIMIT, Server};
    use std::process::Command;
    use std::time::Instant;

    fn processors(pid: Option<Pid>) -> u32 {
        sched_getaffinity(pid).unwrap().count()
    }

    #[test]
    fn this_program_and_its_servers_share_one_processor_and_then_have_all_again() {
        let before = processors(None);
        if before == 1 {
            println!("skipped, because there is one processor alone");
            return;
        }
        let mut command = Command::new("sh");
        let server = Server::start(command.args(["-c", "sleep 600 & sleep 600; wait"])).unwrap();
        let began = Instant::now();
        while family_of(server.pid()).len() < 3 {
            assert!(began.elapsed() < START_LIMIT, "it starts its children");
        }
        let counts = || -> Vec<u32> {
            let family = family_of(server.pid()).into_iter();
            let pids = family.map(|(pid, _)| Pid::from_raw(i32::try_from(pid).unwrap()));
            pids.map(processors).collect()
        };
        let held = OneProcessor::hold().unwrap();
        assert_eq!((processors(None), counts()), (1, vec![1; 3]));
        let late = Server::start(Command::new("sleep").arg("600")).unwrap();
        let late_pid = Pid::from_raw(i32::try_from(late.pid()).unwrap());
        assert_eq!(processors(late_pid), 1);
        drop(held);
        assert_eq!((processors(None), counts()), (before, vec![before; 3]));
        assert_eq!(processors(late_pid), before);
    }
}
