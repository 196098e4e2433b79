//! How fast this host's time stamp counter counts, which an emulated guest on it reads as its own.
//!
//! Owns measuring that, by the one instruction that std has no safe way to.
#![allow(unsafe_code, reason = "std offers no safe read of the counter")]

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::khz;

/// In kHz; `None` where this host has no such counter.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn khz() -> Option<u32> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::time::{Duration, Instant};

    /// So long is counted: the error of both ends together is below 1 µs, 20 ppm of it.
    const SPAN: Duration = Duration::from_millis(50);
    /// Tries at reading clock and counter in the same moment, of which the fastest counts.
    const TRIES: usize = 16;

    /// In kHz.
    pub(in super::super) fn khz() -> Option<u32> {
        let (began, first) = sample();
        std::thread::sleep(SPAN);
        let (ended, last) = sample();
        let counted = u128::from(last.wrapping_sub(first));
        let nanoseconds = ended.duration_since(began).as_nanos();
        u32::try_from(counted * 1_000_000 / nanoseconds.max(1)).ok()
    }

    /// Clock and counter of one moment.
    fn sample() -> (Instant, u64) {
        let tries = (0..TRIES).map(|_| {
            let before = Instant::now();
            // SAFETY: every processor that runs x86_64 Linux has the instruction, which touches no memory.
            let count = unsafe { core::arch::x86_64::_rdtsc() };
            (before.elapsed(), before, count)
        });
        let (_, moment, count) = tries
            .min_by_key(|(took, _, _)| *took)
            .expect("there is more than one try");
        (moment, count)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn two_measurements_agree() {
            let (first, second) = (khz().unwrap(), khz().unwrap());
            assert!(first.abs_diff(second) < first / 100, "{first} {second}");
        }
    }
}
