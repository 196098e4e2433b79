//! Signals that ask us to end become a [`Cancel`].
//!
//! Owns the handlers of SIGHUP, SIGINT, SIGQUIT and SIGTERM: each writes a byte and does nothing else, so
//! that whatever is under way can end the remote command and clean up before we end. A signal that our
//! starter has had ignored, as nohup(1) does, stays ignored.

use nix::sys::signal::{SigSet, SigmaskHow};
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

/// Starts threads by `start` that take no signal, so that all come to the calling one, which has handled those that have
/// come together before it goes on. With several threads, each could take one of them.
pub(crate) fn with_signals_kept_here<T>(start: impl FnOnce() -> T) -> T {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = before {
        // It fails for a wrong way to set it alone (`pthread_sigmask(3)`).
        let _ = before.thread_set_mask();
    }
    started
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
    use std::thread;

    /// The calling thread's mask of blocked signals, as the kernel tells it.
    fn blocked() -> String {
        let status = fs::read_to_string("/proc/thread-self/status").expect("there is a /proc");
        let line = status.lines().find(|line| line.starts_with("SigBlk:"));
        line.expect("a thread has a mask").to_owned()
    }

    #[test]
    fn thread_takes_no_signal_and_who_starts_it_takes_those_of_before() {
        let before = blocked();
        let thread = with_signals_kept_here(|| thread::spawn(blocked));
        assert_ne!(thread.join().expect("it ends"), before);
        assert_eq!(blocked(), before);
    }

    #[test]
    fn mask_of_ignored_signals_is_read_or_empty() {
        let status = "Name:\tx\nSigBlk:\t00000000ffffffff\nSigIgn:\t0000000000001003\nSigCgt:\t1\n";
        assert_eq!(ignored_signals(status), 0x1003);
        assert_eq!(ignored_signals("SigIgn:\tx"), 0);
        assert_eq!(ignored_signals(""), 0);
    }
}
