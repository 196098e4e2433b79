//! Control protocol between a host and the agent in the guest: frames and messages.
//!
//! Owns what stands on the wire: the five frames ([`frame`]), the decoder that takes bytes in any
//! split ([`decoder`]), requests with each refusal's sentence ([`request`]), answers byte for byte
//! as hosts in the field know them ([`response`]), trees as streams of entries ([`tree`]),
//! sums of files ([`checksum`]), and text that need not be UTF-8 ([`text`]).
//! Refuses I/O: it knows neither sockets nor files. The normative text is `docs/protocol.md`.

pub mod answer;
pub mod checksum;
pub mod decoder;
mod float;
pub mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
pub mod python_scalar;
pub mod request;
pub mod response;
pub mod text;
pub mod tree;

/// Version of the protocol that this crate speaks (`v` in a request, `proto` in a pong).
pub const PROTOCOL_VERSION: u32 = 1;

/// The vsock port on which an agent listens unless told otherwise.
pub const AGENT_PORT: u32 = 1024;
