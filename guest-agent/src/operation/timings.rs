//! `timings`: when what was done while the guest booted; needs no permit.

use crate::connection::{Connection, ConnectionError};
use crate::init::timings;
use smolvm_protocol::response::{Refusal, Response};

/// Where there is no record.
const NO_RECORD: &str =
    "no timings are recorded: smolvm-guest-agent init has not booted this guest";

pub(crate) fn serve(connection: &mut Connection<'_>) -> Result<(), ConnectionError> {
    match timings::read() {
        Some(record) => {
            let timings: Vec<_> = timings::parse(&record).collect();
            connection.answer(&Response::Timings(&timings), None)
        }
        None => connection.answer(&Response::Refused(&Refusal::new(NO_RECORD)), None),
    }
}
