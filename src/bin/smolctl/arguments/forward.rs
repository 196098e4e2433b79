//! Arguments of `smolctl forward` as typed.

use clap::Args;
use std::ffi::OsString;

#[derive(Debug, Args)]
pub(crate) struct ForwardArguments {
    /// The guest
    pub(crate) target: OsString,
    /// Which socket here leads to which in the guest (repeatable)
    #[arg(required_unless_present = "unix", value_name = "LOCAL:REMOTE")]
    pub(crate) ways: Vec<OsString>,
    /// The same as unix:PATH:REMOTE, a Unix socket here (repeatable)
    #[arg(long, value_name = "PATH:REMOTE")]
    pub(crate) unix: Vec<OsString>,
    /// Print the lines as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
