//! End-to-end cases against the agent of a booted VM, over whatever reaches it: a CID or a Unix socket.
//!
//! Owns the cases and their closing line of counts. Refuses to boot anything: `scripts/e2e.sh` does. The same program
//! runs inside the guest: as the client that the agent must refuse (`loopback`, `inherited`), and as one that meets an
//! agent of its own (`within`).

mod attack;
mod cases;
mod checksum;
mod client;
mod guest;
mod loopback;
mod monitor;
mod process;
mod report;
mod snapshot;
mod ssh;
mod within;

use clap::{Parser, Subcommand};
use guest::Guest;
use smolvm_host::target::Target;
use smolvm_host::transport::Address;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "End-to-end cases against the agent of a booted VM")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs the cases from the host.
    Drive(Drive),
    /// Has the guest shut down, and waits for its QEMU to end by that.
    Shutdown {
        /// NAME, cid:N, uds:PATH or unix:PATH.
        target: OsString,
        /// The process id of its QEMU.
        qemu: u32,
    },
    /// Logs in by ssh to a guest that has a server for that.
    Ssh(ssh::Login),
    /// Saves a VM on this machine's vhost-vsock to a file and restores it, several times; in the end it shuts down.
    Snapshot(snapshot::Arguments),
    /// In the guest: runs the cases of a client within it, against an agent of their own.
    Within {
        /// Run only the cases whose name has this in it.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// In the guest: tries what a user may not, and says how that went.
    Attack {
        #[command(subcommand)]
        what: attack::Attack,
    },
    /// In the guest: connects to the agent on a CID and says how it was met.
    Loopback {
        /// CID to connect to; 1 is the guest itself.
        cid: u32,
        /// Port to connect to.
        port: u32,
    },
    /// In the guest: has an agent inherit a socket whose peer is the guest itself, and says how that peer was met.
    Inherited {
        /// What is inherited.
        #[arg(value_enum)]
        socket: loopback::Inherited,
        /// A free port.
        port: u32,
        /// More for the agent's command line.
        #[arg(last = true)]
        options: Vec<OsString>,
    },
}

/// What to drive, and what to hold it to.
#[derive(clap::Args)]
struct Drive {
    /// NAME, cid:N, uds:PATH or unix:PATH.
    target: OsString,
    /// This program as the guest can run it: static, and of its architecture.
    #[arg(long)]
    guest_program: PathBuf,
    /// What the idle agent may be resident with, one request under way, in KiB.
    #[arg(long)]
    max_idle_kib: u64,
    /// By how much more that may have become after 64 requests at once, in KiB.
    #[arg(long)]
    max_growth_kib: u64,
    /// What process 1 and the idle agent may have of unshared memory together, in KiB.
    #[arg(long, required_unless_present = "foreign_init")]
    max_pss_kib: Option<u64>,
    /// The guest's process 1 is none of ours: leave out the cases about it.
    #[arg(long)]
    foreign_init: bool,
    /// How much one request transfers at most in one direction where a case may choose, in MiB.
    #[arg(long, default_value_t = 64)]
    max_transfer_mib: u64,
    /// Leave out the cases that take minutes in a guest that is emulated twice.
    #[arg(long)]
    short: bool,
    /// Copy 256 MiB there and back as well.
    #[arg(long)]
    large: bool,
    /// Run only the cases whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    match Arguments::parse().what {
        What::Loopback { cid, port } => loopback::meet(cid, port),
        What::Inherited {
            socket,
            port,
            options,
        } => loopback::meet_inherited(socket, port, &options),
        What::Drive(arguments) => drive(&arguments),
        What::Ssh(login) => log_in(login),
        What::Snapshot(arguments) => snapshot::run(&arguments),
        What::Within { only } => within::run(&only),
        What::Attack { what } => attack::run(what),
        What::Shutdown { target, qemu } => run_last_case(&target, qemu),
    }
}

/// Where a target as typed is reached.
fn address_of(target: &OsStr) -> Result<Address, String> {
    let target = Target::parse(target).map_err(|error| error.to_string())?;
    target.address().map_err(|error| error.to_string())
}

fn run_last_case(target: &OsStr, qemu: u32) -> ExitCode {
    let (name, case) = cases::LAST;
    report::run_case(name, || case(address_of(target)?, qemu))
}

fn log_in(login: ssh::Login) -> ExitCode {
    match address_of(&login.target) {
        Ok(address) => {
            let guest = Guest::reached_at(address);
            report::run_cases(&ssh::SshGuest { guest, login }, ssh::ALL, "")
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("smolvm-e2e: {error}");
    ExitCode::from(2)
}

fn drive(drive: &Drive) -> ExitCode {
    match address_of(&drive.target) {
        Ok(address) => {
            let mut chosen = cases::ALL.to_vec();
            chosen.extend(drive.large.then_some(cases::LARGE));
            chosen.retain(|(name, _)| !drive.short || !cases::LONG.contains(name));
            chosen.retain(|(name, _)| !drive.foreign_init || !cases::OF_PROCESS_1.contains(name));
            report::run_cases(&Guest::new(address, drive), &chosen, &drive.only)
        }
        Err(error) => refuse(&error),
    }
}
