//! Arguments of `smolctl forward` as typed.

use clap::Args;
use std::ffi::OsString;

#[derive(Debug, Args)]
pub(crate) struct ForwardArguments {
    /// The guest
    pub(crate) target: OsString,
    /// Which socket here leads to which in the guest (repeatable)
    #[arg(required = true, value_name = "LOCAL:REMOTE")]
    pub(crate) ways: Vec<OsString>,
    /// Print the lines as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
