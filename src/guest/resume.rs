//! A guest that goes on after a pause, a restore or a migration: its clock and its random numbers.

use super::{Guest, GuestError, left_until};
use crate::channel::{ClockSet, Entropy, RESEED, SET_CLOCK, UnixTime, fresh_entropy};
use crate::deadline::Deadline;
use std::time::Duration;

impl Guest {
    /// Makes a guest right that has gone on after a pause, a restore or a migration: gives its generator of random
    /// numbers fresh bytes of this host's, and sets its clock to this host's time. Within `timeout` in all.
    ///
    /// # Errors
    /// [`GuestError`]; [`GuestError::NoFeature`] where the agent cannot do both, and then nothing is done.
    pub fn resume(&self, timeout: Duration) -> Result<ClockSet, GuestError> {
        let deadline = Deadline::after(timeout);
        self.require_by(SET_CLOCK, deadline)?;
        let channel = self.require_by(RESEED, deadline)?;
        channel.reseed(fresh_entropy()?, left_until(deadline))?;
        Ok(channel.sync_clock(left_until(deadline))?)
    }

    /// Sets the guest's clock to this host's time at the moment at which the guest is told, unless it is right to
    /// 100 ms. Answered within `timeout`.
    ///
    /// # Errors
    /// [`GuestError`]; [`super::ErrorKind::Refused`] where the agent may not set it.
    pub fn sync_clock(&self, timeout: Duration) -> Result<ClockSet, GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(SET_CLOCK, deadline)?;
        Ok(channel.sync_clock(left_until(deadline))?)
    }

    /// The same to any other time.
    ///
    /// # Errors
    /// [`Self::sync_clock`]'s; [`super::ErrorKind::Refused`] also where the guest's kernel does not take the time.
    pub fn set_clock(&self, time: UnixTime, timeout: Duration) -> Result<ClockSet, GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(SET_CLOCK, deadline)?;
        Ok(channel.set_clock(time, left_until(deadline))?)
    }

    /// Gives the guest's generator of random numbers bytes that nobody else knows. Answered within `timeout`.
    ///
    /// # Errors
    /// [`GuestError`]; [`super::ErrorKind::Refused`] where the agent may not do so.
    pub fn reseed(&self, entropy: Entropy, timeout: Duration) -> Result<(), GuestError> {
        let deadline = Deadline::after(timeout);
        let channel = self.require_by(RESEED, deadline)?;
        Ok(channel.reseed(entropy, left_until(deadline))?)
    }
}
