//! `ping`: answered at once, whatever else runs; needs no permit.

use crate::VERSION;
use crate::connection::{Connection, ConnectionError};
use smolvm_protocol::response::Response;

/// What is served beyond version 1 as it began (`docs/protocol.md`, "Growing it").
const FEATURES: [&str; 19] = [
    "shutdown",
    "timings",
    "put_tree",
    "get_tree",
    "run_argv",
    "run_cwd",
    "run_usage",
    "run_until_exit",
    "run_user",
    "run_stdin",
    "run_signal",
    "run_pty",
    "connect",
    "set_clock",
    "reseed",
    "sha256",
    "file_owner",
    "put_sync",
    "sha256_follows",
];

pub(crate) fn serve(connection: &mut Connection<'_>) -> Result<(), ConnectionError> {
    connection.answer(&pong(), None)
}

/// The answer, which is always the same.
pub(crate) fn pong() -> Response<'static> {
    Response::Pong {
        agent_version: VERSION,
        features: &FEATURES,
    }
}
