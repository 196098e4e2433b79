//! How many descriptors a process may have open (`getrlimit(2)`, `RLIMIT_NOFILE`).
#![expect(
    unsafe_code,
    reason = "getrlimit and setrlimit have no safe wrapper in std"
)]

use super::checked;
use std::io;

/// Several times what 64 trees of 64 levels need at once. The kernel's table grows only with what is open.
const MOST: libc::rlim_t = 16_384;

/// A limit that any process can reach, and the one up to which it may raise that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorLimit {
    soft: libc::rlim_t,
    hard: libc::rlim_t,
}

impl DescriptorLimit {
    /// Raises this process's own to [`MOST`], or as far as it may; gives what it was, where that was lower.
    pub(crate) fn raise_own() -> Option<Self> {
        let mut own = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `own` lives through the call.
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut own) }).ok()?;
        let before = Self {
            soft: own.rlim_cur,
            hard: own.rlim_max,
        };
        let hard = before.hard.max(MOST);
        // The first needs privilege where it is more than the hard limit.
        [MOST, before.hard.min(MOST)]
            .into_iter()
            .zip([hard, before.hard])
            .any(|(soft, hard)| soft > before.soft && Self { soft, hard }.set().is_ok())
            .then_some(before)
    }

    /// Makes it this process's own; allocates nothing.
    pub(crate) fn set(self) -> io::Result<()> {
        let limit = libc::rlimit {
            rlim_cur: self.soft,
            rlim_max: self.hard,
        };
        // SAFETY: `limit` lives through the call.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
        Ok(())
    }
}
