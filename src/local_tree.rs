//! A tree of files on this side: read to be sent, and written as it comes.
//!
//! Owns the two ends of a tree's way that lie here: [`reader`] walks a tree and never follows a link in it,
//! [`writer`] makes one, and never leaves its root, whatever a guest sends (`docs/protocol.md`, "put_tree" and
//! "get_tree"). Refuses to know connections.

mod reader;
mod staged;
mod writer;

pub(crate) use reader::{Content, ReadError, TreeReader};
pub(crate) use writer::{Begun, TreeFile, TreeWriter, WriteError};

#[cfg(test)]
mod tests;
