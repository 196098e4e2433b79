//! The agent's standing with the kernel's out-of-memory killer.
//!
//! The agent lowers its own score where it may, since a guest without it is lost to its host; what
//! it starts gets the score that it had (`proc(5)`, `oom_score_adj`).

use crate::sys::file;
use std::ffi::CString;
use std::fs;

const PATH: &str = "/proc/self/oom_score_adj";

/// Never chosen.
const LOWEST: &str = "-1000";

/// Lowers this process's score, and returns the one to give to children; `None` where nothing was
/// changed, for want of privilege or of `/proc`.
pub(crate) fn lower_own() -> Option<CString> {
    let before = file::read_text(PATH).ok()?;
    let before = before.trim();
    if before == LOWEST {
        return None;
    }
    fs::write(PATH, LOWEST).ok()?;
    CString::new(before).ok()
}
