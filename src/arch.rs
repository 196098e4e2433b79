//! The architectures a guest can have, and what differs between them by name only.
//!
//! Owns names and numbers; refuses to know how either is booted (that is `vm::qemu`'s).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A guest's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM, little-endian.
    Aarch64,
}

impl Arch {
    /// The name that `uname -m` prints in such a guest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The machine number in an ELF header (`e_machine`).
    #[must_use]
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// The serial console's name on the kernel command line.
    #[must_use]
    pub fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// The architecture this program was compiled for, where a guest can have it.
    #[must_use]
    pub fn of_this_host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no architecture of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArch {
    name: String,
}

impl fmt::Display for UnknownArch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "unknown architecture '{}': use x86_64 or aarch64",
            self.name
        )
    }
}

impl std::error::Error for UnknownArch {}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Self, UnknownArch> {
        match name {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            _ => Err(UnknownArch {
                name: name.to_owned(),
            }),
        }
    }
}
