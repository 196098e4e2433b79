//! Signals that ask us to end become a [`Cancel`].
//!
//! Owns the handlers of SIGHUP, SIGINT, SIGQUIT and SIGTERM: each writes a byte and does nothing else, so
//! that whatever is under way can end the remote command and clean up before we end. A signal that our
//! starter has had ignored, as nohup(1) does, stays ignored.

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use smolvm_host::cancel::Cancel;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Listens for signals that ask us to end.
pub(crate) struct Interrupt {
    cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(crate) fn listen() -> io::Result<Self> {
        let cancel = Cancel::new()?;
        let signal = Arc::new(AtomicUsize::new(0));
        let ignored = ignored_signals(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        for (number, value) in [(SIGHUP, 1), (SIGINT, 2), (SIGQUIT, 3), (SIGTERM, 15)] {
            if ignored & (1 << (value - 1)) != 0 {
                continue;
            }
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
            signal_hook::low_level::pipe::register(number, cancel.trigger()?)?;
        }
        Ok(Self { cancel, signal })
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The signal that has arrived last.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

/// The mask of ignored signals in a `/proc/<pid>/status`, signal 1 the lowest bit; none where it does
/// not tell.
fn ignored_signals(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_of_ignored_signals_is_read_or_empty() {
        let status = "Name:\tx\nSigBlk:\t00000000ffffffff\nSigIgn:\t0000000000001003\nSigCgt:\t1\n";
        assert_eq!(ignored_signals(status), 0x1003);
        assert_eq!(ignored_signals("SigIgn:\tx"), 0);
        assert_eq!(ignored_signals(""), 0);
    }
}
