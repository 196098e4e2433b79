//! Arguments as typed: names, help and shapes.
//!
//! Owns the table that clap makes its help from, and what it refuses (exit code 2; wrong_call.rs has the words).
//! What they mean is each verb's own business.

mod forward;
mod image;
mod run;
mod vm;

pub(crate) use forward::ForwardArguments;
pub(crate) use image::{
    ImageArguments, ImageBuildArguments, ImageDiffArguments, ImageInjectArguments, ImageVerb,
    ImageVerifyArguments,
};
pub(crate) use run::{EnvironmentArguments, PlaceArguments, RunArguments, ShellArguments};
pub(crate) use vm::{
    LogOf, NetworkKind, VmArguments, VmLogsArguments, VmRmArguments, VmStartArguments,
    VmStopArguments, VmTimingsArguments, VmVerb,
};

use clap::{Args, Parser, Subcommand};
use smolvm_host::SshDestination;
use smolvm_protocol::request::{MAX_ID, Owner};
use std::ffi::OsString;
use std::path::PathBuf;

const TARGET_HELP: &str = "\
TARGET is a VM's name, cid:N, uds:PATH (a VMM's socket that wants CONNECT) or unix:PATH.

Exit codes: the remote command's own, 128+N if signal N killed it, 124 if its time ran out, \
125 if the agent refused or failed, or the way to it did, 126 or 127 if the command could not be started, \
130 after Ctrl-C, 2 for a wrong call, 1 for anything else that failed here (125 with run and shell).";

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
    /// Run a command in a guest; without -i, its standard input is empty
    Run(RunArguments),
    /// Work in a guest's shell, on this terminal
    ///
    /// It is the login shell of the user, or of the agent's. At the beginning of a line, ~. leaves it, which ends it (exit
    /// code 129), and ~? tells what else a tilde means. It needs the guest's agent.
    Shell(ShellArguments),
    /// Copy a file into a guest
    Put(PutArguments),
    /// Copy a file out of a guest
    Get(GetArguments),
    /// Copy files and trees into a guest and out of it
    ///
    /// One side is TARGET:PATH, the other a path here, or - for standard input or output, which is one file's content. A
    /// directory that is there takes the copy under its name; with /. behind it, a source is what is in the directory.
    /// A file in a guest is replaced, a link to one too; a link here is written through. Where a copy with -r ends early,
    /// what was complete by then stays.
    Cp(CpArguments),
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "brackets of addresses, for who reads the help"
    )]
    /// Carry connections to sockets here into a guest
    ///
    /// LOCAL is [BIND:]PORT, 127.0.0.1 unless BIND says otherwise, 0 for a free port; or unix:PATH, a socket for this user
    /// alone. REMOTE is [HOST:]PORT, 127.0.0.1 in the guest unless HOST says otherwise, or unix:PATH. An IPv6 address stands
    /// in brackets: [::1]:8080:[fd00::2]:80. Prints a line for each once all listen, and serves until it is interrupted; 64
    /// connections at a time, further ones wait.
    Forward(ForwardArguments),
    /// Have a guest end in order, whatever VMM it runs on
    ///
    /// The agent answers before the guest ends. Of a VM of this program's own, vm stop also waits for its end.
    Shutdown(ShutdownArguments),
    /// Set a guest's clock to this host's, where it is more than 0.1 s off
    Clock(ResumeArguments),
    /// Make a guest right that goes on after a pause, a restore or a migration: its clock and its random numbers
    ///
    /// Its clock is set to this host's, where it is more than 0.1 s off, and its kernel's generator of random numbers gets fresh
    /// bytes of this host's. Programs in the guest that keep a generator of their own have to be told some other way.
    Resume(ResumeArguments),
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

/// What is done about a file besides copying it.
#[derive(Debug, Args)]
pub(crate) struct UploadArguments {
    /// Whose it becomes in the guest, by numbers; otherwise the agent's user's, which is root
    #[arg(long, value_name = "UID[:GID]", value_parser = owner)]
    pub(crate) owner: Option<Owner>,
    /// End only once the file is on the guest's disk
    #[arg(long)]
    pub(crate) sync: bool,
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
    /// Make sure by its SHA-256 sum that it arrives as it is
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) upload: UploadArguments,
    /// How long it may take in all; otherwise only a transfer that stands still for 60 s ends; with --sync, the guest has 10 minutes to write it out
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
    /// Make sure by its SHA-256 sum that it arrives as it is
    #[arg(long)]
    pub(crate) verify: bool,
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
    #[command(flatten)]
    pub(crate) way: WayArguments,
    /// Copy directories with all that is in them, and links as links (otherwise what they point at); devices, pipes and
    /// sockets within are left out
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Permission bits in octal of a file that goes into a guest; otherwise those of the file here (0600 from standard input)
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<u32>,
    /// Make sure by its SHA-256 sum that a file arrives as it is
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) upload: UploadArguments,
    /// How long it may take in all; otherwise only a transfer that stands still for 60 s ends; with --sync, the guest has 10 minutes to write it out
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
pub(crate) struct ResumeArguments {
    /// The guest
    pub(crate) target: OsString,
    /// Print what became of it as JSON
    #[arg(long)]
    pub(crate) json: bool,
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
        _ => Err("must be a number of seconds that is not below 0, such as 2 or 0.5".to_owned()),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o7777 => Ok(mode),
        _ => Err("must be permission bits in octal, such as 644".to_owned()),
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let id = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|id| digits && *id <= MAX_ID);
        number.ok_or_else(|| format!("must be numbers of 0 to {MAX_ID}, such as 1000 or 1000:1000"))
    };
    Ok(Owner {
        uid: Some(id(uid)?),
        gid: gid.map(id).transpose()?,
    })
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
        let of = |uid, gid| {
            let uid = Some(uid);
            Ok(Owner { uid, gid })
        };
        assert_eq!(owner("7"), of(7, None));
        assert_eq!(owner("0:4294967294"), of(0, Some(MAX_ID)));
        for text in [
            "",
            ":",
            "7:",
            ":7",
            "root",
            "-1",
            "+1",
            "1:2:3",
            "4294967295",
        ] {
            assert!(owner(text).is_err(), "{text}");
        }
    }
}
