//! Arguments of `smolctl vm` as typed.

use super::seconds;
use clap::{Args, Subcommand};
use smolvm_host::vm::{Forward, Machine};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct VmArguments {
    #[command(subcommand)]
    pub(crate) verb: VmVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmVerb {
    /// Boot an image and wait until its agent answers; prints the VM's name
    ///
    /// What the guest says on its console goes to console.log in the VM's state folder. It has no bound,
    /// so a guest that is not trusted wants a quota on the file system of SMOLVM_STATE_DIR.
    Start(VmStartArguments),
    /// Show the VMs of this user
    ///
    /// One is starting, running, stopped, or abandoned: its start was killed, and the next one ends what is left of it.
    List(VmListArguments),
    /// Power VMs off; what is known of them and their logs stay
    Stop(VmStopArguments),
    /// Forget stopped VMs, with their logs
    Rm(VmRmArguments),
    /// Show what a VM's guest, its QEMU or its vsock device have said
    ///
    /// On a terminal, without what would steer it. A guest's console has no bound.
    Logs(VmLogsArguments),
    /// Show when what was done while a VM booted
    Timings(VmTimingsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct VmStartArguments {
    /// The image folder; otherwise images/minimal-x86_64 or images/minimal-aarch64, as this machine is, in the
    /// cache folder
    #[arg(long, value_name = "DIR")]
    pub(crate) image: Option<PathBuf>,
    /// A disk of your own, such as image inject -o NAME.ext4 makes, as the root in place of the image's; the VM
    /// writes to a copy. The image has to have drivers for it: its variant is disk or ssh
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    /// The VM's name; otherwise the next free vmN
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// QEMU's machine: q35 (the usual one) or microvm for x86_64, virt for aarch64
    #[arg(long)]
    pub(crate) machine: Option<Machine>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, allow_negative_numbers = true,
          value_parser = number::<64, 1_048_576>)]
    pub(crate) memory: u32,
    /// Number of CPUs
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
          value_parser = number::<1, 255>)]
    pub(crate) cpus: u32,
    /// Use KVM or fail
    #[arg(long, conflicts_with = "tcg")]
    pub(crate) kvm: bool,
    /// Use emulation, even where KVM works
    #[arg(long)]
    pub(crate) tcg: bool,
    /// The guest's network: none, or user (QEMU's own, with 172.16.0.2 for the guest); user where a port is
    /// forwarded, otherwise none
    #[arg(long, value_enum)]
    pub(crate) net: Option<NetworkKind>,
    /// Lead a port of 127.0.0.1 to one of the guest's (repeatable)
    #[arg(long, value_name = "HOSTPORT:GUESTPORT")]
    pub(crate) forward: Vec<Forward>,
    /// A public key that may log in as root, for images and disks with an ssh server that reads it from the kernel's
    /// command line
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_key: Option<PathBuf>,
    /// Which vsock device: the kernel's /dev/vhost-vsock, or the program vhost-device-vsock; otherwise
    /// the kernel's where it can be opened
    #[arg(long, value_name = "DEVICE", value_parser = ["kernel", "vhost-user"])]
    pub(crate) vsock: Option<String>,
    /// Words to add to the kernel's command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) kernel_append: Option<String>,
    /// How long the agent may take to answer
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print the VM as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `--net` can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkKind {
    /// No network
    None,
    /// QEMU's own
    User,
}

#[derive(Debug, Args)]
pub(crate) struct VmListArguments {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VmTimingsArguments {
    /// The VM's name
    pub(crate) name: String,
    /// Print a JSON object of microseconds
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VmStopArguments {
    /// The VMs' names
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) names: Vec<String>,
    /// Every VM that runs
    #[arg(long)]
    pub(crate) all: bool,
    /// Print what came of each as a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VmRmArguments {
    /// The VMs' names
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) names: Vec<String>,
    /// Every VM that has stopped; with --force, every VM
    #[arg(long)]
    pub(crate) all: bool,
    /// Power off those that run, first
    #[arg(long)]
    pub(crate) force: bool,
    /// Print what came of each as a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VmLogsArguments {
    /// The VM's name
    pub(crate) name: String,
    /// Whose words: the guest's on its console, QEMU's, or those of vhost-device-vsock
    #[arg(long, value_name = "WHO", value_enum, default_value_t)]
    pub(crate) of: LogOf,
    /// Go on with what comes, until the VM stops
    #[arg(short, long)]
    pub(crate) follow: bool,
}

/// What `--of` can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogOf {
    /// The guest's console
    #[default]
    Console,
    /// QEMU
    Qemu,
    /// The vsock device
    Device,
}

/// A number within bounds, both allowed.
fn number<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("give a number from {MIN} to {MAX}")),
    }
}
