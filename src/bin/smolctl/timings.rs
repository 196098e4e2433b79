//! `smolctl vm timings`.

use crate::arguments::VmTimingsArguments;
use crate::failure::Failure;
use crate::guest::channel_to;
use crate::output::print_line;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{ChannelError, TIMINGS};
use smolvm_host::target::VmName;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

/// How long the agent may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The unit of every name.
const UNIT: &str = "_us";

pub(crate) fn timings(arguments: &VmTimingsArguments, cancel: &Cancel) -> Result<u8, Failure> {
    VmName::parse(&arguments.name).map_err(Failure::usage)?;
    let target: &OsStr = arguments.name.as_ref();
    let channel = channel_to(target, cancel)?;
    let asked = channel.ping(LIMIT).and_then(|pong| {
        if pong.serves(TIMINGS) {
            return channel.timings(LIMIT);
        }
        Err(ChannelError::Refused {
            sentence: "it serves no timings".to_owned(),
        })
    });
    let timings = asked.map_err(|error| Failure::channel(target, error))?;
    if arguments.json {
        print_line(&json!(timings).to_string())?;
    } else {
        for line in lines(&timings) {
            print_line(&line)?;
        }
    }
    Ok(0)
}

/// A line each, the earliest first: milliseconds since the kernel started, then the name.
fn lines(timings: &BTreeMap<String, u64>) -> Vec<String> {
    let mut sorted: Vec<(u64, &str)> = timings
        .iter()
        .map(|(name, microseconds)| (*microseconds, name.as_str()))
        .collect();
    sorted.sort_unstable();
    let line = |(microseconds, name): (u64, &str)| {
        let name = name.strip_suffix(UNIT).unwrap_or(name).escape_debug();
        format!("{:>10.1} ms  {name}", microseconds as f64 / 1000.0)
    };
    sorted.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_shown_earliest_first_and_in_milliseconds() {
        let timings = [("a_us".to_owned(), 2_500), ("b\n_us".to_owned(), 1_000)].into();
        assert_eq!(lines(&timings), ["       1.0 ms  b\\n", "       2.5 ms  a"]);
    }
}
