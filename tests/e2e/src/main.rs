//! End-to-end cases against the agent of a booted VM, over whatever reaches it: a CID or a Unix socket.
//!
//! Owns the cases and their closing line of counts. Refuses to boot anything: `scripts/e2e.sh` does. The same program
//! runs inside the guest as the client that the agent must refuse (`loopback`).

mod cases;
mod checksum;
mod guest;
mod loopback;

use clap::{Parser, Subcommand};
use guest::Guest;
use smolvm_host::target::Target;
use smolvm_host::transport::Address;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

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
    #[arg(long)]
    max_pss_kib: u64,
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
        What::Drive(drive) => run_cases(&drive),
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
    match address_of(target).and_then(|address| case(address, qemu)) {
        Ok(()) => {
            println!("passed  {name}\n1 passed, 0 failed, 0 skipped");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("FAILED  {name}: {reason}\n0 passed, 1 failed, 0 skipped");
            ExitCode::from(1)
        }
    }
}

fn run_cases(drive: &Drive) -> ExitCode {
    let address = match address_of(&drive.target) {
        Ok(address) => address,
        Err(error) => {
            eprintln!("smolvm-e2e: {error}");
            return ExitCode::from(2);
        }
    };
    let guest = Guest::new(address, drive);
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases::ALL
        .iter()
        .filter(|(name, _)| name.contains(&drive.only))
    {
        let began = Instant::now();
        match case(&guest) {
            Ok(()) => {
                passed += 1;
                println!("passed  {name} ({:.2} s)", began.elapsed().as_secs_f64());
            }
            Err(reason) => {
                failed += 1;
                println!("FAILED  {name}: {reason}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, 0 skipped");
    ExitCode::from(u8::from(failed > 0 || passed == 0))
}
