//! What a host says to an agent: `ping`, `run`, `put_file`, `get_file`, `put_tree`, `get_tree`, `connect`, `shutdown`,
//! `timings`, `set_clock`, `reseed`.
//!
//! Owns the calls and their errors; one connection a call, as the protocol wants. [`exchange`] holds
//! what they share, [`run`], [`put`] and the others one call each. Refuses to choose a target or to know
//! how a guest was booted. Every call ends: by its deadline, by [`STALL_LIMIT`] or [`SYNC_LIMIT`], or by the peer, and
//! `run`, which may rightly be silent for days, also by its [`Cancel`].

mod controls;
mod error;
mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod get;
mod get_tree;
mod outgoing;
mod put;
mod put_tree;
mod relay;
mod resume;
mod run;
mod sink;
mod stream;
mod window;

pub(crate) use controls::Controls;
pub use error::ChannelError;
pub use get::Fetched;
pub(crate) use get::deliver;
pub(crate) use outgoing::{Input, PumpEnd};
pub use put_tree::Copied;
pub(crate) use relay::StreamEnd;
pub use resume::{ClockSet, RESEED, SET_CLOCK, fresh_entropy};
pub use run::{ANSWER_MARGIN, Command, Ended, Outcome, Told};
pub(crate) use run::{Streams, features_for};
pub use smolvm_protocol::request::{Entropy, ShutdownMode, UnixTime};
pub use smolvm_protocol::response::Usage;
pub(crate) use stream::OpenStream;

use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::printable::printable;
use crate::transport::{Absence, Address, Connection, TransportError};
use exchange::Exchange;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::request::Request;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// The feature of agents that serve [`Channel::shutdown`].
pub const SHUTDOWN: &str = "shutdown";
/// The feature of agents that serve [`Channel::timings`].
pub const TIMINGS: &str = "timings";
/// The feature of agents that give a command a terminal.
pub const RUN_PTY: &str = "run_pty";
/// The feature of agents that pass a signal on to a command that runs.
pub const RUN_SIGNAL: &str = "run_signal";
/// The feature of agents that serve [`Channel::put_tree`].
pub const PUT_TREE: &str = "put_tree";
/// The feature of agents that serve [`Channel::get_tree`].
pub const GET_TREE: &str = "get_tree";
/// The feature of agents that carry streams to sockets in the guest.
pub const CONNECT: &str = "connect";
/// The feature of agents that check an upload by a sum in its request, and tell that of a file they send.
pub const SHA256: &str = "sha256";
/// The feature of agents that check an upload by a sum that follows it.
pub const SHA256_FOLLOWS: &str = "sha256_follows";
/// The feature of agents that give an upload to a user and a group.
pub const FILE_OWNER: &str = "file_owner";
/// The feature of agents that answer an upload once it is on disk.
pub const PUT_SYNC: &str = "put_sync";
/// How long a call keeps trying to connect while nobody listens, unless its deadline is earlier.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a file transfer may stand still.
pub const STALL_LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may take to write an upload out to its disk.
pub const SYNC_LIMIT: Duration = Duration::from_secs(600);
/// How long an agent may take to answer one ping while it is waited for.
const READY_PING_LIMIT: Duration = Duration::from_secs(5);

/// An agent's answer to `ping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Version of the agent's program, as far as it is [`printable`].
    pub agent_version: String,
    /// Version of the control protocol that it speaks.
    pub protocol: u32,
    /// What it serves beyond version 1 as it began, such as [`SHUTDOWN`].
    pub features: Vec<String>,
}

impl Pong {
    /// Whether the agent tells that it serves `feature`.
    #[must_use]
    pub fn serves(&self, feature: &str) -> bool {
        self.features.iter().any(|served| served == feature)
    }
}

/// The way to one agent. Calls from several threads at once are fine: each has its own connection.
#[derive(Clone, Debug)]
pub struct Channel {
    address: Address,
    cancel: Cancel,
}

