//! The guest that a verb's arguments mean, by the way that they ask for.

use crate::arguments::WayArguments;
use crate::failure::Failure;
use crate::ping::duration;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::Channel;
use smolvm_host::deadline::Deadline;
use smolvm_host::selection::{Choice, PROBE_LIMIT};
use smolvm_host::{Guest, GuestOptions, Target, Transfer};
use std::ffi::OsStr;
use std::io::Write;

/// The channel to the agent of a target as typed, for what ssh cannot do.
pub(crate) fn channel_to(target: &OsStr, cancel: &Cancel) -> Result<Channel, Failure> {
    let channel = agent_of(target, cancel)?.channel().cloned();
    channel.map_err(|error| Failure::guest(target, error))
}

/// The guest of a target as typed, by its agent alone.
pub(crate) fn agent_of(target: &OsStr, cancel: &Cancel) -> Result<Guest, Failure> {
    let parsed = Target::parse(target).map_err(Failure::usage)?;
    let options = GuestOptions::new().channel(Choice::Vsock).cancel(cancel);
    let guest = options.connect(&parsed);
    guest.map_err(|error| Failure::guest(target, error))
}

/// The point by which a verb has to be over, connecting and reading included.
pub(crate) fn deadline_of(timeout: Option<f64>) -> Deadline {
    Deadline::after_optional(timeout.map(duration))
}

/// A transfer for what is left until then.
pub(crate) fn transfer_by<'progress>(deadline: Deadline) -> Transfer<'progress> {
    match deadline.remaining() {
        Some(left) => Transfer::new().timeout(left),
        None => Transfer::new(),
    }
}

/// The guest of a target as typed. That ssh takes the agent's place is said here, once. A short time is shared between
/// both ways.
pub(crate) fn guest_of(
    target: &OsStr,
    way: &WayArguments,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<Guest, Failure> {
    let parsed = Target::parse(target).map_err(Failure::usage)?;
    let probe_limit = deadline
        .remaining()
        .map_or(PROBE_LIMIT, |left| PROBE_LIMIT.min(left / 2));
    let options = options_of(&parsed, way)?
        .probe_limit(probe_limit)
        .cancel(cancel);
    let guest = options
        .connect(&parsed)
        .map_err(|error| Failure::guest(target, error))?;
    if let (Some(reason), Some(destination)) = (guest.fallback(), guest.ssh_destination()) {
        let _ = writeln!(
            std::io::stderr(),
            "smolctl: the agent does not answer ({reason}); going on by ssh to {destination}"
        );
    }
    Ok(guest)
}

fn options_of(target: &Target, way: &WayArguments) -> Result<GuestOptions, Failure> {
    let mut options = GuestOptions::new();
    options = options.channel(match way.channel.as_str() {
        "vsock" => Choice::Vsock,
        "ssh" => Choice::Ssh,
        _ => Choice::Automatic,
    });
    if way.channel == "vsock" && (way.ssh.is_some() || way.ssh_identity.is_some()) {
        return Err(Failure::usage(
            "--channel vsock never goes by ssh; leave out --ssh and --ssh-identity, or --channel",
        ));
    }
    if let Some(destination) = &way.ssh {
        options = options.ssh(destination.clone());
    }
    if let Some(file) = &way.ssh_identity {
        if way.ssh.is_none() && !matches!(target, Target::Name(_)) {
            return Err(Failure::usage(
                "--ssh-identity is a key for a server that is not known; name it with --ssh [USER@]HOST[:PORT]",
            ));
        }
        options = options.ssh_identity(file);
    }
    Ok(options)
}
