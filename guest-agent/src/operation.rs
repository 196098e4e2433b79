//! The operations, a file each: adding one adds its file and its line here.

mod connect;
mod get_file;
mod get_tree;
mod ping;
mod put_file;
mod put_tree;
mod run;
mod shutdown;
mod timings;
mod tree;

use crate::connection::{Connection, ConnectionError};
use crate::permits::Permit;
use crate::server::Agent;
use smolvm_protocol::request::Request;

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
        Request::PutTree(request) => put_tree::serve(agent, connection, request, turn),
        Request::GetTree(request) => get_tree::serve(agent, connection, request, turn),
        Request::Shutdown(mode) => shutdown::serve(agent, connection, mode),
        Request::Timings => timings::serve(connection),
        Request::Connect(request) => connect::serve(agent, connection, request, turn),
    }
}
