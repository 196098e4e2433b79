//! The operations, a file each: adding one adds its file and its line here.

mod get_file;
mod ping;
mod put_file;
mod run;
mod shutdown;
mod timings;

use crate::connection::{Connection, ConnectionError};
use crate::permits::Permit;
use crate::server::Agent;
use smolvm_protocol::request::Request;
use smolvm_protocol::response::{Refusal, Response};

/// Carries out one request, up to its last frame. `turn` goes as soon as the request's memory does.
pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    request: Request,
    turn: Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    match request {
        Request::Ping => ping::serve(connection),
        Request::Run(request) => run::serve(agent, connection, request, turn),
        Request::PutFile(request) => put_file::serve(agent, connection, request, turn),
        Request::GetFile(request) => get_file::serve(agent, connection, request, turn),
        Request::PutTree(_) => refuse(connection, "unknown op 'put_tree'"),
        Request::GetTree(_) => refuse(connection, "unknown op 'get_tree'"),
        Request::Shutdown(mode) => shutdown::serve(agent, connection, mode),
        Request::Timings => timings::serve(connection),
    }
}

/// Answers to what the protocol knows and this agent does not serve, as an older agent does.
fn refuse(connection: &mut Connection<'_>, sentence: &str) -> Result<(), ConnectionError> {
    connection.answer(&Response::Refused(&Refusal::new(sentence)), None)
}
