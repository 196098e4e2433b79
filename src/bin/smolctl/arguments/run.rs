//! Arguments of what runs commands: `run` and `shell`.

use super::{WayArguments, limit};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// The variables of a command.
#[derive(Debug, Args)]
pub(crate) struct EnvironmentArguments {
    /// Set a variable for the command, or hand on the one that is set here (repeatable)
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<OsString>,
    /// Set those that a file has, NAME[=VALUE] a line, or # and a comment (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
}

/// Where a command runs, and as whom.
#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// The directory in the guest that it runs in
    #[arg(short = 'w', long, value_name = "DIR")]
    pub(crate) workdir: Option<OsString>,
    /// Whom it runs as in the guest: a name or number of its /etc/passwd
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The guest
    pub(crate) target: OsString,
    #[command(flatten)]
    pub(crate) way: WayArguments,
    /// The command line, for the guest's shell
    #[arg(
        short = 'c',
        long = "command",
        value_name = "LINE",
        allow_hyphen_values = true
    )]
    pub(crate) line: Option<OsString>,
    /// Which shell: that of a login ($SHELL -lc, with --user that user's), or raw (/bin/sh -c), for users who have none, too
    #[arg(long, default_value = "login", value_parser = ["login", "raw"])]
    pub(crate) shell: String,
    /// Send it our standard input, to its end
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal, shown on ours: all that is typed goes to it, Ctrl-C too
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Have the command killed after so long, and wait 45 s more to be told so; 0 means never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = limit)]
    pub(crate) timeout: Option<f64>,
    #[command(flatten)]
    pub(crate) environment: EnvironmentArguments,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// When it is over: once nobody holds its output any more, or once it has exited (with --tty always so)
    #[arg(long, default_value = "eof", value_parser = ["eof", "exit"])]
    pub(crate) until: String,
    /// In place of -c LINE: a program and its arguments, as they are, without a shell
    #[arg(trailing_var_arg = true, value_name = "ARGV")]
    pub(crate) argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArguments {
    /// The guest
    pub(crate) target: OsString,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[command(flatten)]
    pub(crate) environment: EnvironmentArguments,
}