impl Channel {
    /// A channel that only deadlines end.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn new(address: Address) -> io::Result<Self> {
        Ok(Self::with_cancel(address, Cancel::new()?))
    }

    /// A channel whose calls also end when `cancel` says so.
    #[must_use]
    pub fn with_cancel(address: Address, cancel: Cancel) -> Self {
        Self { address, cancel }
    }

    /// The same way, with calls that end when `cancel` says so.
    pub(crate) fn until(&self, cancel: &Cancel) -> Self {
        Self::with_cancel(self.address.clone(), cancel.clone())
    }

    /// Where the agent is reached.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks whether an agent is there, within `timeout` in all.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn ping(&self, timeout: Duration) -> Result<Pong, ChannelError> {
        self.ping_by(Absence::IsAnError, Deadline::after(timeout))
    }

    /// Asks again and again until an agent answers, for `timeout` in all.
    ///
    /// # Errors
    /// [`ChannelError`]: at once where the peer answers but is no agent.
    pub fn wait_ready(&self, timeout: Duration) -> Result<Pong, ChannelError> {
        let deadline = Deadline::after(timeout);
        loop {
            let attempt = deadline.or_earlier(Deadline::after(READY_PING_LIMIT));
            match self.ping_by(Absence::MayEnd, attempt) {
                Err(error) if error.may_pass() && !deadline.has_passed() => {
                    crate::transport::pause(RETRY_INTERVAL, &self.cancel)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Has the guest end in order; the answer comes before it does. For agents with the feature
    /// [`SHUTDOWN`].
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] where the guest's process 1 is none of ours.
    pub fn shutdown(&self, mode: ShutdownMode, timeout: Duration) -> Result<(), ChannelError> {
        self.ask(&Request::Shutdown(mode), timeout).map(drop)
    }

    /// When things were done while the guest booted, by name: microseconds since its kernel started.
    /// For agents with the feature [`TIMINGS`].
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] where the guest's process 1 is none of ours.
    pub fn timings(&self, timeout: Duration) -> Result<BTreeMap<String, u64>, ChannelError> {
        let answer = self.ask(&Request::Timings, timeout)?;
        answer
            .timings
            .ok_or_else(|| ChannelError::not_an_agent("its answer to timings has none"))
    }

    /// A request that one control frame answers.
    fn ask(&self, request: &Request, timeout: Duration) -> Result<Answer, ChannelError> {
        let deadline = Deadline::after(timeout);
        self.begin(request, Absence::IsAnError, deadline)?
            .answer(deadline)
    }

    fn ping_by(&self, absence: Absence, deadline: Deadline) -> Result<Pong, ChannelError> {
        let mut exchange = self.begin(&Request::Ping, absence, deadline)?;
        let answer = exchange.answer(deadline)?;
        match (answer.op.as_deref(), answer.agent_version, answer.proto) {
            (Some("pong"), Some(agent_version), Some(protocol)) => Ok(Pong {
                agent_version: printable(&agent_version),
                protocol,
                features: answer.features,
            }),
            _ => Err(ChannelError::not_an_agent("its answer to ping is no pong")),
        }
    }

    /// Connects and sends a request.
    fn begin(
        &self,
        request: &Request,
        absence: Absence,
        deadline: Deadline,
    ) -> Result<Exchange, ChannelError> {
        Exchange::begin(self.connect(absence, deadline)?, request, deadline)
    }

    fn connect(&self, absence: Absence, deadline: Deadline) -> Result<Connection, ChannelError> {
        let connect_by = match absence {
            Absence::IsAnError => deadline.or_earlier(Deadline::after(CONNECT_LIMIT)),
            Absence::MayEnd => deadline,
        };
        let connection =
            crate::transport::connect(&self.address, absence, connect_by, &self.cancel);
        connection.map_err(|error| match error {
            // Somebody may listen: there was no time to find out.
            TransportError::NobodyListens { source, .. }
                if source.kind() == io::ErrorKind::TimedOut && deadline.has_passed() =>
            {
                ChannelError::TimedOut
            }
            error => error.into(),
        })
    }
}

const RETRY_INTERVAL: Duration = Duration::from_millis(25);
