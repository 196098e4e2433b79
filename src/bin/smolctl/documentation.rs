//! `smolctl completions` and `smolctl manual`: what packages of this program install beside it.
//!
//! Owns nothing that could differ from the command line: both are made from the table that parses it.

use crate::arguments::{Arguments, CompletionsArguments, ManualArguments};
use crate::failure::Failure;
use anyhow::Context as _;
use clap::CommandFactory as _;
use std::fs;
use std::io::Write as _;

pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "smolctl",
        &mut script,
    );
    std::io::stdout()
        .write_all(&script)
        .map_err(Failure::output)?;
    Ok(0)
}

pub(crate) fn manual(arguments: &ManualArguments) -> Result<u8, Failure> {
    let folder = &arguments.output;
    let write = || {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Arguments::command().disable_help_subcommand(true), folder)
    };
    write()
        .with_context(|| format!("could not write the manual pages to {}", folder.display()))
        .map_err(Failure::local)?;
    Ok(0)
}
