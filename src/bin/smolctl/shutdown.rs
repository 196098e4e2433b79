//! `smolctl shutdown`.

use crate::arguments::ShutdownArguments;
use crate::failure::Failure;
use crate::guest::channel_to;
use smolvm_host::Guest;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::ShutdownMode;
use std::time::Duration;

/// How long the agent may take to answer; the guest ends after that.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn shutdown(arguments: &ShutdownArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = &arguments.target;
    let mode = match arguments.reboot {
        true => ShutdownMode::Reboot,
        false => ShutdownMode::PowerOff,
    };
    let channel = channel_to(target, cancel)?;
    Guest::over_channel(&channel, cancel)
        .map_err(Failure::local)?
        .shutdown(mode, LIMIT)
        .map_err(|error| Failure::guest(target, error))?;
    Ok(0)
}
