//! Reminds a vsock device of a peer that may have gone without the device's telling us.
//!
//! vhost-device-vsock 0.3.0 reads `ECONNRESET` where a peer on its Unix socket closes with output unread, says
//! nothing of that to the guest, and looks at the socket no more: the guest's end would stay open, and with it the
//! request, for ever. A credit update (virtio 1.3, 5.10.6.3) has the device look again, and tell. To every other
//! device, one is what it gets behind each read of ours.

use crate::sys::socket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the device has told nothing when it is reminded, and how long at most from one time to the next.
const FIRST_AFTER: Duration = Duration::from_millis(500);
const MAX_AFTER: Duration = Duration::from_secs(8);

/// When the device of one connection is reminded next.
#[derive(Debug)]
pub(super) struct Reminder {
    /// Unknown while something has just been told.
    at: Option<Instant>,
    after: Duration,
}

impl Default for Reminder {
    fn default() -> Self {
        Self {
            at: None,
            after: FIRST_AFTER,
        }
    }
}

impl Reminder {
    /// The device has told something of the connection.
    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// Reminds where it is time to, and tells when it is next.
    pub(super) fn remind(&mut self, socket: &OwnedFd, now: Instant) -> Instant {
        if self.at.is_some_and(|at| at <= now) {
            // Who cannot be reminded goes on as before.
            let _ = socket::send_credit_update(socket);
            self.at = None;
            self.after = MAX_AFTER.min(self.after * 2);
        }
        *self.at.get_or_insert(now + self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn times_between_reminders_double_up_to_8_s_until_something_is_told() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let socket = OwnedFd::from(socket);
        let mut reminder = Reminder::default();
        let mut now = Instant::now();
        let mut next = |reminder: &mut Reminder| {
            let at = reminder.remind(&socket, now);
            let after = at - now;
            now = at;
            after.as_millis()
        };
        let times: Vec<_> = (0..6).map(|_| next(&mut reminder)).collect();
        assert_eq!(times, [500, 1000, 2000, 4000, 8000, 8000]);
        reminder.heard();
        assert_eq!(next(&mut reminder), 500);
    }

    #[test]
    fn look_before_its_time_changes_nothing() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let socket = OwnedFd::from(socket);
        let mut reminder = Reminder::default();
        let now = Instant::now();
        let at = reminder.remind(&socket, now);
        assert_eq!(reminder.remind(&socket, at - FIRST_AFTER / 2), at);
    }
}
