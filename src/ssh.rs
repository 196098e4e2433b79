//! What a host says to a guest over ssh, where there is no agent: `wait_ready`, `run`, `put_file`, `get_file`.
//!
//! Owns the same calls as [`crate::channel`] as far as scripts for the guest's `sh` can make them. The system's
//! `ssh` is a child process a call; what it may do is its own configuration's business. Refuses a terminal and
//! questions. Every call ends as the channel's do, and takes what it started in the guest with it, as long as the
//! connection lives or its end is seen there.

mod destination;
mod dialogue;
mod error;
mod get;
mod marks;
mod process;
mod put;
mod run;
mod script;

pub use destination::{DestinationError, SshDestination};
pub use error::SshError;

use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::transport::pause;
use dialogue::Dialogue;
use std::time::Duration;

/// How long a guest may take to run our script, once it was connected to and logged in to.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How long one try may take while the guest is waited for.
const READY_LIMIT: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The way to one guest's ssh server. Calls from several threads at once are fine: each has its own connection.
#[derive(Clone, Debug)]
pub struct SshChannel {
    destination: SshDestination,
    cancel: Cancel,
}

impl SshChannel {
    /// A channel whose calls also end when `cancel` says so.
    #[must_use]
    pub fn new(destination: SshDestination, cancel: Cancel) -> Self {
        Self {
            destination,
            cancel,
        }
    }

    /// Where the guest's server is.
    #[must_use]
    pub fn destination(&self) -> &SshDestination {
        &self.destination
    }

    /// Logs in again and again until the guest lets us, for `timeout` in all. A refusal may pass, too: a guest that
    /// boots may have its keys later than its server.
    ///
    /// # Errors
    /// [`SshError`]: that of the last try.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), SshError> {
        let deadline = Deadline::after(timeout);
        let mut told = None;
        loop {
            let attempt = deadline.or_earlier(Deadline::after(READY_LIMIT));
            let outcome = Dialogue::begin(self, script::READY, &[], attempt)
                .and_then(|dialogue| dialogue.last_words(attempt));
            match outcome {
                Err(SshError::TimedOut) => {}
                Err(error @ (SshError::Connect { .. } | SshError::Broken { .. })) => {
                    told = Some(error);
                }
                outcome => return outcome,
            }
            let left = deadline.remaining();
            if left.is_some_and(|left| left <= RETRY_INTERVAL) {
                return Err(told.unwrap_or(SshError::TimedOut));
            }
            pause(RETRY_INTERVAL, &self.cancel).map_err(|_| SshError::Cancelled)?;
        }
    }
}
