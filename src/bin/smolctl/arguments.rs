//! Arguments as typed: names, help and shapes.
//!
//! Owns the table that clap makes its help from, and what it refuses (exit code 2; wrong_call.rs has the words).
//! What they mean is each verb's own business.

use clap::{Args, Parser, Subcommand};
use smolvm_host::SshDestination;
use smolvm_host::arch::Arch;
use smolvm_host::image::Variant;
use smolvm_host::vm::{Forward, Machine};
use std::ffi::OsString;
use std::path::PathBuf;

const TARGET_HELP: &str = "\
TARGET is a VM's name, cid:N, uds:PATH (a VMM's socket that wants CONNECT) or unix:PATH.

Exit codes: the remote command's own, 128+N if signal N killed it, 124 if its time ran out, \
125 if the agent or the way to it failed, 126 or 127 if the command could not be started, \
130 after Ctrl-C, 2 for a wrong call, 1 for anything else that failed here.";

/// Talks to guest agents, starts microVMs, builds their images.
#[derive(Debug, Parser)]
#[command(name = "smolctl", version, after_help = TARGET_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask whether an agent answers
    Ping(PingArguments),
    /// Wait until a guest answers
    WaitReady(WaitReadyArguments),
    /// Run a command in a guest; its standard input is empty
    Run(RunArguments),
    /// Copy a file into a guest
    Put(PutArguments),
    /// Copy a file out of a guest
    Get(GetArguments),
    /// Copy files and trees into a guest and out of it
    ///
    /// One side is TARGET:PATH, the other a path here, or - for standard input or output. A directory that is there
    /// takes the copy under its name; with /. behind it, a source is what is in the directory.
    Cp(CpArguments),
    /// Have a guest end in order, whatever VMM it runs on
    ///
    /// The agent answers before the guest ends. Of a VM of this program's own, vm stop also waits for its end.
    Shutdown(ShutdownArguments),
    /// Build, adapt, verify and compare images
    Image(ImageArguments),
    /// Start, list, time, stop and forget VMs
    Vm(VmArguments),
    /// Say what this machine can do for VMs, and what mends what it cannot
    ///
    /// Exit codes: 0 where a VM can be started, 1 where none can.
    Doctor(DoctorArguments),
    /// Show this program's version
    Version(VersionArguments),
    /// Print a script that completes this program's arguments in a shell
    Completions(CompletionsArguments),
    /// Write this program's manual pages
    Manual(ManualArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManualArguments {
    /// The folder for them, a page a verb
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PingArguments {
    /// The guest
    pub(crate) target: OsString,
    /// How long to wait in all
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// By which way a guest is reached.
#[derive(Debug, Args)]
pub(crate) struct WayArguments {
    /// Which way to take: the agent's vsock, ssh, or auto: ssh where vsock cannot work or the agent does not
    /// answer
    #[arg(long, default_value = "auto", value_parser = ["auto", "vsock", "ssh"])]
    pub(crate) channel: String,
    /// The guest's ssh server; otherwise the port that vm start --forward HOSTPORT:22 leads to it
    #[arg(long, value_name = "[USER@]HOST[:PORT]")]
    pub(crate) ssh: Option<SshDestination>,
    /// The private key for the guest's ssh server
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct WaitReadyArguments {
    /// The guest
    pub(crate) target: OsString,
    #[command(flatten)]
    pub(crate) way: WayArguments,
    /// How long to wait in all
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Which shell: that of a login ($SHELL -lc), or raw (/bin/sh -c)
    #[arg(long, default_value = "login", value_parser = ["login", "raw"])]
    pub(crate) shell: String,
    /// Have the agent kill the command after so long, and wait 45 s more for it to say so; 0 means
    /// never
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = limit)]
    pub(crate) timeout: Option<f64>,
    /// Set a variable for the command (repeatable)
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<OsString>,
    /// Words after the target are refused, with a sentence (run.rs): never joined into a line.
    #[arg(trailing_var_arg = true, hide = true)]
    pub(crate) argv: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct PutArguments {
    /// The guest
    pub(crate) target: OsString,
    /// The file here; - is standard input
    pub(crate) local: PathBuf,
    /// The file or directory in the guest
    pub(crate) remote: OsString,
    #[command(flatten)]
    pub(crate) way: WayArguments,
    /// Permission bits in octal; otherwise those of the file here (0600 from standard input)
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// How long it may take in all; otherwise only a transfer that stands still for 60 s ends
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    /// The guest
    pub(crate) target: OsString,
    /// The file in the guest
    pub(crate) remote: OsString,
    /// The file or directory here; - is standard output
    pub(crate) local: PathBuf,
    #[command(flatten)]
    pub(crate) way: WayArguments,
    /// How long it may take in all; otherwise only a transfer that stands still for 60 s ends
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct CpArguments {
    /// What is copied
    pub(crate) from: OsString,
    /// Where to
    pub(crate) to: OsString,
    /// Copy directories with all that is in them, and links as links; devices, pipes and sockets are left out
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Permission bits in octal of a file that goes into a guest; otherwise those of the file here (0600 from standard input)
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// How long it may take in all; otherwise only a transfer that stands still for 60 s ends
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: Option<f64>,
    /// Print what was copied as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShutdownArguments {
    /// The guest
    pub(crate) target: OsString,
    /// Have it start anew instead of powering off
    #[arg(long)]
    pub(crate) reboot: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArguments {
    #[command(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Build an image folder: kernel, initramfs or disk, manifest
    Build(ImageBuildArguments),
    /// Put the guest agent into a tree of files that was made elsewhere
    ///
    /// The tree itself stays as it is. An /init that starts the Python agent is changed to start this one;
    /// any other is left, and what to add is said.
    Inject(ImageInjectArguments),
    /// Check an image folder against its manifest
    Verify(ImageVerifyArguments),
    /// Say what differs between two images, or between the files in two archives or folders
    ///
    /// Exit codes: 0 where nothing differs, 1 where something does, 2 where that cannot be said.
    Diff(ImageDiffArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ImageInjectArguments {
    /// The tree: a folder, or a tar archive (plain, gzip or xz)
    ///
    /// In a folder, what belongs to the folder's own owner and group becomes root's.
    #[arg(long, value_name = "DIR|TAR")]
    pub(crate) root: PathBuf,
    /// The static guest agent
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: PathBuf,
    /// The guest's architecture, x86_64 or aarch64; otherwise that of the tree's own programs
    #[arg(long)]
    pub(crate) arch: Option<Arch>,
    /// Make /init the agent's program, whatever it was
    #[arg(long)]
    pub(crate) replace_init: bool,
    /// The size of a disk in MiB, 16 to 65536; otherwise the tree's and some room
    #[arg(long, value_name = "MIB")]
    pub(crate) disk_size: Option<u32>,
    /// Where the new tree goes: an archive if it ends in .tar, .tar.gz or .tgz, a disk if it ends in .ext4,
    /// otherwise a new folder; what is there already is never replaced, unless it is empty
    #[arg(short = 'o', long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageVerifyArguments {
    /// The image folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageDiffArguments {
    /// An image folder, an initramfs, a tar archive or a folder of files
    #[arg(value_name = "A")]
    pub(crate) first: PathBuf,
    /// Another one of the same kind
    #[arg(value_name = "B")]
    pub(crate) second: PathBuf,
    /// Print the differences as a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageBuildArguments {
    /// The guest's architecture: x86_64 or aarch64
    #[arg(long)]
    pub(crate) arch: Arch,
    /// The kernel (a bzImage or an arm64 Image)
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: PathBuf,
    /// The kernel's modules (a lib/modules/VERSION folder)
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: PathBuf,
    /// A static busybox
    #[arg(long, value_name = "FILE")]
    pub(crate) busybox: PathBuf,
    /// The static guest agent
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: PathBuf,
    /// What the image holds: minimal (an initramfs with agent and busybox), disk (the same with drivers for a
    /// disk that vm start --disk names), or ssh (a disk with an ssh server besides)
    #[arg(long, default_value = "minimal")]
    pub(crate) variant: Variant,
    /// A layout of your own in place of a variant's
    #[arg(long, value_name = "FILE", conflicts_with = "variant")]
    pub(crate) layout: Option<PathBuf>,
    /// The folder in which the packages are unpacked that a layout has programs of (ssh)
    #[arg(long, value_name = "DIR")]
    pub(crate) packages: Option<PathBuf>,
    /// Another size of the disk than the layout's, in MiB, 16 to 65536
    #[arg(long, value_name = "MIB")]
    pub(crate) disk_size: Option<u32>,
    /// The image folder; an older image there is replaced
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Print the image's manifest as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

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
    #[arg(long, value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(crate) memory: u32,
    /// Number of CPUs
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=255))]
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

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// An image folder of which a VM is booted and ended again: the only proof of what KVM does here
    #[arg(long, value_name = "DIR")]
    pub(crate) image: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Seconds of a wait: more than 0, fractions allowed.
fn seconds(text: &str) -> Result<f64, String> {
    match limit(text)? {
        0.0 => Err("must be more than 0".to_owned()),
        seconds => Ok(seconds),
    }
}

/// Seconds of a limit: 0 (none) or more, fractions allowed.
fn limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds.abs()),
        _ => Err("must be a number of seconds, such as 2 or 0.5".to_owned()),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o7777 => Ok(mode),
        _ => Err("must be permission bits in octal, such as 644".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn table_of_arguments_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for text in ["", "-1", "nan", "inf", "1s", "1e999"] {
            assert!(limit(text).is_err(), "{text}");
        }
        assert_eq!(limit("0"), Ok(0.0));
        assert!(seconds("0").is_err() && seconds("-0").is_err());
        assert_eq!(mode("0644"), Ok(0o644));
        for text in ["", "8", "10000", "+644", "rw"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
