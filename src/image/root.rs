//! The sorted list of entries that every reader makes and every writer takes.
//!
//! Owns what an entry is. It has no field for a time: every writer gives the same one to all, so that
//! neither the clock nor a checkout gets into an image. Owners, device numbers and extended attributes
//! are content, and kept. Refuses to know where entries come from or go to.

use super::content::FileContent;
use std::collections::BTreeMap;

/// What stands at a path of the root.
#[derive(Clone, Debug)]
pub enum Content<'input> {
    /// A directory.
    Directory,
    /// A character device.
    CharacterDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Pipe,
    /// A symbolic link with its target.
    Link(String),
    /// Another name of the regular file at this path, which is an entry and sorts before it.
    HardLink(String),
    /// A regular file.
    File(FileContent<'input>),
}

/// A device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Its driver's.
    pub major: u32,
    /// The one among its driver's.
    pub minor: u32,
}

impl DeviceNumber {
    /// Whether Linux has such a number: 12 bits for the driver, 20 for its device (`MINORBITS`).
    #[must_use]
    pub fn is_possible(self) -> bool {
        self.major < 1 << 12 && self.minor < 1 << 20
    }
}

/// One entry of the root.
#[derive(Clone, Debug)]
pub struct RootEntry<'input> {
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    /// The owning user's number.
    pub uid: u32,
    /// The owning group's number.
    pub gid: u32,
    /// Extended attributes by full name (`security.capability`).
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// What stands there.
    pub content: Content<'input>,
}

impl<'input> RootEntry<'input> {
    /// An entry of user and group 0 without extended attributes.
    #[must_use]
    pub fn of_root(mode: u32, content: Content<'input>) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            attributes: BTreeMap::new(),
            content,
        }
    }
}

/// Entries by absolute path, sorted by its bytes: a directory comes before what it holds. The root
/// directory itself, `/`, is an entry only where it has a mode or an owner of its own.
pub type Root<'input> = BTreeMap<String, RootEntry<'input>>;
