//! One point in time by which a call has to be over, or none.
//!
//! Owns the arithmetic between durations, instants and what `poll` wants. A span too long for a
//! clock means no deadline.

use rustix::event::Timespec;
use std::time::{Duration, Instant};

/// A point in time by which a call has to be over, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Option<Instant>,
}

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self { at: None };

    /// The point `span` from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(span),
        }
    }

    /// The point `span` from now, or none.
    #[must_use]
    pub fn after_optional(span: Option<Duration>) -> Self {
        span.map_or(Self::NEVER, Self::after)
    }

    /// The earlier of two.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        match (self.at, other.at) {
            (Some(one), Some(two)) => Self {
                at: Some(one.min(two)),
            },
            (at, None) | (None, at) => Self { at },
        }
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// The time left, zero once it has passed; `None` where there is no deadline.
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        self.at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The time left as `poll` takes it; `None` waits for ever.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        self.remaining()
            .and_then(|remaining| remaining.try_into().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_of_two_counts_and_none_is_later_than_any() {
        let soon = Deadline::after(Duration::ZERO);
        let late = Deadline::after(Duration::from_secs(60));
        assert_eq!(soon.or_earlier(late), soon);
        assert_eq!(Deadline::NEVER.or_earlier(late), late);
        assert!(soon.has_passed() && !late.has_passed() && !Deadline::NEVER.has_passed());
    }

    #[test]
    fn span_too_long_for_a_clock_is_no_deadline() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
    }
}
