//! What a person names when a guest is meant: a VM's name, a CID, a Unix socket.
//!
//! Owns the syntax, parsed once into a validated type; refuses to connect. A VM's name never has a
//! colon, so that `TARGET:/path` can be told apart later.
//!
//! ```text
//! NAME        a VM that smolctl vm start made
//! cid:N       AF_VSOCK, CID 3 to 4294967294, port 1024
//! uds:PATH    a Unix socket that wants CONNECT 1024 first (Firecracker, Cloud Hypervisor, …)
//! unix:PATH   a Unix socket that is the agent's own
//! ```

use crate::transport::Address;
use crate::vm::{Registry, VmError};
use smolvm_protocol::AGENT_PORT;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest name of a VM, in bytes: it becomes part of a socket's path.
pub const MAX_NAME_BYTES: usize = 32;

/// A VM's name: 1 to [`MAX_NAME_BYTES`] letters, digits, `.`, `_`, `-`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmName {
    name: String,
}

impl VmName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`TargetError::Name`].
    pub fn parse(name: &str) -> Result<Self, TargetError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || name.len() > MAX_NAME_BYTES || !name.chars().all(is_plain) {
            return Err(TargetError::Name {
                name: name.to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// A guest's AF_VSOCK address: 3 to 0xFFFF_FFFE. 0 to 2 are the hypervisor, the local loop and the
/// host, 0xFFFF_FFFF is "any" (vsock(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestCid {
    number: u32,
}

impl GuestCid {
    /// The first that a guest can have.
    pub const FIRST: Self = Self { number: 3 };

    /// Checks a number.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (3..u32::MAX).contains(&number).then_some(Self { number })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }
}

/// A guest that somebody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A registered VM.
    Name(VmName),
    /// A guest by its CID.
    Cid(GuestCid),
    /// A Unix socket with the `CONNECT` handshake.
    ConnectSocket(PathBuf),
    /// A plain Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Parses what somebody typed.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn parse(text: &OsStr) -> Result<Self, TargetError> {
        let bytes = text.as_bytes();
        if let Some(path) = bytes.strip_prefix(b"uds:") {
            return path_of("uds", path).map(Self::ConnectSocket);
        }
        if let Some(path) = bytes.strip_prefix(b"unix:") {
            return path_of("unix", path).map(Self::Unix);
        }
        let text = text.to_string_lossy();
        if let Some(number) = text.strip_prefix("cid:") {
            let cid = number.bytes().all(|byte| byte.is_ascii_digit());
            return cid
                .then(|| number.parse().ok().and_then(GuestCid::new))
                .flatten()
                .map(Self::Cid)
                .ok_or_else(|| TargetError::Cid {
                    number: number.to_owned(),
                });
        }
        if let Some((kind, _)) = text.split_once(':') {
            return Err(TargetError::Kind {
                kind: kind.to_owned(),
            });
        }
        VmName::parse(&text).map(Self::Name)
    }

    /// Where the agent is reached.
    ///
    /// # Errors
    /// [`VmError`] where no VM of that name runs.
    pub fn address(&self) -> Result<Address, VmError> {
        Ok(match self {
            Self::Name(name) => Registry::open()?.address_of(name)?,
            Self::Cid(cid) => Address::Vsock {
                cid: *cid,
                port: AGENT_PORT,
            },
            Self::ConnectSocket(path) => Address::ConnectSocket {
                path: path.clone(),
                port: AGENT_PORT,
            },
            Self::Unix(path) => Address::Unix { path: path.clone() },
        })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(OsStr::new(text))
    }
}

fn path_of(kind: &'static str, path: &[u8]) -> Result<PathBuf, TargetError> {
    if path.is_empty() || path.contains(&0) {
        return Err(TargetError::Path { kind });
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// Why text names no guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Not a VM's name.
    Name {
        /// What was given.
        name: String,
    },
    /// Not a guest's CID.
    Cid {
        /// What was given.
        number: String,
    },
    /// No path after `uds:` or `unix:`.
    Path {
        /// The word before the colon.
        kind: &'static str,
    },
    /// An unknown word before the colon.
    Kind {
        /// That word.
        kind: String,
    },
}

impl fmt::Display for TargetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name } => write!(
                formatter,
                "'{}' is no name of a VM: use up to {MAX_NAME_BYTES} letters, digits, '.', '_' \
                 and '-', a letter or digit first",
                name.escape_debug()
            ),
            Self::Cid { number } => write!(
                formatter,
                "'{}' is no guest's CID: use a number from 3 to {}",
                number.escape_debug(),
                u32::MAX - 1
            ),
            Self::Path { kind } => write!(formatter, "'{kind}:' needs the path of a socket"),
            Self::Kind { kind } => write!(
                formatter,
                "unknown kind of target '{}:': use a VM's name, cid:N, uds:PATH or unix:PATH",
                kind.escape_debug()
            ),
        }
    }
}

impl std::error::Error for TargetError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(OsStr::new(text))
    }

    #[test]
    fn each_kind_is_told_apart() {
        assert_eq!(
            parse("cid:4294967294"),
            Ok(Target::Cid(GuestCid::new(u32::MAX - 1).unwrap()))
        );
        assert_eq!(
            parse("uds:a:b"),
            Ok(Target::ConnectSocket(PathBuf::from("a:b")))
        );
        assert_eq!(parse("unix:/x"), Ok(Target::Unix(PathBuf::from("/x"))));
        assert_eq!(
            parse("vm-1.x_y"),
            Ok(Target::Name(VmName::parse("vm-1.x_y").unwrap()))
        );
        assert_eq!(
            Target::parse(OsStr::from_bytes(b"unix:/\xff")),
            Ok(Target::Unix(PathBuf::from(OsStr::from_bytes(b"/\xff"))))
        );
    }

    #[test]
    fn malformed_targets_are_refused() {
        for number in [
            "",
            "0",
            "2",
            "4294967295",
            "4294967296",
            "-3",
            "+3",
            "0x3",
            "3 ",
        ] {
            assert!(
                matches!(
                    parse(&format!("cid:{number}")),
                    Err(TargetError::Cid { .. })
                ),
                "{number}"
            );
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", long.as_str()] {
            assert!(
                matches!(parse(name), Err(TargetError::Name { .. })),
                "{name}"
            );
        }
        assert_eq!(parse("uds:"), Err(TargetError::Path { kind: "uds" }));
        assert!(matches!(parse("tcp:x"), Err(TargetError::Kind { .. })));
    }
}
