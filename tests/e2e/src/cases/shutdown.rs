//! The guest's end, asked for by its host: the last case, since no guest is left for another.

use crate::guest::Checked;
use smolvm_host::channel::{Channel, SHUTDOWN, ShutdownMode};
use smolvm_host::transport::Address;
use std::time::{Duration, Instant};

/// How long the agent may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a guest with nothing to wait for may take to end, under emulation and on a busy machine.
const END_LIMIT: Duration = Duration::from_secs(5);

const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) fn ends_the_vm(address: Address, qemu: u32) -> Checked {
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
    let answered = Instant::now();
    while is_running(qemu) {
        if answered.elapsed() > END_LIMIT {
            return Err(format!("QEMU runs {END_LIMIT:?} after the answer"));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    println!(
        "measured: QEMU ended {} ms after the answer",
        answered.elapsed().as_millis()
    );
    Ok(())
}

/// Whether a process is there and more than its exit status is left of it.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}
