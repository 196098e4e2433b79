//! Who is measured, and the calls that all of them have.

mod agent;
mod floor;
mod ssh;

pub(crate) use agent::{Agent, Program};
pub(crate) use floor::Floor;
pub(crate) use ssh::{Ssh, SshServer};

use crate::process::Server;
use anyhow::Result;
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::process::Child;
use std::time::Duration;

/// A competitor's name in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Name {
    Floor,
    Ours,
    Python,
    OpenSsh,
    Dropbear,
}

impl Name {
    /// As the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ours => "our agent",
            Self::Python => "Python agent",
            Self::OpenSsh => "OpenSSH",
            Self::Dropbear => "dropbear",
        }
    }

    /// Those whose requests take so long that some works are done fewer times.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::OpenSsh | Self::Dropbear)
    }
}

/// Outputs are a multiple of it, in bytes.
pub(crate) const PRINTED_AT_ONCE: u64 = 64 << 10;

/// How a command is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `true` in a shell.
    Shell,
    /// `true` alone.
    Bare,
}

/// A way to have work done. Each call measures once and checks the result; `None`: there is no such call.
pub(crate) trait Competitor {
    fn name(&self) -> Name;

    /// The smallest request and its answer.
    fn ping(&self) -> Result<Duration>;

    /// `true`, so many times in a row.
    fn runs(&self, command: Command, count: usize) -> Result<Option<Vec<Duration>>>;

    /// So many `true` in a shell at once, until the last has ended.
    fn at_once(&self, count: usize) -> Result<Duration>;

    /// A command's output.
    fn output(&self, bytes: u64) -> Result<Duration>;

    /// An upload to its folder, as [`stored`] names it.
    fn put(&self, bytes: u64) -> Result<Duration>;

    /// A download from its folder, of the file that the last upload of that size left there.
    fn get(&self, bytes: u64) -> Result<Duration>;

    /// Commands whose output never ends.
    fn streams(&self, count: usize) -> Result<Streams>;

    /// From starting another one of it until it accepts a connection.
    fn start_another(&self) -> Result<Option<Duration>>;

    /// Its server, where that is a process of this machine.
    fn server(&self) -> Option<&Server>;
}

/// What prints that many bytes, in every shell; busybox's `head` would be the slowest part of it.
pub(crate) fn printing(bytes: u64) -> String {
    format!(
        "exec dd if=/dev/zero bs=64k count={} 2>/dev/null",
        bytes / PRINTED_AT_ONCE
    )
}

/// The file of an upload of that many bytes.
pub(crate) fn stored(bytes: u64) -> String {
    format!("stored-{bytes}")
}

/// Outputs that flow, to be read; all end when this is dropped.
pub(crate) struct Streams {
    pub(crate) outputs: Vec<OwnedFd>,
    /// Clients that bring them.
    pub(crate) clients: Vec<Child>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.outputs.clear();
        for client in &mut self.clients {
            let _ = client.kill();
        }
        for client in &mut self.clients {
            let _ = client.wait();
        }
    }
}
