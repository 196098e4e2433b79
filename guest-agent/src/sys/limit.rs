//! How many descriptors a process may have open (`prlimit(2)`, `RLIMIT_NOFILE`).
#![expect(unsafe_code, reason = "prlimit has no safe wrapper in std")]

use std::ptr;

/// Several times what 64 trees of 64 levels need at once. The kernel's table grows only with what is open.
const MOST: libc::rlim_t = 16_384;

/// A limit that any process can reach, and the one up to which it may raise that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DescriptorLimit {
    soft: libc::rlim_t,
    hard: libc::rlim_t,
}

impl DescriptorLimit {
    /// Raises this process's own to 16,384, or as far as it may; gives what it was, where that was lower.
    pub(crate) fn raise_own() -> Option<Self> {
        let mut own = libc::rlimit {
            rlim_cur: MOST,
            rlim_max: MOST,
        };
        // SAFETY: `own` lives through the call; a null pointer says that nothing is set.
        unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, ptr::null(), &raw mut own) };
        let before = Self {
            soft: own.rlim_cur,
            hard: own.rlim_max,
        };
        if before.soft >= MOST {
            return None;
        }
        let limit = |hard: libc::rlim_t| Self {
            soft: hard.min(MOST),
            hard,
        };
        // The first needs privilege where it is more than the hard limit.
        let is_raised = limit(before.hard.max(MOST)).set() || limit(before.hard).set();
        is_raised.then_some(before)
    }

    /// Makes it this process's own, and tells whether it may have that. For between fork and exec as well.
    pub(crate) fn set(self) -> bool {
        let limit = libc::rlimit {
            rlim_cur: self.soft,
            rlim_max: self.hard,
        };
        // By a call that musl passes on as it is, unlike `setrlimit`.
        // SAFETY: `limit` lives through the call; a null pointer says that nothing is asked for.
        unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut()) == 0 }
    }
}
