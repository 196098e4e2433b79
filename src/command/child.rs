//! A command that runs beside the caller.
//!
//! Owns its thread, which ends with the command, by the kill, or when the [`Child`] is dropped, and never later.

use crate::cancel::Cancel;
use crate::channel::{Ended, Outcome};
use crate::guest::GuestError;
use std::thread::{self, JoinHandle};

/// A command that runs beside the caller. It has no number here: that is the guest's.
///
/// Dropping it hangs up, which kills the command, and waits until that is said. [`Child::wait`] waits for its own
/// end.
#[derive(Debug)]
pub struct Child {
    cancel: Cancel,
    thread: Option<JoinHandle<Result<Ended, GuestError>>>,
}

impl Child {
    pub(super) fn start(
        cancel: Cancel,
        run: impl FnOnce(&Cancel) -> Result<Ended, GuestError> + Send + 'static,
    ) -> Result<Self, GuestError> {
        let for_thread = cancel.clone();
        let thread = thread::Builder::new()
            .name("guest-command".to_owned())
            .spawn(move || run(&for_thread))
            .map_err(GuestError::Process)?;
        Ok(Self {
            cancel,
            thread: Some(thread),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// As [`super::Command::run`]; [`crate::guest::ErrorKind::Cancelled`] where it was killed from here.
    ///
    /// # Panics
    /// Where a sink did.
    pub fn wait(self) -> Result<Outcome, GuestError> {
        Ok(self.wait_to_end()?.outcome)
    }

    /// Waits for its end, and what was told besides.
    ///
    /// # Errors
    /// As [`Self::wait`].
    ///
    /// # Panics
    /// Where a sink did.
    pub fn wait_to_end(mut self) -> Result<Ended, GuestError> {
        let thread = self.thread.take().expect("only wait and drop take it");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether it has ended, so that [`Self::wait`] would return at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Hangs up, which kills the command and what it started in its process group. [`Self::wait`] then tells that
    /// it was cancelled, unless it had ended before.
    pub fn kill(&self) {
        self.cancel.cancel();
    }

    /// The same from another thread.
    #[must_use]
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.cancel.cancel();
            let _ = thread.join();
        }
    }
}
