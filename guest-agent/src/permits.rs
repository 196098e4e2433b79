//! A limit on how many connections do something at a time.
//!
//! Owns the count and the queue, first come, first served. Who waits sees its peer's hang-up
//! meanwhile: the permit is granted by raising a flag that the connection watches beside its socket.

use crate::connection::{Connection, ConnectionError, Source};
use crate::sys::eventfd::EventFd;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many permits, given out one a connection.
#[derive(Debug)]
pub(crate) struct Permits {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    flag: EventFd,
    granted: AtomicBool,
}

/// Leave to go on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'permits>(&'permits Permits);

impl Permits {
    pub(crate) fn new(free: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free,
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// The connection ended meanwhile, or no flag could be made.
    pub(crate) fn acquire(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Permit<'_>, ConnectionError> {
        let waiter = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(self));
            }
            let flag = EventFd::new().map_err(ConnectionError::System)?;
            let waiter = Arc::new(Waiter {
                flag,
                granted: AtomicBool::new(false),
            });
            state.waiting.push_back(Arc::clone(&waiter));
            waiter
        };
        let place = Place {
            permits: self,
            waiter,
        };
        connection.watch(&place.waiter.flag, Source::Permit)?;
        let waited = loop {
            if place.waiter.granted.load(Ordering::Acquire) {
                break Ok(());
            }
            if let Err(error) = connection.wait(None) {
                break Err(error);
            }
        };
        connection.unwatch(&place.waiter.flag)?;
        waited.map(|()| place.into_permit())
    }

    /// Gives a permit to the first who waits, or back to the heap.
    fn release(&self) {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(waiter) => {
                waiter.granted.store(true, Ordering::Release);
                waiter.flag.raise();
            }
            None => state.free += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A place in the queue: given up when dropped, with the permit, should it just have been granted.
struct Place<'permits> {
    permits: &'permits Permits,
    waiter: Arc<Waiter>,
}

impl<'permits> Place<'permits> {
    /// Exchanges a place whose permit is granted for that permit.
    fn into_permit(self) -> Permit<'permits> {
        let permits = self.permits;
        self.waiter.granted.store(false, Ordering::Release);
        Permit(permits)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.permits
            .lock()
            .waiting
            .retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        // Off the queue, nobody grants it any more.
        if self.waiter.granted.load(Ordering::Acquire) {
            self.permits.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::tests::pair;

    #[test]
    fn permit_goes_to_who_waits_first() {
        let permits = Permits::new(1);
        let stop = EventFd::new().unwrap();
        let (mut first, _peer) = pair(&stop);
        let (mut second, _other_peer) = pair(&stop);
        let permit = permits.acquire(&mut first).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| permits.acquire(&mut second).map(drop));
            while permits.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            drop(permit);
            assert!(waiting.join().unwrap().is_ok());
        });
        assert_eq!(permits.lock().free, 1);
    }

    #[test]
    fn hang_up_of_who_waits_is_seen_and_its_place_given_up() {
        let permits = Permits::new(1);
        let stop = EventFd::new().unwrap();
        let (mut first, _peer) = pair(&stop);
        let (mut second, other_peer) = pair(&stop);
        let permit = permits.acquire(&mut first).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| permits.acquire(&mut second).map(drop));
            drop(other_peer);
            assert!(matches!(
                waiting.join().unwrap(),
                Err(ConnectionError::PeerGone)
            ));
        });
        assert!(permits.lock().waiting.is_empty());
        drop(permit);
        assert_eq!(permits.lock().free, 1);
    }
}
