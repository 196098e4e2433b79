//! When what was done while the guest booted.
//!
//! Owns the record: a line `NAME MICROSECONDS` each, since the kernel started (`CLOCK_BOOTTIME`), in
//! a folder that root alone can write to, so that the `timings` request can be believed. A name ends
//! with its unit; each is recorded once, whatever happens again.

use crate::sys::{file, machine, mount};
use std::ffi::CStr;
use std::fs;

const FOLDER: &CStr = c"/run/smolvm";
const RECORD: &str = "/run/smolvm/timings";
const NEW_RECORD: &str = "/run/smolvm/timings.new";

/// The longest record that is read.
const MAX_RECORD_BYTES: usize = 4096;

/// Process 1 runs.
pub(super) const INIT_STARTED: &str = "init_started_us";
/// All file systems are mounted.
pub(super) const MOUNTS_DONE: &str = "mounts_done_us";
/// The image's modules are loaded.
pub(super) const MODULES_DONE: &str = "modules_done_us";
/// Stage one has mounted the root of a disk.
pub(super) const ROOT_MOUNTED: &str = "root_mounted_us";
/// Hosts that connect from now on are heard.
pub(super) const LISTENER_BOUND: &str = "listener_bound_us";
/// `lo` and `eth0` are set up.
pub(super) const NETWORK_DONE: &str = "network_done_us";
/// The agent's program runs.
pub(super) const AGENT_STARTED: &str = "agent_started_us";
/// The agent accepts.
pub(super) const AGENT_LISTENING: &str = "agent_listening_us";
/// Every script of `/etc/smolvm/boot.d` has ended.
pub(super) const BOOT_SCRIPTS_DONE: &str = "boot_scripts_done_us";

/// What stage one notes, which the init of the root takes over.
const OF_STAGE_ONE: [&str; 4] = [INIT_STARTED, MOUNTS_DONE, MODULES_DONE, ROOT_MOUNTED];

/// The record while it grows.
pub(super) struct Timings(Vec<(&'static str, u64)>);

impl Timings {
    /// A record that begins with this moment.
    pub(super) fn begin() -> Self {
        let mut timings = Self(Vec::new());
        timings.mark(INIT_STARTED);
        timings
    }

    /// Begins with what stage one has noted instead, where that has started this init. To be called
    /// before another program runs: who else could have made that record?
    pub(super) fn take_over(&mut self) {
        if !mount::is_in_memory(FOLDER) {
            return;
        }
        let noted = noted_by_stage_one(&read().unwrap_or_default());
        if !noted.is_empty() {
            self.0 = noted;
        }
    }

    /// Notes this moment, unless one of that name is noted; says whether it has.
    pub(super) fn mark(&mut self, name: &'static str) -> bool {
        let is_new = self.0.iter().all(|(known, _)| *known != name);
        if is_new {
            let since_start = machine::since_kernel_start();
            self.0.push((name, since_start.as_micros() as u64));
        }
        is_new
    }

    /// Writes the record; to be called once `/run` is mounted. Best effort: nothing else needs it.
    pub(super) fn save(&self) {
        let mut text = String::new();
        for (name, microseconds) in &self.0 {
            text.push_str(name);
            text.push(' ');
            text.push_str(&microseconds.to_string());
            text.push('\n');
        }
        // It is there from the second time on.
        let _ = file::make_directory(FOLDER);
        let _ = fs::write(NEW_RECORD, text).and_then(|()| fs::rename(NEW_RECORD, RECORD));
    }
}

fn noted_by_stage_one(record: &str) -> Vec<(&'static str, u64)> {
    let noted = parse(record).filter_map(|(name, microseconds)| {
        let name = OF_STAGE_ONE.into_iter().find(|known| *known == name)?;
        Some((name, microseconds))
    });
    noted.collect()
}

/// The record as it stands; `None` where there is none.
pub(crate) fn read() -> Option<String> {
    let mut record = Vec::with_capacity(MAX_RECORD_BYTES);
    file::read_to_spare(fs::File::open(RECORD).ok()?, &mut record).ok()?;
    String::from_utf8(record).ok()
}

/// Names and microseconds, in the order in which they were noted.
pub(crate) fn parse(record: &str) -> impl Iterator<Item = (&str, u64)> {
    record.lines().filter_map(|line| {
        let (name, microseconds) = line.split_once(' ')?;
        Some((name, microseconds.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_noted_once_and_in_order() {
        let mut timings = Timings::begin();
        timings.mark(AGENT_LISTENING);
        timings.mark(AGENT_LISTENING);
        let names: Vec<_> = timings.0.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [INIT_STARTED, AGENT_LISTENING]);
        assert!(timings.0[0].1 <= timings.0[1].1);
    }

    #[test]
    fn record_of_stage_one_is_taken_over_and_nothing_else() {
        let record = "init_started_us 1\nmodules_done_us 3\nroot_mounted_us 4\nx_us 5\n";
        let expected = [(INIT_STARTED, 1), (MODULES_DONE, 3), (ROOT_MOUNTED, 4)];
        assert_eq!(noted_by_stage_one(record), expected);
        assert_eq!(noted_by_stage_one("agent_listening_us 9\n"), []);
    }

    #[test]
    fn record_is_read_line_by_line_and_other_lines_are_left_out() {
        let parsed: Vec<_> = parse("a_us 1\nb_us\nc_us -2\n\nd_us 20\n").collect();
        assert_eq!(parsed, [("a_us", 1), ("d_us", 20)]);
    }
}
