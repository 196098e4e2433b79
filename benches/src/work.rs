//! What is measured: each piece of work, how often, and how large.

use serde::{Deserialize, Serialize};

/// Where the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// On this machine, behind a Unix socket or a port of 127.0.0.1.
    Here,
    /// In a VM, over virtio-vsock.
    Vm,
}

/// A piece of work, or a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    Ping,
    PingOnOneProcessor,
    PingBesideStreams,
    RunShell,
    RunShellOnOneProcessor,
    RunBare,
    RunBareOnOneProcessor,
    AtOnce,
    InARow,
    Output,
    Put,
    Get,
    Start,
    IdleResident,
    IdleUnshared,
    BusyResident,
    BusyUnshared,
    StalledResident,
    FloodResident,
    AfterManyGrowth,
    AfterManyLeft,
}

/// What a sample of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    KiB,
    /// Of a hundred thousand: a percentage with three decimals.
    MilliPercent,
    Count,
}

impl Work {
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::IdleResident
            | Self::IdleUnshared
            | Self::BusyResident
            | Self::BusyUnshared
            | Self::StalledResident
            | Self::FloodResident => Unit::KiB,
            Self::AfterManyGrowth => Unit::MilliPercent,
            Self::AfterManyLeft => Unit::Count,
            _ => Unit::Nanoseconds,
        }
    }

    /// Whether whoever takes part shares one processor, so that no wake-up has to reach another.
    pub(crate) fn is_on_one_processor(self) -> bool {
        matches!(
            self,
            Self::PingOnOneProcessor | Self::RunShellOnOneProcessor | Self::RunBareOnOneProcessor
        )
    }

    /// Whether it is told as bytes moved in a time.
    pub(crate) fn moves_bytes(self) -> bool {
        matches!(self, Self::Output | Self::Put | Self::Get)
    }
}

/// How often and how large.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    pub(crate) pings: usize,
    pub(crate) runs: usize,
    pub(crate) runs_in_a_row: usize,
    pub(crate) at_once: usize,
    pub(crate) streams: usize,
    pub(crate) output_bytes: u64,
    pub(crate) file_bytes: Vec<u64>,
    /// In the VM, whose memory holds the files.
    pub(crate) vm_file_bytes: Vec<u64>,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Scale {
    /// What the report is made of.
    pub(crate) fn full(rounds: usize) -> Self {
        Self {
            rounds,
            pings: 400,
            runs: 100,
            runs_in_a_row: 10_000,
            at_once: 64,
            streams: 63,
            output_bytes: 256 * MIB,
            file_bytes: vec![KIB, MIB, 1024 * MIB],
            vm_file_bytes: vec![KIB, MIB, 256 * MIB],
        }
    }

    /// Everything once or twice, and small: whether it works, not how fast.
    pub(crate) fn quick(rounds: usize) -> Self {
        Self {
            rounds,
            pings: 10,
            runs: 4,
            runs_in_a_row: 40,
            at_once: 8,
            streams: 8,
            output_bytes: MIB,
            file_bytes: vec![KIB, MIB],
            vm_file_bytes: vec![KIB, MIB],
        }
    }

    /// How often a file of that size is moved in a round, so that a small one is timed more than once.
    pub(crate) fn files(&self, bytes: u64) -> usize {
        if bytes <= KIB {
            self.runs
        } else if bytes <= MIB {
            self.runs.div_ceil(5)
        } else {
            1
        }
    }
}
