//! `shutdown`: the guest ends in order, by process 1; needs no permit.
//!
//! The answer goes out first, and the host has until it closes to read it: only then is process 1
//! told. A host that is gone by then has asked all the same.

use crate::connection::{Connection, ConnectionError};
use crate::server::Agent;
use crate::sys::machine::End;
use smolvm_protocol::request::ShutdownMode;
use smolvm_protocol::response::{Refusal, Response};

/// Where nobody would hear of it.
const NOT_OURS: &str = "shutdown is not served here: smolvm-guest-agent init does not run as \
                        process 1 of this guest";

pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    mode: ShutdownMode,
) -> Result<(), ConnectionError> {
    let Some(process_one) = &agent.process_one else {
        return connection.answer(&Response::Refused(&Refusal::new(NOT_OURS)), None);
    };
    let answered = connection.answer(&Response::ShuttingDown, None);
    if answered.is_ok() {
        connection.finish();
    }
    process_one
        .ask_for(match mode {
            ShutdownMode::PowerOff => End::PowerOff,
            ShutdownMode::Reboot => End::Restart,
        })
        .map_err(ConnectionError::System)?;
    answered
}
