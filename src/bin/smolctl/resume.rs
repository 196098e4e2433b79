//! `smolctl clock` and `smolctl resume`: a guest that stood still goes on.

use crate::arguments::ResumeArguments;
use crate::failure::Failure;
use crate::guest::channel_to;
use crate::output::print_line;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::ClockSet;
use smolvm_host::{Guest, GuestError};
use std::time::Duration;

/// How long the agent may take in all.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn clock(arguments: &ResumeArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let clock = tell(arguments, cancel, Guest::sync_clock)?;
    if arguments.json {
        let members = json!({ "stepped": clock.stepped, "offset_ns": clock.offset_ns });
        print_line(&members.to_string())?;
    } else {
        print_line(&words_of(clock))?;
    }
    Ok(0)
}

pub(crate) fn resume(arguments: &ResumeArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let clock = tell(arguments, cancel, Guest::resume)?;
    if arguments.json {
        let members =
            json!({ "reseeded": true, "stepped": clock.stepped, "offset_ns": clock.offset_ns });
        print_line(&members.to_string())?;
    } else {
        print_line(&format!("random numbers reseeded, {}", words_of(clock)))?;
    }
    Ok(0)
}

fn tell(
    arguments: &ResumeArguments,
    cancel: &Cancel,
    call: fn(&Guest, Duration) -> Result<ClockSet, GuestError>,
) -> Result<ClockSet, Failure> {
    let target = &arguments.target;
    let channel = channel_to(target, cancel)?;
    let guest = Guest::over_channel(&channel, cancel).map_err(Failure::local)?;
    call(&guest, LIMIT).map_err(|error| Failure::guest(target, error))
}

/// What became of a clock, to the millisecond.
fn words_of(clock: ClockSet) -> String {
    let became = match clock.stepped {
        true => "set",
        false => "left as it is",
    };
    let milliseconds = (clock.offset_ns.unsigned_abs() + 500_000) / 1_000_000;
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let side = match clock.offset_ns < 0 {
        true => "ahead",
        false => "behind",
    };
    format!("clock {became}: it was {seconds}.{rest:03} s {side}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_told_by_what_became_of_it_and_how_far_off_it_was() {
        for (stepped, offset_ns, words) in [
            (
                true,
                90_061_001_499_999,
                "clock set: it was 90061.001 s behind",
            ),
            (true, -100_500_000, "clock set: it was 0.101 s ahead"),
            (
                false,
                -7_000_000,
                "clock left as it is: it was 0.007 s ahead",
            ),
            (false, 0, "clock left as it is: it was 0.000 s behind"),
            (true, i64::MIN, "clock set: it was 9223372036.855 s ahead"),
        ] {
            assert_eq!(words_of(ClockSet { stepped, offset_ns }), words);
        }
    }
}
