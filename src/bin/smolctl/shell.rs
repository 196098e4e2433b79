//! `smolctl shell`: the login shell of a user of the guest, on this side's terminal.

use crate::arguments::ShellArguments;
use crate::environment::environment_of;
use crate::escape::Escapes;
use crate::failure::Failure;
use crate::guest::agent_of;
use crate::run::{check, end_of, placed};
use crate::session::hold;
use crate::terminal::Terminal;
use smolvm_host::Shell;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::RUN_PTY;

/// The agent sets `SHELL` for a command that has a user of its own.
const LOGIN_SHELL: &str = r#"exec "${SHELL:-/bin/sh}" -l"#;

/// Before that, where no directory is asked for: the user's home, if there is one.
const TO_HOME: &str = r#"cd "${HOME:-/}" 2>/dev/null; "#;

pub(crate) fn shell(arguments: &ShellArguments, cancel: &Cancel) -> Result<u8, Failure> {
    check(&arguments.place)?;
    let Some(terminal) = Terminal::of_standard_input() else {
        return Err(Failure::usage(
            "a shell needs a terminal, and standard input is none; use 'smolctl run -i' to send commands to one",
        ));
    };
    let target = &arguments.target;
    let as_failure = |error| Failure::guest(target, error).of_run();
    let environment = environment_of(&arguments.environment, cancel).map_err(Failure::of_run)?;
    let guest = agent_of(target, cancel).map_err(Failure::of_run)?;
    // Asked before the terminal is raw, when Ctrl-C is a signal still.
    guest.require(RUN_PTY).map_err(as_failure)?;
    let line = match arguments.place.workdir {
        Some(_) => LOGIN_SHELL.to_owned(),
        None => [TO_HOME, LOGIN_SHELL].concat(),
    };
    let command = guest.command(line).shell(Shell::Raw);
    let command = placed(command.envs(environment), &arguments.place);
    let parting = hold(command, &terminal, Some(Escapes::default()), cancel);
    Ok(end_of(&parting.map_err(as_failure)?))
}
