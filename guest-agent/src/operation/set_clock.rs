//! `set_clock`: the guest's clock follows its host's; needs no permit.
//!
//! What is nearly right stays as it is: a step back is seen by whoever measures by that clock.

use crate::sys::machine;
use smolvm_protocol::request::UnixTime;
use smolvm_protocol::response::Response;
use std::io;

/// How far off the clock may be and stay as it is.
const TOLERANCE_NS: u64 = 100_000_000;

/// # Errors
/// The clock is further off, and cannot be set.
pub(crate) fn perform(time: UnixTime) -> io::Result<Response<'static>> {
    // Neither is negative, and so the difference fits.
    let offset_ns = time.nanoseconds() - machine::clock_ns();
    let stepped = offset_ns.unsigned_abs() > TOLERANCE_NS;
    if stepped {
        machine::set_clock_ns(time.nanoseconds())?;
    }
    Ok(Response::Clock { stepped, offset_ns })
}
