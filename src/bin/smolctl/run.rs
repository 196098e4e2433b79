//! `smolctl run`.

use crate::arguments::{PlaceArguments, RunArguments};
use crate::environment::environment_of;
use crate::failure::{Failure, SIGNAL, TIMED_OUT};
use crate::guest::guest_of;
use crate::ping::duration;
use crate::session::{Parting, hold};
use crate::terminal::Terminal;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Ended, RUN_PTY};
use smolvm_host::deadline::Deadline;
use smolvm_host::printable::printable;
use smolvm_host::standard_stream::show;
use smolvm_host::{Command, Guest, Leftovers, Outcome, Shell, Signal, Stdin};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn run(arguments: &RunArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let what = what_of(arguments)?;
    check(&arguments.place)?;
    let terminal = terminal_of(arguments)?;
    let environment = environment_of(&arguments.environment, cancel).map_err(Failure::of_run)?;
    let guest = guest_of(&arguments.target, &arguments.way, Deadline::NEVER, cancel)
        .map_err(Failure::of_run)?;
    let mut command = what.command(&guest, &arguments.shell).envs(environment);
    command = placed(command, &arguments.place);
    if arguments.until == "exit" {
        command = command.until_exit(Leftovers::Keep);
    }
    if let Some(seconds) = arguments.timeout {
        command = command.timeout(duration(seconds));
    }
    let as_failure = |error| Failure::guest(&arguments.target, error).of_run();
    if let Some(terminal) = terminal {
        // Asked before the terminal is raw, when Ctrl-C is a signal still.
        guest.require(RUN_PTY).map_err(as_failure)?;
        let parting = hold(command, &terminal, None, cancel);
        return Ok(end_of(&parting.map_err(as_failure)?));
    }
    if arguments.interactive {
        command = command.stdin(Stdin::inherit());
    }
    let ended = command.run_to_end().map_err(as_failure)?;
    Ok(end_of(&Parting::Ended(ended)))
}

fn terminal_of(arguments: &RunArguments) -> Result<Option<Terminal>, Failure> {
    if !arguments.tty {
        return Ok(None);
    }
    let hint = match arguments.interactive {
        true => "-i alone sends what it has",
        false => "leave it out, or use -i in its place to send what that has",
    };
    Terminal::of_standard_input().map(Some).ok_or_else(|| {
        Failure::usage(format_args!(
            "--tty needs a terminal, and standard input is none; {hint}"
        ))
    })
}

/// What is to run.
enum What<'arguments> {
    Line(&'arguments OsStr),
    Program(&'arguments OsStr, &'arguments [OsString]),
}

impl What<'_> {
    fn command(&self, guest: &Guest, shell: &str) -> Command<'static> {
        match self {
            Self::Line(line) => guest.command(line).shell(match shell {
                "raw" => Shell::Raw,
                _ => Shell::Login,
            }),
            Self::Program(name, rest) => guest.program(name).args(*rest),
        }
    }
}

fn what_of(arguments: &RunArguments) -> Result<What<'_>, Failure> {
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

/// That no place is empty, which would mean the default, and that a user with a colon has both names.
pub(crate) fn check(place: &PlaceArguments) -> Result<(), Failure> {
    for (name, value) in [("--workdir", &place.workdir), ("--user", &place.user)] {
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(Failure::usage(format_args!(
                "{name} is empty; leave it out, or say which"
            )));
        }
    }
    let user = place.user.as_deref().unwrap_or_default().as_bytes();
    if user.starts_with(b":") || user.ends_with(b":") {
        return Err(Failure::usage(format_args!(
            "--user '{}' has nothing on one side of its colon; write USER or USER:GROUP",
            printable(&String::from_utf8_lossy(user))
        )));
    }
    Ok(())
}

/// A command where it is to run, and as whom.
pub(crate) fn placed(mut command: Command<'static>, place: &PlaceArguments) -> Command<'static> {
    if let Some(directory) = &place.workdir {
        command = command.current_dir(directory);
    }
    if let Some(user) = &place.user {
        command = command.user(user);
    }
    command
}

/// Says what there is to say of an end, and gives the exit code.
pub(crate) fn end_of(parting: &Parting) -> u8 {
    let say = |sentence: &str| drop(writeln!(std::io::stderr(), "smolctl: {sentence}"));
    match parting {
        Parting::Ended(Ended { outcome, told }) => {
            for reason in &told.refused {
                say(&format!("refused by the agent: {}", printable(reason)));
            }
            if let Outcome::TimedOut(seconds) = outcome {
                say(&format!(
                    "the command was killed at its time limit of {seconds} s"
                ));
            }
            exit_code(*outcome)
        }
        Parting::Left => {
            show(b"smolctl: left the shell, which ends as if its terminal were gone\n");
            SIGNAL + Signal::HUP.number()
        }
    }
}

fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        // An exit status has eight bits; so has ours.
        Outcome::Exited(status) => status.to_le_bytes()[0],
        Outcome::Killed(signal) => SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX)),
        Outcome::TimedOut(_) => TIMED_OUT,
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
}
