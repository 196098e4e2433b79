//! What `put_tree` and `get_tree` share: why one ends early, the count of entries, the last frame.

use crate::connection::{Connection, ConnectionError};
use crate::os_error;
use smolvm_protocol::response::{Refusal, Response};
use smolvm_protocol::tree::MAX_SKIPPED_SHOWN;
use std::io;

/// Why a tree goes no further.
pub(super) enum Failure {
    /// The host is told.
    Refused(Refusal),
    /// There is nobody to tell.
    Connection(ConnectionError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// How many entries there were, and which were left out.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) entries: u64,
    skipped: Vec<Vec<u8>>,
}

impl Tally {
    pub(super) fn skip(&mut self, path: &[u8]) {
        if self.skipped.len() < MAX_SKIPPED_SHOWN {
            self.skipped.push(path.to_vec());
        }
    }
}

/// Sends the last frame.
pub(super) fn answer(
    connection: &mut Connection<'_>,
    operation: &str,
    ended: Result<(), Failure>,
    tally: &Tally,
) -> Result<(), ConnectionError> {
    match ended {
        Ok(()) => {
            let answer = Response::Tree {
                entries: tally.entries,
                skipped: &tally.skipped,
            };
            connection.answer(&answer, None)
        }
        Err(Failure::Refused(refusal)) => super::refuse(connection, operation, &refusal),
        Err(Failure::Connection(error)) => Err(error),
    }
}

/// The refusal for an error about what is at `path` below `root`, or the root where it is empty; `what`
/// was tried stands before it.
pub(super) fn refused(what: &str, error: io::Error, root: &[u8], path: &[u8]) -> Refusal {
    let slash: &[u8] = if path.is_empty() || root.ends_with(b"/") {
        b""
    } else {
        b"/"
    };
    let about = os_error::sentence_about(&error, &[root, slash, path].concat());
    Refusal::new([what, &about].concat())
}
