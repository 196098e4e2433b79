//! The operations, a file each: adding one adds its file and its line here.

mod connect;
mod get_file;
mod get_tree;
pub(crate) mod ping;
mod put_file;
mod put_tree;
mod reseed;
mod run;
mod set_clock;
mod shutdown;
mod timings;
mod tree;

use crate::connection::{Connection, ConnectionError};
use crate::log;
use crate::os_error;
use crate::permits::Permit;
use crate::server::Agent;
use smolvm_protocol::request::Request;
use smolvm_protocol::response::{Refusal, Response};
use std::io;

/// Carries out one request, up to its last frame, once it has the permit that its operation needs. `turn`
/// goes as soon as the request's memory does.
pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    request: Request,
    mut turn: Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let permits = match request {
        Request::Ping
        | Request::Shutdown(_)
        | Request::Timings
        | Request::SetClock(_)
        | Request::Reseed(_) => None,
        Request::Connect(_) => Some(&agent.forwarded),
        _ => Some(&agent.served),
    };
    let _permit = match permits {
        Some(permits) => Some(permits.acquire(connection)?),
        None => None,
    };
    let turn = &mut turn;
    match request {
        Request::Ping => ping::serve(connection),
        Request::Run(request) => run::serve(agent, connection, request, turn),
        Request::PutFile(request) => put_file::serve(connection, request, turn),
        Request::GetFile(request) => get_file::serve(connection, request, turn),
        Request::PutTree(request) => put_tree::serve(connection, request, turn),
        Request::GetTree(request) => get_tree::serve(connection, request, turn),
        Request::Shutdown(mode) => shutdown::serve(agent, connection, mode),
        Request::Timings => timings::serve(connection),
        Request::Connect(request) => connect::serve(connection, request, turn),
        Request::SetClock(time) => {
            let outcome = set_clock::perform(time);
            answer(connection, "set_clock", "cannot set the clock: ", outcome)
        }
        Request::Reseed(entropy) => {
            let outcome = reseed::perform(&entropy);
            answer(connection, "reseed", "cannot reseed: ", outcome)
        }
    }
}

/// Carries out one request that needs nothing of an agent.
#[cfg(feature = "fuzzing")]
pub(crate) fn serve_alone(
    connection: &mut Connection<'_>,
    request: Request,
) -> Result<(), ConnectionError> {
    match request {
        Request::PutFile(request) => put_file::serve(connection, request, &mut None),
        Request::PutTree(request) => put_tree::serve(connection, request, &mut None),
        Request::GetTree(request) => get_tree::serve(connection, request, &mut None),
        other => panic!("{other:?} needs an agent"),
    }
}

/// Answers what one call has done, or why it could not: `what` stands before the reason.
#[inline(never)]
fn answer(
    connection: &mut Connection<'_>,
    operation: &str,
    what: &str,
    outcome: io::Result<Response<'_>>,
) -> Result<(), ConnectionError> {
    match outcome {
        Ok(response) => connection.answer(&response, None),
        Err(error) => {
            let refusal = Refusal::new([what, &os_error::sentence(&error)].concat());
            refuse(connection, operation, &refusal)
        }
    }
}

/// Tells the log and the host why an operation is not carried out.
#[inline(never)]
fn refuse(
    connection: &mut Connection<'_>,
    operation: &str,
    refusal: &Refusal,
) -> Result<(), ConnectionError> {
    log::failure(&format_args!("{operation}: {refusal}"));
    connection.answer(&Response::Refused(refusal), None)
}
