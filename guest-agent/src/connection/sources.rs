//! What a connection waits for besides its socket, and which of that has happened.

use crate::sys::epoll::{self, Ready};

/// The epoll tokens of sources begin here.
pub(super) const FIRST_TOKEN: u64 = 2;

/// What a connection waits for besides its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    Stdout,
    Stderr,
    Leader,
    Permit,
    Target,
    Resolved,
}

impl Source {
    const ALL: [Self; 7] = [
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Leader,
        Self::Permit,
        Self::Target,
        Self::Resolved,
    ];

    pub(super) fn token(self) -> u64 {
        FIRST_TOKEN + self as u64
    }
}

/// Which sources had events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    all: u8,
    /// Those that may be written to, or take nothing more: what can be read alone is no reason to try.
    writable: u8,
}

impl Woken {
    pub(crate) fn has(self, source: Source) -> bool {
        self.all & (1 << source as u8) != 0
    }

    pub(crate) fn can_write(self, source: Source) -> bool {
        self.writable & (1 << source as u8) != 0
    }

    pub(super) fn note(&mut self, ready: &Ready) {
        for source in Source::ALL {
            let bit = u8::from(source.token() == ready.token) << source as u8;
            self.all |= bit;
            if ready.events & !epoll::IN != 0 {
                self.writable |= bit;
            }
        }
    }
}
