//! The machines that QEMU can make for a guest.
//!
//! Owns which there are for which architecture, and on which bus each has its devices; refuses to know QEMU's
//! other arguments.

use crate::arch::Arch;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A machine of QEMU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// A PC, for x86_64: devices are on PCI.
    Q35,
    /// What is left of a PC without PCI and its firmware, for x86_64: devices are on virtio-mmio.
    Microvm,
    /// ARM's machine without a model in hardware, for aarch64: devices are on PCI.
    Virt,
}

impl Machine {
    /// The one that a guest has where nobody asks for another.
    #[must_use]
    pub fn usual(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::Q35,
            Arch::Aarch64 => Self::Virt,
        }
    }

    /// The architecture that it is for.
    #[must_use]
    pub fn arch(self) -> Arch {
        match self {
            Self::Q35 | Self::Microvm => Arch::X86_64,
            Self::Virt => Arch::Aarch64,
        }
    }

    /// QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
            Self::Virt => "virt",
        }
    }

    /// How QEMU's names of virtio devices end that it can have.
    pub(super) fn bus(self) -> &'static str {
        match self {
            Self::Q35 | Self::Virt => "pci",
            Self::Microvm => "device",
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no machine of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMachine;

impl fmt::Display for UnknownMachine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("use q35 or microvm for x86_64, virt for aarch64")
    }
}

impl std::error::Error for UnknownMachine {}

impl FromStr for Machine {
    type Err = UnknownMachine;

    fn from_str(name: &str) -> Result<Self, UnknownMachine> {
        [Self::Q35, Self::Microvm, Self::Virt]
            .into_iter()
            .find(|machine| machine.name() == name)
            .ok_or(UnknownMachine)
    }
}
