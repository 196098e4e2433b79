//! What the kernel tells of processes of this machine, and waiting for it under a deadline.

use crate::guest::Checked;
use std::fs;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until something holds.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<Duration, String> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > limit {
            return Err(format!("waited {limit:?} in vain until {what}"));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(began.elapsed())
}

/// The fields of `/proc/PID/stat` after the name, the state first; none where no such process is.
fn stat(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_ascii_whitespace().map(str::to_owned).collect()
}

fn runs(stat: &[String]) -> bool {
    stat.first()
        .is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

/// Whether a process is there and more than its exit status is left of it.
pub(crate) fn is_running(pid: u32) -> bool {
    runs(&stat(pid))
}

/// The processes of a group of which more than an exit status is left.
pub(crate) fn group_members(group: u32) -> Result<Vec<u32>, String> {
    let group = group.to_string();
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))? {
        let entry = entry.map_err(|error| format!("/proc: {error}"))?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = stat(pid);
        // State, parent, group.
        if runs(&stat) && stat.get(2) == Some(&group) {
            members.push(pid);
        }
    }
    Ok(members)
}

/// How many bytes a process has handed to `write` and its like.
pub(crate) fn bytes_written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// The processor time that a process has taken for itself, in clock ticks.
pub(crate) fn processor_ticks(pid: u32) -> Result<u64, String> {
    let stat = stat(pid);
    // utime and stime: the 14th and 15th field of all, the 12th and 13th after the name.
    let ticks = |at: usize| stat.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(user + system),
        _ => Err(format!("the times of process {pid} are not to be had")),
    }
}

/// How many threads a process has.
pub(crate) fn count_threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// How many descriptors a process has open.
pub(crate) fn count_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// That nothing of a group is left within `limit`, and after how long.
pub(crate) fn wait_for_groups_end(group: u32, limit: Duration) -> Result<Duration, String> {
    let what = format!("process group {group} is gone");
    wait_until(&what, limit, || {
        group_members(group).is_ok_and(|members| members.is_empty())
    })
}

/// That a group comes to have `count` members.
pub(crate) fn wait_for_group_of(group: u32, count: usize, limit: Duration) -> Checked {
    let what = format!("process group {group} has {count} members");
    wait_until(&what, limit, || {
        group_members(group).is_ok_and(|members| members.len() == count)
    })
    .map(drop)
}
