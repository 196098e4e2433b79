//! What an image wants done once the agent serves: `/etc/smolvm/boot.d/*`, in the order of their
//! names, one after another.
//!
//! Each is executed as it is; its failure is told, and the next one runs. Process 1 does not wait for
//! them: one that never ends holds back those after it and nothing else. What goes on in the
//! background (`sshd`) is process 1's to reap.

use super::child::{self, Gifts};
use crate::log;
use crate::sys::process::Pid;
use std::fs;
use std::os::fd::OwnedFd;

const FOLDER: &str = "/etc/smolvm/boot.d";

/// The scripts that have not ended.
#[derive(Default)]
pub(super) struct BootScripts {
    /// The last one is next.
    waiting: Vec<String>,
    running: Option<(Pid, String)>,
}

impl BootScripts {
    /// Finds the scripts; a folder that is not there has none.
    pub(super) fn find() -> Self {
        let mut waiting: Vec<String> = fs::read_dir(FOLDER)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok())
            .collect();
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        Self {
            waiting,
            running: None,
        }
    }

    /// Starts the next one, unless one runs; says whether one runs now.
    pub(super) fn run_next(&mut self, console: Option<&OwnedFd>) -> bool {
        while self.running.is_none() {
            let Some(path) = self.waiting.pop() else {
                return false;
            };
            let gifts = Gifts {
                console,
                ..Gifts::default()
            };
            match child::start(&[&path], &[&path], &gifts) {
                Ok(pid) => self.running = Some((pid, path)),
                Err(error) => log::failure(&format_args!("cannot run {path}: {error}")),
            }
        }
        true
    }

    /// Notes that a child has ended; says whether it was a script.
    pub(super) fn note_end(&mut self, pid: Pid, exit_code: i32) -> bool {
        let Some((_, path)) = self.running.take_if(|(running, _)| *running == pid) else {
            return false;
        };
        if exit_code != 0 {
            log::failure(&format_args!("{path} has failed ({exit_code})"));
        }
        true
    }
}
