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
        let mut scripts = Self::default();
        let Ok(folder) = fs::read_dir(FOLDER) else {
            return scripts;
        };
        for entry in folder.flatten() {
            // Such a name is nothing that an image's maker would give.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{FOLDER}/{name}");
            let waiting = &mut scripts.waiting;
            let at = waiting.partition_point(|other| *other > path);
            waiting.insert(at, path);
        }
        scripts
    }

    /// Starts the next one, unless one runs; says whether one runs now.
    pub(super) fn run_next(&mut self) -> bool {
        while self.running.is_none() {
            let Some(path) = self.waiting.pop() else {
                return false;
            };
            match child::start(&[&path], &[&path], &Gifts::default()) {
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
