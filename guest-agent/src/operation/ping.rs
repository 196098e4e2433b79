//! `ping`: answered at once, whatever else runs; needs no permit.

use crate::VERSION;
use crate::connection::{Connection, ConnectionError};
use smolvm_protocol::response::Response;

pub(crate) fn serve(connection: &mut Connection<'_>) -> Result<(), ConnectionError> {
    connection.answer(
        &Response::Pong {
            agent_version: VERSION,
        },
        None,
    )
}
