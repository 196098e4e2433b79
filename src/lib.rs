//! Host side of the SmolVM guest agent: what a program says to a guest, and how it gets one.
//!
//! Owns four rooms, each usable without the ones after it: [`image`] makes what a guest boots,
//! [`vm`] boots and ends it, [`transport`] reaches its agent, [`channel`] speaks with the agent.
//! Refuses to know about command lines and exit codes: those are `smolctl`'s, which holds no logic
//! that a program would want, too. The wire itself is `smolvm-protocol`'s.

pub mod arch;
pub mod cancel;
pub mod channel;
pub mod deadline;
pub mod image;
mod local_tree;
pub mod places;
pub mod printable;
pub mod target;
pub mod transport;
pub mod vm;
