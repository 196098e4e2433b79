//! What a guest is told that goes on after a pause or a restore: `set_clock`, `reseed`.
//!
//! Owns that the host's time is the one at which the request is sent: there may be seconds until a guest takes the
//! connection.

use super::exchange::Exchange;
use super::{Channel, ChannelError};
use crate::deadline::Deadline;
use crate::transport::Absence;
use rustix::rand::{GetRandomFlags, getrandom};
use smolvm_protocol::answer::Answer;
use smolvm_protocol::request::{Entropy, Request, UnixTime};
use std::io;
use std::time::{Duration, SystemTime};

/// The feature of agents that serve [`Channel::set_clock`].
pub const SET_CLOCK: &str = "set_clock";
/// The feature of agents that serve [`Channel::reseed`].
pub const RESEED: &str = "reseed";

/// What the kernel's generator of this host gives at once, whole: twice what any key has.
const FRESH_BYTES: usize = 64;

/// What became of a guest's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSet {
    /// Whether it was set; what is right to 100 ms stays as it is.
    pub stepped: bool,
    /// By how much it was behind, in nanoseconds; negative where it was ahead.
    pub offset_ns: i64,
}

impl Channel {
    /// Sets the guest's clock. For agents with the feature [`SET_CLOCK`].
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] where the agent may not set it, or the kernel does not take the time.
    pub fn set_clock(&self, time: UnixTime, timeout: Duration) -> Result<ClockSet, ChannelError> {
        clock_of(&self.ask(&Request::SetClock(time), timeout)?)
    }

    /// Sets the guest's clock to this host's time at the moment at which the guest is told. For agents with the
    /// feature [`SET_CLOCK`].
    ///
    /// # Errors
    /// [`Self::set_clock`]'s; [`ChannelError::Read`] where this host's clock is before 1970 or after 2262.
    pub fn sync_clock(&self, timeout: Duration) -> Result<ClockSet, ChannelError> {
        let deadline = Deadline::after(timeout);
        let connection = self.connect(Absence::IsAnError, deadline)?;
        let now = UnixTime::from_system_time(SystemTime::now()).ok_or_else(|| {
            let source = io::Error::other("it is before 1970 or after 2262; set it first");
            ChannelError::Read {
                what: "this host's clock".to_owned(),
                source,
            }
        })?;
        let mut exchange = Exchange::begin(connection, &Request::SetClock(now), deadline)?;
        clock_of(&exchange.answer(deadline)?)
    }

    /// Gives the guest's generator of random numbers bytes that nobody else knows. For agents with the feature
    /// [`RESEED`].
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] where the agent may not do so.
    pub fn reseed(&self, entropy: Entropy, timeout: Duration) -> Result<(), ChannelError> {
        self.ask(&Request::Reseed(entropy), timeout).map(drop)
    }
}

/// Fresh random bytes of this host's kernel.
///
/// # Errors
/// [`ChannelError::Read`] where the kernel gives none.
pub fn fresh_entropy() -> Result<Entropy, ChannelError> {
    let mut bytes = vec![0; FRESH_BYTES];
    let given = getrandom(&mut bytes[..], GetRandomFlags::empty());
    let whole = given
        .map_err(io::Error::from)
        .and_then(|count| match count {
            FRESH_BYTES => Entropy::new(bytes).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        });
    whole.map_err(|source| ChannelError::Read {
        what: "random bytes".to_owned(),
        source,
    })
}

fn clock_of(answer: &Answer) -> Result<ClockSet, ChannelError> {
    match (answer.stepped, answer.offset_ns) {
        (Some(stepped), Some(offset_ns)) => Ok(ClockSet { stepped, offset_ns }),
        _ => Err(ChannelError::not_an_agent(
            "its answer to set_clock does not tell what became of the clock",
        )),
    }
}
