//! `smolctl ping` and `smolctl wait-ready`.

use crate::arguments::{PingArguments, WaitReadyArguments};
use crate::failure::Failure;
use crate::output::print_line;
use crate::run::channel_to;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, ChannelError, Pong};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

pub(crate) fn ping(arguments: &PingArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let timeout = duration(arguments.timeout);
    ask(&arguments.target, arguments.json, cancel, |channel| {
        channel.ping(timeout)
    })
}

pub(crate) fn wait_ready(arguments: &WaitReadyArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let timeout = duration(arguments.timeout);
    ask(&arguments.target, arguments.json, cancel, |channel| {
        channel.wait_ready(timeout)
    })
}

/// Seconds as typed; too many for a clock mean no limit.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn ask(
    target: &OsStr,
    as_json: bool,
    cancel: &Cancel,
    call: impl FnOnce(&Channel) -> Result<Pong, ChannelError>,
) -> Result<u8, Failure> {
    let channel = channel_to(target, cancel)?;
    let start = Instant::now();
    let pong = call(&channel).map_err(|error| Failure::channel(target, error))?;
    let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
    if as_json {
        print_line(
            &json!({
                "agent_version": pong.agent_version,
                "protocol": pong.protocol,
                "milliseconds": milliseconds,
            })
            .to_string(),
        )?;
    } else {
        print_line(&format!(
            "agent {}, protocol {}, {milliseconds:.1} ms",
            pong.agent_version, pong.protocol
        ))?;
    }
    Ok(0)
}
