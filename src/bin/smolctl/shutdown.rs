//! `smolctl shutdown`.

use crate::arguments::ShutdownArguments;
use crate::failure::Failure;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::ShutdownMode;
use smolvm_host::{GuestOptions, Target};
use std::time::Duration;

/// How long the agent may take to answer; the guest ends after that.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn shutdown(arguments: &ShutdownArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = &arguments.target;
    let mode = match arguments.reboot {
        true => ShutdownMode::Reboot,
        false => ShutdownMode::PowerOff,
    };
    let parsed = Target::parse(target).map_err(Failure::usage)?;
    GuestOptions::new()
        .cancel(cancel)
        .connect(&parsed)
        .and_then(|guest| guest.shutdown(mode, LIMIT))
        .map_err(|error| Failure::guest(target, error))?;
    Ok(0)
}
