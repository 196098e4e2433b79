//! Work on one processor alone.
//!
//! A request is little work and several wake-ups. Whether one of them has to reach another processor, which may sleep, is
//! the scheduler's choice: it differs from round to round, for the floor as for anybody, and by several times what the work takes.

use crate::process::family_of;
use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;

/// While it lives, this program and all that it has started, and what that starts, run on one processor.
pub(crate) struct OneProcessor {
    before: CpuSet,
}

impl OneProcessor {
    /// Takes the first of the processors that this program may use.
    ///
    /// # Errors
    /// It may use none that the kernel would name, or not choose one.
    pub(crate) fn hold() -> Result<Self> {
        let before =
            sched_getaffinity(None).context("it is not known which processors there are")?;
        let first = (0..CpuSet::MAX_CPU).find(|at| before.is_set(*at));
        let mut one = CpuSet::new();
        one.set(first.context("there is no processor to run on")?);
        let held = Self { before };
        sched_setaffinity(None, &one).context("no processor can be chosen")?;
        place(&one);
        Ok(held)
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        place(&self.before);
    }
}

/// Places every thread of this program and of what descends from it; those that end meanwhile need no place.
fn place(on: &CpuSet) {
    for (pid, _) in family_of(std::process::id()) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
            if let Some(id) = id.and_then(Pid::from_raw) {
                let _ = sched_setaffinity(Some(id), on);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Server;
    use std::process::Command;

    fn processors(pid: Option<Pid>) -> u32 {
        sched_getaffinity(pid).unwrap().count()
    }

    #[test]
    fn this_program_and_its_servers_share_one_processor_and_then_have_all_again() {
        let server = Server::start(Command::new("sleep").arg("600")).unwrap();
        let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
        let before = processors(None);
        let held = OneProcessor::hold().unwrap();
        assert_eq!((processors(None), processors(pid)), (1, 1));
        drop(held);
        assert_eq!((processors(None), processors(pid)), (before, before));
    }
}
