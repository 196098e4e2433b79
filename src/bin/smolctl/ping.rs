//! `smolctl ping` and `smolctl wait-ready`.

use crate::arguments::{PingArguments, WaitReadyArguments};
use crate::failure::Failure;
use crate::guest::{channel_to, deadline_of, guest_of};
use crate::output::print_line;
use serde_json::{Value, json};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::Pong;
use std::time::{Duration, Instant};

pub(crate) fn ping(arguments: &PingArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = &arguments.target;
    let channel = channel_to(target, cancel)?;
    let start = Instant::now();
    let pong = channel
        .ping(duration(arguments.timeout))
        .map_err(|error| Failure::channel(target, error))?;
    tell(arguments.json, start, &members_of(&pong), &words_of(&pong))
}

pub(crate) fn wait_ready(arguments: &WaitReadyArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = &arguments.target;
    let start = Instant::now();
    let deadline = deadline_of(Some(arguments.timeout));
    let guest = guest_of(target, &arguments.way, deadline, cancel)?;
    let as_failure = |error| Failure::guest(target, error);
    guest
        .wait_ready(deadline.remaining().unwrap_or(Duration::MAX))
        .map_err(as_failure)?;
    if let Some(destination) = guest.ssh_destination() {
        let destination = destination.to_string();
        let members = json!({ "ssh": destination });
        return tell(
            arguments.json,
            start,
            &members,
            &format!("ssh to {destination}"),
        );
    }
    let pong = guest.agent().map_err(as_failure)?;
    tell(arguments.json, start, &members_of(pong), &words_of(pong))
}

/// Seconds as typed; too many for a clock mean no limit.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn members_of(pong: &Pong) -> Value {
    json!({ "agent_version": pong.agent_version, "protocol": pong.protocol })
}

fn words_of(pong: &Pong) -> String {
    format!("agent {}, protocol {}", pong.agent_version, pong.protocol)
}

/// Prints who answered, and after how long.
fn tell(as_json: bool, start: Instant, members: &Value, words: &str) -> Result<u8, Failure> {
    let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
    if as_json {
        let mut members = members.clone();
        members["milliseconds"] = json!(milliseconds);
        print_line(&members.to_string())?;
    } else {
        print_line(&format!("{words}, {milliseconds:.1} ms"))?;
    }
    Ok(0)
}
