//! A guest's clock and its random numbers, as a host makes them right.

use crate::guest::{Checked, Guest, holds, same};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, ClockSet, Outcome, UnixTime, fresh_entropy};
use smolvm_host::transport::Address;
use smolvm_host::{Guest as HostGuest, GuestError};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// How long one call may take, under emulation, too.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// By how much a case sets the guest's clock wrong.
const WRONG_SECONDS: u64 = 7200;

/// How far off a clock that was set may be found, reading it included: seconds go by in a guest that is emulated twice.
const SLACK_SECONDS: u64 = 60;

/// How often a busy machine may take longer to tell the time than a clock may be off.
const TRIES: usize = 20;

/// Deadlines under which the clock is set: the longer one for a guest so slow that the shorter is over before.
const DEADLINES_SECONDS: [f64; 2] = [3.0, 20.0];

/// A port for a second agent within the guest.
const SECOND_PORT: u32 = 2049;

/// Nobody's number.
const STRANGER: u32 = 54321;

/// Sets the guest's clock wrong, to so many seconds in the past.
pub(crate) fn set_clock_wrong(guest: &Guest) -> Checked {
    let wrong = now_seconds() - WRONG_SECONDS;
    guest.text(&format!("date -s @{wrong}")).map(drop)
}

/// That a clock was set which was wrong so, and that it is right now.
pub(crate) fn check_clock_is_right(guest: &Guest, clock: ClockSet) -> Checked {
    let behind = clock.offset_ns / 1_000_000_000;
    println!("measured: a clock that was {behind} s behind was set");
    // A save and a restore may lie between.
    let was_wrong = behind > WRONG_SECONDS as i64 / 2;
    holds(&format!("{clock:?}"), clock.stepped && was_wrong)?;
    let told = guest.text("date +%s")?;
    let now = now_seconds();
    let off = told.parse::<u64>().map(|told| told.abs_diff(now));
    holds(
        &format!("the guest's clock says {told}, the host's {now}"),
        off.is_ok_and(|off| off <= SLACK_SECONDS),
    )
}

pub(crate) fn wrong_clock(guest: &Guest) -> Checked {
    set_clock_wrong(guest)?;
    let host_guest = host_guest(&guest.channel()?)?;
    let clock = host_guest.sync_clock(CALL_LIMIT).map_err(told)?;
    check_clock_is_right(guest, clock)?;
    for _ in 0..TRIES {
        let clock = host_guest.sync_clock(CALL_LIMIT).map_err(told)?;
        if !clock.stepped {
            return holds(
                &format!("{clock:?}"),
                clock.offset_ns.unsigned_abs() <= 100_000_000,
            );
        }
    }
    Err(format!("a clock that is right was set {TRIES} times"))
}

/// A command's deadline goes by another clock than the one that is set meanwhile, back and forth.
pub(crate) fn clock_under_a_deadline(guest: &Guest) -> Checked {
    for deadline in DEADLINES_SECONDS {
        let steps = steps_under(guest, deadline);
        // Also after a failure, for the cases that follow.
        guest
            .channel()?
            .sync_clock(CALL_LIMIT)
            .map_err(|error| error.to_string())?;
        let steps = steps?;
        println!("measured: the clock was set {steps} times under a deadline of {deadline} s");
        if steps > 1 {
            return Ok(());
        }
    }
    Err("the clock could not be set before a deadline was over".to_owned())
}

/// How often the clock was set before that deadline, which has to be kept all the same.
fn steps_under(guest: &Guest, deadline: f64) -> Result<usize, String> {
    let channel = guest.channel()?;
    std::thread::scope(|scope| {
        let began = Instant::now();
        let running =
            scope.spawn(|| guest.run_with("touch /tmp/stepped; sleep 1000", Some(deadline)));
        guest.wait_until("rm /tmp/stepped 2>/dev/null", CALL_LIMIT)?;
        let mut steps = 0;
        for is_ahead in [false, true].into_iter().cycle() {
            let now = now_seconds();
            let wrong = if is_ahead {
                now + WRONG_SECONDS
            } else {
                now - WRONG_SECONDS
            };
            let wrong = UnixTime::from_nanoseconds(wrong * 1_000_000_000).ok_or("no such time")?;
            let clock = channel
                .set_clock(wrong, CALL_LIMIT)
                .map_err(|error| error.to_string())?;
            if running.is_finished()
                || began.elapsed().as_secs_f64() > deadline + SLACK_SECONDS as f64
            {
                break;
            }
            holds(&format!("{clock:?}"), clock.stepped)?;
            steps += 1;
        }
        let took = began.elapsed().as_secs_f64();
        let line = format!("a deadline of {deadline} s came after {took} s");
        holds(&line, running.is_finished() && took >= deadline)?;
        let ran = running.join().map_err(|_| "panicked".to_owned())??;
        same("outcome", &ran.outcome, &Outcome::TimedOut(deadline))?;
        Ok(steps)
    })
}

pub(crate) fn seed(guest: &Guest) -> Checked {
    let host_guest = host_guest(&guest.channel()?)?;
    for _ in 0..2 {
        let entropy = fresh_entropy().map_err(|error| error.to_string())?;
        host_guest.reseed(entropy, CALL_LIMIT).map_err(told)?;
    }
    Ok(())
}

/// By an agent that a stranger has started: the same program without any privilege.
pub(crate) fn no_privilege(guest: &Guest) -> Checked {
    let address = match guest.address().clone() {
        Address::Vsock { cid, .. } => Address::Vsock {
            cid,
            port: SECOND_PORT,
        },
        Address::ConnectSocket { path, .. } => Address::ConnectSocket {
            path,
            port: SECOND_PORT,
        },
        Address::Unix { .. } => return Err("a Unix socket leads to one agent alone".to_owned()),
    };
    let channel = Channel::new(address).map_err(|error| error.to_string())?;
    let second = host_guest(&guest.channel()?)?
        .program("smolvm-guest-agent")
        .args(["--listen", &format!("vsock:{SECOND_PORT}")])
        .user(STRANGER.to_string())
        .stdout(io::sink())
        .stderr(io::sink())
        .spawn()
        .map_err(told)?;
    channel
        .wait_ready(CALL_LIMIT)
        .map_err(|error| error.to_string())?;
    let stranger = host_guest(&channel)?;
    let before = guest.text("date +%s")?;
    let wrong = UnixTime::from_nanoseconds(1 << 60).ok_or("there is no such time")?;
    let refusals = [
        stranger.set_clock(wrong, CALL_LIMIT).map(drop),
        stranger.resume(CALL_LIMIT).map(drop),
    ];
    second.kill();
    let words = ["cannot set the clock", "cannot reseed"];
    for (refusal, words) in refusals.into_iter().zip(words) {
        let should_be = format!("refused by the agent: {words}: [Errno 1] Operation not permitted");
        same("refusal", &refusal.map_err(told), &Err(should_be))?;
    }
    let after = guest.text("date +%s")?;
    let seconds = |text: &str| text.parse::<u64>().unwrap_or_default();
    holds(
        &format!("the clock went from {before} to {after}"),
        seconds(&after).abs_diff(seconds(&before)) <= CALL_LIMIT.as_secs(),
    )
}

fn host_guest(channel: &Channel) -> Result<HostGuest, String> {
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    HostGuest::over_channel(channel, &cancel).map_err(|error| error.to_string())
}

fn told(error: GuestError) -> String {
    error.to_string()
}

fn now_seconds() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}
