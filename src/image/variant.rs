//! The variants of images that are built in: each a folder of `images/` with its layout and files.

use std::fmt;
use std::str::FromStr;

/// A built-in variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// An initramfs with the agent and busybox, and nothing else.
    Minimal,
    /// The same, with drivers for a disk that has the root.
    Disk,
    /// A root file system on a disk, with an ssh server besides.
    Ssh,
}

const MINIMAL_FILES: [(&str, &str); 5] = [
    ("group", include_str!("../../images/minimal/group")),
    ("hosts", include_str!("../../images/minimal/hosts")),
    ("passwd", include_str!("../../images/minimal/passwd")),
    ("profile", include_str!("../../images/minimal/profile")),
    ("shells", include_str!("../../images/minimal/shells")),
];

const SSH_FILES: [(&str, &str); 2] = [
    ("boot-ssh", include_str!("../../images/ssh/boot-ssh")),
    ("shadow", include_str!("../../images/ssh/shadow")),
];

impl Variant {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Minimal, Self::Disk, Self::Ssh];

    /// Its name, which is also its folder's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Disk => "disk",
            Self::Ssh => "ssh",
        }
    }

    /// Its layout's text.
    #[must_use]
    pub fn layout(self) -> &'static str {
        match self {
            Self::Minimal => include_str!("../../images/minimal/layout"),
            Self::Disk => include_str!("../../images/disk/layout"),
            Self::Ssh => include_str!("../../images/ssh/layout"),
        }
    }

    /// A file that stands beside its layout.
    #[must_use]
    pub fn file(self, name: &str) -> Option<&'static str> {
        let files: &[(&str, &str)] = match self {
            Self::Minimal | Self::Disk => &MINIMAL_FILES,
            Self::Ssh => &SSH_FILES,
        };
        let (_, content) = files.iter().find(|(known, _)| *known == name)?;
        Some(content)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|variant| variant.name() == name)
            .ok_or_else(|| format!("unknown variant '{name}': use minimal, disk or ssh"))
    }
}
