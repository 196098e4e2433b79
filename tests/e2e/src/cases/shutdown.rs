//! The guest's end, asked for by its host: the last case, since no guest is left for another.

use crate::guest::{Checked, Guest};
use crate::process::{is_running, wait_until};
use smolvm_host::channel::{Channel, SHUTDOWN, ShutdownMode};
use smolvm_host::transport::Address;
use std::time::Duration;

/// How long the agent may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a guest with nothing to wait for may take to end, under emulation and on a busy machine.
const END_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn ends_the_vm(address: Address, qemu: u32) -> Checked {
    let end_limit = Guest::reached_at(address.clone()).at_its_pace(END_LIMIT, 8)?;
    let channel = Channel::new(address).map_err(|error| error.to_string())?;
    let pong = channel
        .ping(ANSWER_LIMIT)
        .map_err(|error| error.to_string())?;
    if !pong.serves(SHUTDOWN) {
        return Err(format!("its features are {:?}", pong.features));
    }
    if !is_running(qemu) {
        return Err(format!("no process {qemu} runs"));
    }
    channel
        .shutdown(ShutdownMode::PowerOff, ANSWER_LIMIT)
        .map_err(|error| error.to_string())?;
    let after = wait_until("QEMU ends", end_limit, || !is_running(qemu))?;
    println!(
        "measured: QEMU ended {} ms after the answer",
        after.as_millis()
    );
    Ok(())
}
