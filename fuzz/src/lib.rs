//! What is fed with arbitrary bytes, and what must hold whatever they are.
//!
//! A module a target, whose `check` panics where something does not hold; [`TARGETS`] lists them. The bytes are those of
//! whoever is not trusted there: a host's, a guest's, a VMM's, an image's. Two targets of frames and trees take them in
//! words (`script.rs`) that are easier to vary. Nothing here needs the fuzzer: `fuzz_targets/` does, and the committed
//! corpus is fed to the same functions by `cargo test`.

pub mod accounts;
pub mod agent_frames;
pub mod command_line;
pub mod connect_target;
pub mod cpio;
pub mod frames;
pub mod get_tree;
pub mod handshake;
pub mod host_frames;
pub mod manifest;
pub mod put_file;
pub mod put_tree;
pub mod requests;

mod scratch;
mod script;
mod socket;

/// A target's name, which is that of its module, program and folder in `corpus/`, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("accounts", accounts::check),
    ("agent_frames", agent_frames::check),
    ("command_line", command_line::check),
    ("connect_target", connect_target::check),
    ("cpio", cpio::check),
    ("frames", frames::check),
    ("get_tree", get_tree::check),
    ("handshake", handshake::check),
    ("host_frames", host_frames::check),
    ("manifest", manifest::check),
    ("put_file", put_file::check),
    ("put_tree", put_tree::check),
    ("requests", requests::check),
];
