//! Signals that ask us to end become a [`Cancel`].
//!
//! Owns the handlers of SIGINT, SIGTERM and SIGHUP: each writes a byte and does nothing else, so that
//! whatever is under way can end the remote command and clean up before we end.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use smolvm_host::cancel::Cancel;
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
        for (number, value) in [(SIGHUP, 1), (SIGINT, 2), (SIGTERM, 15)] {
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
