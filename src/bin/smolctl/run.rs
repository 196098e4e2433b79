//! `smolctl run`.

use crate::arguments::RunArguments;
use crate::failure::{Failure, SIGNAL, TIMED_OUT};
use crate::guest::guest_of;
use crate::ping::duration;
use smolvm_host::cancel::Cancel;
use smolvm_host::deadline::Deadline;
use smolvm_host::{Leftovers, Outcome, Shell};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn run(arguments: &RunArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let what = what_of(arguments)?;
    let environment = environment_of(&arguments.environment)?;
    let guest = guest_of(&arguments.target, &arguments.way, Deadline::NEVER, cancel)
        .map_err(Failure::of_run)?;
    let mut command = match what {
        What::Line(line) => guest.command(line).shell(match arguments.shell.as_str() {
            "raw" => Shell::Raw,
            _ => Shell::Login,
        }),
        What::Program(name, rest) => guest.program(name).args(rest),
    };
    command = command.envs(environment);
    if let Some(directory) = &arguments.workdir {
        command = command.current_dir(directory);
    }
    if let Some(user) = &arguments.user {
        command = command.user(user);
    }
    if arguments.until == "exit" {
        command = command.until_exit(Leftovers::Keep);
    }
    if let Some(seconds) = arguments.timeout {
        command = command.timeout(duration(seconds));
    }
    let outcome = command
        .run()
        .map_err(|error| Failure::guest(&arguments.target, error).of_run())?;
    Ok(exit_code(outcome))
}

/// What is to run.
enum What<'arguments> {
    Line(&'arguments OsStr),
    Program(&'arguments OsStr, &'arguments [OsString]),
}

fn what_of(arguments: &RunArguments) -> Result<What<'_>, Failure> {
    for (name, value) in [
        ("--workdir", &arguments.workdir),
        ("--user", &arguments.user),
    ] {
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(Failure::usage(format_args!(
                "{name} is empty; leave it out, or say which"
            )));
        }
    }
    match (&arguments.line, arguments.argv.split_first()) {
        (Some(line), None) if !line.is_empty() => Ok(What::Line(line)),
        (None, Some((name, rest))) if !name.is_empty() => Ok(What::Program(name, rest)),
        (Some(_), Some(_)) => Err(Failure::usage(
            "both a command line and a program are given; use -c LINE for the guest's shell, or -- ARGV without one",
        )),
        _ => Err(Failure::usage(
            "there is nothing to run; give -c LINE for the guest's shell, or -- and a program with its arguments",
        )),
    }
}

fn environment_of(entries: &[OsString]) -> Result<Vec<(&OsStr, &OsStr)>, Failure> {
    entries.iter().map(|entry| variable(entry)).collect()
}

fn variable(entry: &OsStr) -> Result<(&OsStr, &OsStr), Failure> {
    let bytes = entry.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at @ 1..) => Ok((
            OsStr::from_bytes(&bytes[..at]),
            OsStr::from_bytes(&bytes[at + 1..]),
        )),
        _ => Err(Failure::usage(format_args!(
            "'{}' sets no variable; write -e NAME=VALUE",
            entry.to_string_lossy()
        ))),
    }
}

fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        // An exit status has eight bits; so has ours.
        Outcome::Exited(status) => status.to_le_bytes()[0],
        Outcome::Killed(signal) => SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX)),
        Outcome::TimedOut(seconds) => {
            let _ = writeln!(
                std::io::stderr(),
                "smolctl: the command was killed at its time limit of {seconds} s"
            );
            TIMED_OUT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_mirrors_status_signal_and_time_limit() {
        assert_eq!(exit_code(Outcome::Exited(42)), 42);
        assert_eq!(exit_code(Outcome::Killed(9)), 137);
        assert_eq!(exit_code(Outcome::TimedOut(1.5)), 124);
    }

    #[test]
    fn variables_need_a_name() {
        let entries = [OsString::from("A=b=c")];
        let parsed = environment_of(&entries).unwrap();
        assert_eq!(parsed, [(OsStr::new("A"), OsStr::new("b=c"))]);
        for text in ["A", "=b"] {
            assert!(environment_of(&[text.into()]).is_err(), "{text}");
        }
    }
}
