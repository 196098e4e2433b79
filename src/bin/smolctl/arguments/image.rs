//! Arguments of `smolctl image` as typed.

use clap::{Args, Subcommand};
use smolvm_host::arch::Arch;
use smolvm_host::image::Variant;
use std::path::PathBuf;

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
