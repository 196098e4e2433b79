//! A command that runs beside the caller.
//!
//! Owns its standard input, and its thread, which ends with the command, by the kill, or when the [`Child`] is dropped, and never later.

use super::signal::Signal;
use super::stdin::ChildStdin;
use crate::cancel::Cancel;
use crate::channel::{ChannelError, Controls, Ended, Outcome, RUN_SIGNAL};
use crate::guest::{Guest, GuestError};
use smolvm_protocol::request::{Control, TerminalSize};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A command that runs beside the caller. It has no number here: that is the guest's.
///
/// Dropping it hangs up, which kills the command, and waits until that is said. [`Child::wait`] waits for its own
/// end.
#[derive(Debug)]
pub struct Child {
    cancel: Cancel,
    controller: Controller,
    stdin: Option<ChildStdin>,
    thread: Option<JoinHandle<Result<Ended, GuestError>>>,
}

/// What sends signals to a [`Child`], and sizes to its terminal, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Controller {
    guest: Guest,
    controls: Arc<Controls>,
    has_terminal: bool,
}

impl Controller {
    pub(super) fn new(guest: &Guest, has_terminal: bool) -> std::io::Result<Self> {
        Ok(Self {
            guest: guest.clone(),
            controls: Arc::new(Controls::new()?),
            has_terminal,
        })
    }

    /// What the command's thread sends.
    pub(super) fn controls(&self) -> Arc<Controls> {
        Arc::clone(&self.controls)
    }

    /// Has a signal sent to the command's process group, or with a terminal to that in its foreground, once the command
    /// runs. One that has ended gets none, which is no error. What the agent refuses is told with the command's end
    /// ([`crate::channel::Told::refused`]).
    ///
    /// # Errors
    /// [`GuestError::NoFeature`] where the agent sends none, [`GuestError::NotOverSsh`];
    /// [`crate::guest::ErrorKind::Refused`] where the agent takes none and many wait already.
    pub fn signal(&self, signal: Signal) -> Result<(), GuestError> {
        self.guest.require(RUN_SIGNAL)?;
        self.send(Control::Signal(signal.number()))
    }

    /// Tells the command's terminal its new size, each from 1 to 10,000 characters.
    ///
    /// # Errors
    /// As [`Self::signal`]; [`crate::guest::ErrorKind::Refused`] where the command has no terminal.
    pub fn resize(&self, rows: u16, cols: u16) -> Result<(), GuestError> {
        if !self.has_terminal {
            return Err(refused("the command has no terminal that could be resized"));
        }
        self.send(Control::Resize(TerminalSize { rows, cols }))
    }

    fn send(&self, control: Control) -> Result<(), GuestError> {
        match self.controls.add(control) {
            true => Ok(()),
            false => Err(refused(
                "many signals wait still for the agent to take them",
            )),
        }
    }
}

fn refused(sentence: &str) -> GuestError {
    let sentence = sentence.to_owned();
    ChannelError::Refused { sentence }.into()
}

impl Child {
    pub(super) fn start(
        cancel: Cancel,
        controller: Controller,
        stdin: Option<ChildStdin>,
        run: impl FnOnce(&Cancel) -> Result<Ended, GuestError> + Send + 'static,
    ) -> Result<Self, GuestError> {
        let for_thread = cancel.clone();
        let thread = thread::Builder::new()
            .name("guest-command".to_owned())
            .spawn(move || run(&for_thread))
            .map_err(GuestError::Process)?;
        Ok(Self {
            cancel,
            controller,
            stdin,
            thread: Some(thread),
        })
    }

    /// Takes its standard input, where that is [`super::Stdin::piped`] and was not taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// As [`Controller::signal`].
    ///
    /// # Errors
    /// As [`Controller::signal`].
    pub fn signal(&self, signal: Signal) -> Result<(), GuestError> {
        self.controller.signal(signal)
    }

    /// As [`Controller::resize`].
    ///
    /// # Errors
    /// As [`Controller::resize`].
    pub fn resize(&self, rows: u16, cols: u16) -> Result<(), GuestError> {
        self.controller.resize(rows, cols)
    }

    /// The same from another thread, also while this one waits.
    #[must_use]
    pub fn controller(&self) -> Controller {
        self.controller.clone()
    }

    /// Waits for its end. A standard input that was not taken ends first.
    ///
    /// # Errors
    /// As [`super::Command::run`]; [`crate::guest::ErrorKind::Cancelled`] where it was killed from here.
    ///
    /// # Panics
    /// Where a sink did.
    pub fn wait(self) -> Result<Outcome, GuestError> {
        Ok(self.wait_to_end()?.outcome)
    }

    /// The same, and what was told besides.
    ///
    /// # Errors
    /// As [`Self::wait`].
    ///
    /// # Panics
    /// Where a sink did.
    pub fn wait_to_end(mut self) -> Result<Ended, GuestError> {
        drop(self.stdin.take());
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
