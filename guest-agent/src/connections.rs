//! How many connections are open at a time, and who is told of an end.

use crate::sys::eventfd::EventFd;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections open at a time.
const MAX_CONNECTIONS: usize = 192;

/// How many connections are open, and the flag by which the main thread learns that one has ended.
#[derive(Debug)]
pub(crate) struct Connections {
    state: Mutex<ConnectionsState>,
    pub(crate) ended: EventFd,
}

#[derive(Debug, Default)]
struct ConnectionsState {
    open: usize,
    /// Whether the main thread waits for a connection's end: telling it each would cost every
    /// request a wake-up.
    tell_next_end: bool,
    tell_every_end: bool,
}

impl Connections {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            ended: EventFd::new()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> usize {
        self.lock().open
    }

    /// Whether one more may be opened; if not, the next end is told.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.lock();
        state.tell_next_end = state.open >= MAX_CONNECTIONS;
        !state.tell_next_end
    }

    pub(crate) fn tell_every_end(&self) {
        self.lock().tell_every_end = true;
    }

    pub(crate) fn open_one(&self) -> OpenConnection<'_> {
        self.lock().open += 1;
        OpenConnection(self)
    }
}

/// One open connection's place in the count.
#[derive(Debug)]
pub(crate) struct OpenConnection<'count>(&'count Connections);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        if state.tell_next_end || state.tell_every_end {
            self.0.ended.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{self, Epoll};
    use std::time::Instant;

    #[test]
    fn end_of_a_connection_is_told_only_where_somebody_waits_for_it() {
        let connections = Connections::new().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(&connections.ended, 0, epoll::IN).unwrap();
        let told = || epoll.wait(Some(Instant::now())).unwrap().count() == 1;
        drop(connections.open_one());
        assert!(!told());
        let mut open: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| connections.open_one())
            .collect();
        assert!(!connections.has_room());
        open.pop();
        assert!(told() && connections.has_room());
    }
}
