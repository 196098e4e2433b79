//! Entries for `fuzz/`: calls by a connected socket, whose agent says all that it will say in `say`, once the request was
//! sent.

use super::exchange::Exchange;
use super::outgoing::Input;
use super::run::{Streams, stream};
use super::stream::OpenStream;
use super::{ChannelError, Copied, Ended, get_tree};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::local_tree::TreeWriter;
use crate::transport::Connection;
use smolvm_protocol::request::{Request, RunRequest};
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// No call waits for more than is there; one that does is found by this.
const LIMIT: Duration = Duration::from_secs(60);

fn begin(
    socket: OwnedFd,
    request: &Request,
    cancel: &Cancel,
    say: &mut dyn FnMut(),
) -> Result<Exchange, ChannelError> {
    let connection = Connection::new(socket, usize::MAX, cancel.clone());
    let exchange = Exchange::begin(connection, request, Deadline::after(LIMIT))?;
    say();
    Ok(exchange)
}

/// Runs a command: its standard output, its standard error, and how it ended.
pub fn run(
    socket: OwnedFd,
    request: &RunRequest,
    input: Option<OwnedFd>,
    cancel: &Cancel,
    say: &mut dyn FnMut(),
) -> (Vec<u8>, Vec<u8>, Result<Ended, ChannelError>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = Streams {
        stdout: &mut stdout,
        stderr: &mut stderr,
        input: input.map(|descriptor| Input {
            descriptor,
            what: "standard input",
            pump: None,
        }),
        controls: None,
    };
    let ended = begin(socket, &Request::Run(request.clone()), cancel, say)
        .and_then(|mut exchange| stream(&mut exchange, request, streams, Deadline::after(LIMIT)));
    (stdout, stderr, ended)
}

/// Opens a stream, and carries it to and from `client`, which does not block: whether both sides said all.
///
/// # Errors
/// [`ChannelError`].
pub fn relay(
    socket: OwnedFd,
    request: &Request,
    client: BorrowedFd<'_>,
    cancel: &Cancel,
    say: &mut dyn FnMut(),
) -> Result<bool, ChannelError> {
    let mut exchange = begin(socket, request, cancel, say)?;
    exchange.answer(Deadline::after(LIMIT))?;
    let mut stream = OpenStream {
        exchange,
        cancel: cancel.clone(),
    };
    let end = stream.relay(client)?;
    Ok(end == super::StreamEnd::Whole)
}

/// Writes the tree that comes to `local`, as [`super::Channel::get_tree`] does.
///
/// # Errors
/// [`ChannelError`].
pub fn get_tree(
    socket: OwnedFd,
    request: &Request,
    local: &Path,
    name: Option<&OsStr>,
    cancel: &Cancel,
    say: &mut dyn FnMut(),
) -> Result<Copied, ChannelError> {
    let tree = TreeWriter::new(local, name).map_err(|source| ChannelError::Write {
        what: local.display().to_string(),
        source,
    })?;
    let exchange = begin(socket, request, cancel, say)?;
    get_tree::receive(exchange, tree, Deadline::after(LIMIT), &mut |_| {}).1
}
