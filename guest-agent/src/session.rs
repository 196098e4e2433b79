//! A connection's one request: its first frame under its time limits, then its operation.
//!
//! Owns the time limits of a request not yet complete, and the rule that one control frame over
//! 64 KiB is in memory at a time. Refuses to carry out anything: that is `operation/`.

use crate::connection::{Arrived, Connection, ConnectionError, Patience};
use crate::log;
use crate::operation;
use crate::permits::Permit;
use crate::server::Agent;
use smolvm_protocol::frame::{FrameType, MAX_CHUNK_BYTES};
use smolvm_protocol::request::Request;
use smolvm_protocol::response::{Refusal, Response};
use std::time::{Duration, Instant};

/// From one byte of the request's frame to the next.
const REQUEST_BETWEEN_BYTES: Duration = Duration::from_secs(5);

/// The whole of the request's frame; the wait for the large frames' turn is not counted.
const REQUEST_IN_ALL: Duration = Duration::from_secs(30);

/// Serves the one request of `connection`, up to its last frame.
pub(crate) fn serve(agent: &Agent, connection: &mut Connection<'_>) -> Result<(), ConnectionError> {
    match receive(agent, connection) {
        Ok((request, turn)) => operation::serve(agent, connection, request, turn),
        Err(NoRequest::Refused(refusal)) => {
            // Without its sentence, which may name variables of an environment.
            log::failure(&"a request was refused, and its host told why");
            connection.answer(&Response::Refused(&refusal), None)
        }
        Err(NoRequest::Connection(error)) => Err(error),
    }
}

/// Why there is no request.
enum NoRequest {
    Refused(Refusal),
    Connection(ConnectionError),
}

impl From<ConnectionError> for NoRequest {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Frame(error) => {
                Self::Refused(Refusal::new(format!("bad request: {error}")))
            }
            other => Self::Connection(other),
        }
    }
}

/// Receives the request, and with a large one the turn that it holds while it is in memory.
fn receive<'agent>(
    agent: &'agent Agent,
    connection: &mut Connection<'_>,
) -> Result<(Request, Option<Permit<'agent>>), NoRequest> {
    let mut patience = Patience {
        between_bytes: REQUEST_BETWEEN_BYTES,
        until: Some(Instant::now() + REQUEST_IN_ALL),
    };
    let header = loop {
        if let Arrived::Header(header) = connection.next_event(&patience)? {
            break header;
        }
    };
    if header.frame_type != FrameType::JSON {
        return Err(NoRequest::Refused(Refusal::new(format!(
            "bad request: the first frame has type {}, not {} (JSON)",
            header.frame_type,
            FrameType::JSON
        ))));
    }
    let mut turn = None;
    if header.payload_bytes as usize > MAX_CHUNK_BYTES {
        let asked = Instant::now();
        turn = Some(agent.large_frame.acquire(connection)?);
        patience.until = patience.until.map(|until| until + asked.elapsed());
        connection.expect_bulk();
    }
    let mut payload = Vec::new();
    while let Arrived::Payload(range) = connection.next_event(&patience)? {
        let bytes = connection.bytes(range);
        if payload.try_reserve(bytes.len()).is_err() {
            return Err(NoRequest::Refused(Refusal::new(
                "agent error: out of memory for the request",
            )));
        }
        payload.extend_from_slice(bytes);
    }
    let request = Request::parse(&payload).map_err(NoRequest::Refused)?;
    Ok((request, turn))
}
