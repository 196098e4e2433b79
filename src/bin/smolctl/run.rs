//! `smolctl run`.

use crate::arguments::RunArguments;
use crate::failure::{Failure, SIGNAL, TIMED_OUT};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, Command, Outcome};
use smolvm_host::standard_stream::StandardStream;
use smolvm_host::target::Target;
use smolvm_protocol::request::{Environment, RunRequest, Shell, Timeout};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

pub(crate) fn run(arguments: RunArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = arguments.target.clone();
    let command = command_of(arguments)?;
    let channel = channel_to(&target, cancel)?;
    let mut stdout =
        StandardStream::stdout(cancel).map_err(|error| Failure::output(error).of_run())?;
    let mut stderr =
        StandardStream::stderr(cancel).map_err(|error| Failure::output(error).of_run())?;
    let outcome = channel
        .run(&command, &mut stdout, &mut stderr)
        .map_err(|error| Failure::channel(&target, error).of_run())?;
    Ok(exit_code(outcome))
}

/// The channel to a target as typed.
pub(crate) fn channel_to(target: &OsStr, cancel: &Cancel) -> Result<Channel, Failure> {
    let target = Target::parse(target).map_err(Failure::usage)?;
    let address = target.address().map_err(Failure::unreachable)?;
    Ok(Channel::with_cancel(address, cancel.clone()))
}

fn command_of(arguments: RunArguments) -> Result<Command, Failure> {
    if !arguments.argv.is_empty() {
        return Err(Failure::usage(
            "give one command line with -c LINE; exact arguments are not possible yet, as no agent takes \
             them, and words are never joined into a line",
        ));
    }
    let line = arguments.line.map(OsString::into_vec).unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage(
            "there is no command line; give one with -c LINE",
        ));
    }
    Ok(Command::new(RunRequest {
        command: line,
        shell: match arguments.shell.as_str() {
            "raw" => Shell::Raw,
            _ => Shell::Login,
        },
        timeout: arguments.timeout.and_then(Timeout::from_seconds),
        environment: environment_of(&arguments.environment)?,
    }))
}

fn environment_of(entries: &[OsString]) -> Result<Environment, Failure> {
    let parse = |entry: &OsString| {
        let bytes = entry.as_bytes();
        match bytes.iter().position(|&byte| byte == b'=') {
            Some(at @ 1..) => Ok((bytes[..at].to_vec(), bytes[at + 1..].to_vec())),
            _ => Err(Failure::usage(format_args!(
                "'{}' sets no variable; write -e NAME=VALUE",
                entry.to_string_lossy()
            ))),
        }
    };
    entries.iter().map(parse).collect()
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
    use crate::arguments::{Arguments, Verb};
    use clap::Parser;
    use smolvm_host::channel::ANSWER_MARGIN;

    #[test]
    fn exit_code_mirrors_status_signal_and_time_limit() {
        assert_eq!(exit_code(Outcome::Exited(42)), 42);
        assert_eq!(exit_code(Outcome::Killed(9)), 137);
        assert_eq!(exit_code(Outcome::TimedOut(1.5)), 124);
    }

    #[test]
    fn only_a_command_with_a_time_limit_is_not_waited_for_for_ever() {
        let deadline = |words: &[&str]| {
            let words = ["smolctl", "run", "cid:3", "-c", "x"].iter().chain(words);
            match Arguments::parse_from(words).verb {
                Verb::Run(arguments) => command_of(arguments).unwrap().deadline,
                _ => unreachable!("the words say run"),
            }
        };
        let limit = std::time::Duration::from_secs(2) + ANSWER_MARGIN;
        assert_eq!(deadline(&["--timeout", "2"]), Some(limit));
        assert_eq!(deadline(&["--timeout", "0"]), None);
        assert_eq!(deadline(&[]), None);
    }

    #[test]
    fn variables_need_a_name() {
        let entries = |text: &str| environment_of(&[text.into()]);
        let parsed = entries("A=b=c").unwrap();
        assert_eq!(parsed, [(b"A".to_vec(), b"b=c".to_vec())]);
        assert!(entries("A").is_err() && entries("=b").is_err());
    }
}
