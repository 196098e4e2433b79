//! Names to addresses, without keeping a connection from seeing its peer's hang-up.
//!
//! The C library resolves by a call that blocks, so that it has a thread of its own, which ends when the
//! name servers have answered or been given up (`resolver(5)`), whatever became of who asked. Owns the
//! limit on how many there are.

use crate::connection::{Connection, ConnectionError, Source};
use crate::sys::eventfd::EventFd;
use crate::sys::outgoing::{Address, Lookup};
use crate::sys::thread;
use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Names that are resolved at a time.
pub(crate) const MAX_RESOLVED: usize = 64;

/// Stack of a resolver's thread; only touched pages count.
const STACK_BYTES: usize = 128 * 1024;

static RESOLVING: AtomicUsize = AtomicUsize::new(0);

/// One name's place among those that are resolved.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let place = Self;
        // Given back by the drop, also where there are too many.
        (RESOLVING.fetch_add(1, Ordering::Relaxed) < MAX_RESOLVED).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RESOLVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why nobody has said what a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// The time is over.
    Late,
    /// As many names are asked for as may be at a time.
    TooMany,
}

struct Answer {
    flag: EventFd,
    addresses: Mutex<Vec<Address>>,
}

/// The addresses of a TCP port at `host`, an address or a name: none where nobody knows that; or why nobody has said so.
///
/// # Errors
/// The connection ended meanwhile, or there is no thread to be had.
pub(crate) fn resolve(
    connection: &mut Connection<'_>,
    host: CString,
    port: u16,
    deadline: Instant,
) -> Result<Result<Vec<Address>, Unresolved>, ConnectionError> {
    // RFC 6761, 6.3: whoever the name servers are.
    if host.as_bytes().eq_ignore_ascii_case(b"localhost") {
        let mut addresses = Address::of_tcp(c"127.0.0.1", port, Lookup::Numeric);
        addresses.extend(Address::of_tcp(c"::1", port, Lookup::Numeric));
        return Ok(Ok(addresses));
    }
    let addresses = Address::of_tcp(&host, port, Lookup::Numeric);
    if !addresses.is_empty() {
        return Ok(Ok(addresses));
    }
    let Some(place) = Place::take() else {
        return Ok(Err(Unresolved::TooMany));
    };
    let answer = Arc::new(Answer {
        flag: EventFd::new().map_err(ConnectionError::System)?,
        addresses: Mutex::default(),
    });
    let told = Arc::clone(&answer);
    let work = move || {
        let found = Address::of_tcp(&host, port, Lookup::Names);
        drop(place);
        *told
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = found;
        told.flag.raise();
    };
    thread::start(c"resolver", STACK_BYTES, Box::new(work)).map_err(ConnectionError::System)?;
    connection.watch(&answer.flag, Source::Resolved)?;
    let waited = loop {
        match connection.wait(Some(deadline)) {
            Ok(woken) if woken.has(Source::Resolved) => break Ok(true),
            Ok(_) if Instant::now() >= deadline => break Ok(false),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    connection.unwatch(&answer.flag)?;
    if !waited? {
        return Ok(Err(Unresolved::Late));
    }
    let mut addresses = answer
        .addresses
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Ok(std::mem::take(&mut *addresses)))
}
