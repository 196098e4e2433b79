//! Host side of the SmolVM guest agent: what a program says to a guest, and how it gets one.
//!
//! [`Guest`] is the face of it: commands and files in a guest that runs, in the manner of `std::process`, by its
//! agent or by ssh (`docs/host.md` has examples). Below are rooms that are each usable without the ones after it:
//! [`image`] makes what a guest boots, [`vm`] boots and ends it, [`transport`] reaches its agent, [`channel`]
//! speaks with the agent, [`ssh`] with a guest that has none, [`doctor`] says what of that this host can do. Refuses to know about command lines and exit codes:
//! those are `smolctl`'s, which holds no logic that a program would want, too. The wire itself is
//! `smolvm-protocol`'s.

pub mod arch;
pub mod cancel;
pub mod channel;
mod checksum;
pub mod command;
pub mod deadline;
pub mod doctor;
pub mod files;
pub mod guest;
pub mod image;
mod local_tree;
pub mod places;
pub mod printable;
pub mod selection;
pub mod ssh;
pub mod standard_stream;
pub mod target;
#[cfg(test)]
mod test_program;
pub mod transport;
pub mod vm;

pub use channel::Outcome;
pub use command::{Child, ChildStdin, Command, Output, Signal, Stdin};
pub use files::Transfer;
pub use guest::{Guest, GuestError, GuestOptions, GuestStream};
pub use smolvm_protocol::request::{Leftovers, Shell, Target as StreamTarget};
pub use ssh::SshDestination;
pub use target::Target;

/// The examples of `docs/host.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/host.md")]
struct HostDocument;
