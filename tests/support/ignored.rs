//! Signals that the test itself was started with as ignored, as a shell does for `&`: what it starts
//! leaves them so.

use rustix::process::Signal;

/// Whether this process ignores the signal.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    mask("self", "SigIgn:") & (1 << (signal.as_raw() - 1)) != 0
}

/// A mask of signals in `/proc/<pid>/status`; signal 1 is the lowest bit.
pub(crate) fn mask(pid: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}
