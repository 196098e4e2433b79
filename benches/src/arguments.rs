//! The command line; `scripts/bench` fills it in.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Measures the guest agent beside others; see scripts/bench --help")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Subcommand)]
pub(crate) enum What {
    /// Measures, and leaves the raw results.
    Run(Box<RunArguments>),
    /// Draws docs/benchmarks.md and its plots from raw results.
    Report(Report),
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// Where the raw results go.
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// Rounds in which all take turns.
    #[arg(long, value_parser = rounds)]
    pub(crate) rounds: Option<usize>,
    /// Small, and few of everything.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only works whose name, `vm-put` or `here-put`, has this in it.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Our agent.
    #[arg(long)]
    pub(crate) agent: PathBuf,
    /// The program of benches/floor.c.
    #[arg(long)]
    pub(crate) floor: PathBuf,
    /// The wheel of the published agent.
    #[arg(long)]
    pub(crate) published: Option<PathBuf>,
    /// The Python that runs it, and what serves it on a Unix socket.
    #[arg(long, requires = "published")]
    pub(crate) python: Option<PathBuf>,
    #[arg(long, requires = "published")]
    pub(crate) published_server: Option<PathBuf>,
    /// The server of OpenSSH.
    #[arg(long)]
    pub(crate) sshd: Option<PathBuf>,
    #[arg(long)]
    pub(crate) dropbear: Option<PathBuf>,
    /// Boots VMs.
    #[arg(long, requires = "image")]
    pub(crate) smolctl: Option<PathBuf>,
    /// The image that it boots.
    #[arg(long)]
    pub(crate) image: Option<PathBuf>,
    /// A competitor that cannot be had, and why.
    #[arg(long, value_name = "NAME=REASON", value_parser = pair)]
    pub(crate) missing: Vec<(String, String)>,
    /// What of the checkout is measured.
    #[arg(long)]
    pub(crate) commit: String,
    /// A version of something that takes part.
    #[arg(long, value_name = "NAME=VERSION", value_parser = pair)]
    pub(crate) version_of: Vec<(String, String)>,
}

#[derive(Args)]
pub(crate) struct Report {
    /// The raw results.
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// The folder that gets benchmarks.md, and img/ for its plots.
    #[arg(long)]
    pub(crate) docs: PathBuf,
}

impl RunArguments {
    /// Why a competitor is missing.
    pub(crate) fn reason(&self, name: &str) -> String {
        let found = self.missing.iter().find(|(missing, _)| missing == name);
        found.map_or_else(|| "it was not given".to_owned(), |(_, why)| why.clone())
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("it has no '='; it is NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds @ 1..=99) => Ok(rounds),
        _ => Err("it is a number from 1 to 99".to_owned()),
    }
}
