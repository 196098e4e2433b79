//! Ending a VM: in order through its agent, else by signals.
//!
//! Owns the order: the guest syncs and powers off, QEMU ends by itself or by SIGTERM or SIGKILL, then
//! the device, then its disk and sockets go. What is known of a VM, and what it said, stays until it is
//! removed. Each step has a limit, so that a dead guest costs seconds. Who gives up keeps the VM, whatever
//! the guest does with what it was told: no signal is sent then.

use super::VmError;
use super::record::{Status, VmRecord};
use super::registry::{Registry, RegistryLock};
use crate::cancel::Cancel;
use crate::channel::{Channel, ChannelError, Command, SHUTDOWN, ShutdownMode};
use crate::deadline::Deadline;
use crate::target::VmName;
use serde::Serialize;
use smolvm_protocol::request::{RunRequest, Shell};
use std::time::Duration;

/// What the guest's shell is told where its agent cannot end it.
const POWER_OFF: &[u8] = b"sync; poweroff -f";
/// How long the agent may take over that.
const AGENT_LIMIT: Duration = Duration::from_secs(3);
/// How long QEMU may take to end once the guest was told: processes and disks have 8 s in a guest of
/// ours (guest-agent/src/init/ending.rs).
const POWER_OFF_LIMIT: Duration = Duration::from_secs(10);
/// How often is looked whether to give up meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a process may take to end by SIGTERM.
const TERM_LIMIT: Duration = Duration::from_secs(3);

/// How a VM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The guest powered off.
    PoweredOff,
    /// QEMU had to be ended.
    Killed,
    /// It had stopped before.
    AlreadyStopped,
}

/// Ends a VM; its record and its logs are kept. Of one that has never been ready nothing is.
///
/// # Errors
/// [`VmError::NoSuchVm`], [`VmError::StillStarting`], [`VmError::WouldNotEnd`], [`VmError::State`],
/// [`VmError::BrokenRecord`], [`VmError::Locked`]; [`VmError::Cancelled`], and the VM is kept.
pub fn stop(registry: &Registry, name: &VmName, cancel: &Cancel) -> Result<Ending, VmError> {
    let record = registry.get(name)?;
    let ending = end(&record, cancel)?;
    let lock = registry.lock(cancel)?;
    match registry.has_failed_to_start(&record) {
        true => clear(&lock, &record)?,
        false => lock.tidy(&record)?,
    }
    Ok(ending)
}

/// Forgets a VM that has stopped, with its logs. With `force`, one that runs is ended first.
///
/// # Errors
/// [`VmError::StillRunning`] without `force`; as [`stop`].
pub fn remove(
    registry: &Registry,
    name: &VmName,
    force: bool,
    cancel: &Cancel,
) -> Result<Ending, VmError> {
    let record = registry.get(name)?;
    if !force && record.status() == Status::Running {
        return Err(VmError::StillRunning { name: record.name });
    }
    let ending = end(&record, cancel)?;
    clear(&registry.lock(cancel)?, &record)?;
    Ok(ending)
}

/// Removes what starts have left that were killed on the way. One that does not go keeps nobody else from
/// starting.
pub(super) fn reclaim(lock: &RegistryLock<'_>, registry: &Registry) -> Result<(), VmError> {
    for record in registry.list()?.iter().flatten() {
        if registry.has_failed_to_start(record) {
            let _ = clear(lock, record);
        }
    }
    Ok(())
}

fn end(record: &VmRecord, cancel: &Cancel) -> Result<Ending, VmError> {
    let ending = match record.status() {
        Status::Starting => {
            return Err(VmError::StillStarting {
                name: record.name.clone(),
                pid: record.starter.pid,
            });
        }
        Status::Stopped => Ending::AlreadyStopped,
        Status::Running | Status::Abandoned => match power_off(record, cancel)? {
            true => Ending::PoweredOff,
            false => Ending::Killed,
        },
    };
    end_processes(record)?;
    Ok(ending)
}

/// Ends whatever is left of a VM's processes and removes its directory, unless somebody has started a
/// VM of that name meanwhile.
pub(super) fn clear(lock: &RegistryLock<'_>, record: &VmRecord) -> Result<(), VmError> {
    end_processes(record)?;
    lock.remove(&record.name, |now| {
        now.is_of_start(record) && now.status() == Status::Stopped
    })
}

fn end_processes(record: &VmRecord) -> Result<(), VmError> {
    for process in record.processes() {
        if !process.end(TERM_LIMIT) {
            return Err(VmError::WouldNotEnd { pid: process.pid });
        }
    }
    Ok(())
}

/// Asks the guest to power off; says whether QEMU has ended by that.
fn power_off(record: &VmRecord, cancel: &Cancel) -> Result<bool, VmError> {
    let (Some(address), Some(qemu)) = (record.address(), record.qemu) else {
        return Ok(false);
    };
    let channel = Channel::with_cancel(address, cancel.clone());
    let told = match channel.ping(AGENT_LIMIT) {
        Ok(pong) if pong.serves(SHUTDOWN) => {
            match channel.shutdown(ShutdownMode::PowerOff, AGENT_LIMIT) {
                // Where process 1 is none of ours, the feature helps nobody.
                Err(ChannelError::Refused { .. }) => power_off_by_command(&channel),
                outcome => outcome,
            }
        }
        Ok(_) => power_off_by_command(&channel),
        Err(error) => Err(error),
    };
    // A guest may be gone before its answer is through; an agent that is silent has powered nothing off.
    let limit = match told {
        Ok(()) | Err(ChannelError::ClosedEarly | ChannelError::Transport(_)) => POWER_OFF_LIMIT,
        Err(ChannelError::Cancelled) => return Err(VmError::Cancelled),
        Err(_) => Duration::ZERO,
    };
    let deadline = Deadline::after(limit);
    while !qemu.wait(LOOK_INTERVAL) {
        if cancel.is_cancelled() {
            return Err(VmError::Cancelled);
        }
        if deadline.has_passed() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The way of agents without the feature: nobody is asked to end, but what is written is kept.
fn power_off_by_command(channel: &Channel) -> Result<(), ChannelError> {
    let command = Command {
        request: RunRequest {
            command: POWER_OFF.to_vec(),
            shell: Shell::Raw,
            ..RunRequest::default()
        },
        deadline: Some(AGENT_LIMIT),
    };
    channel
        .run(&command, &mut std::io::sink(), &mut std::io::sink())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::registry::tests::record;

    #[test]
    fn vm_that_has_taken_the_name_meanwhile_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let registry = Registry::at(state.path());
        let lock = registry.lock(&Cancel::new().unwrap()).unwrap();
        let mut stopped = record("a", 3);
        stopped.starter.start_time += 1;
        let new = record("a", 3);
        lock.create(&new).unwrap();
        clear(&lock, &stopped).unwrap();
        clear(&lock, &new).unwrap();
        assert!(registry.dir("a").exists());
        let mut later = record("a", 3);
        later.starter.start_time += 2;
        registry.save(&later).unwrap();
        clear(&lock, &stopped).unwrap();
        assert!(registry.dir("a").exists());
        registry.save(&stopped).unwrap();
        clear(&lock, &stopped).unwrap();
        assert!(!registry.dir("a").exists());
    }
}
