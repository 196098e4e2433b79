//! From inputs to an image folder.
//!
//! Owns the order of the steps: everything is read and checked before anything is written.

use super::elf::Elf;
use super::folder::StagedFolder;
use super::layout::Layout;
use super::manifest::{FileSum, MANIFEST_FORMAT, MANIFEST_NAME, Manifest};
use super::modules::ModuleTree;
use super::{ImageError, archive, assembly, kernel, regular};
use crate::arch::Arch;
use crate::cancel::Cancel;
use smolvm_protocol::PROTOCOL_VERSION;
use std::path::{Path, PathBuf};

const KERNEL_NAME: &str = "vmlinuz";
const INITRAMFS_NAME: &str = "initramfs.cpio.gz";
/// The largest busybox and the largest agent that are read.
const MAX_PROGRAM_BYTES: u64 = 64 * 1024 * 1024;

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The guest's architecture.
    pub arch: Arch,
    /// The kernel.
    pub kernel: PathBuf,
    /// The kernel's `lib/modules/<version>` tree.
    pub modules: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// The static guest agent.
    pub agent: PathBuf,
    /// Another layout than the built-in one of the minimal image.
    pub layout: Option<PathBuf>,
}

/// Builds an image into `folder`, which is replaced where it is an image of ours.
///
/// # Errors
/// [`ImageError`]; nothing is left behind, and what stood at `folder` stays.
pub fn build(inputs: &Inputs, folder: &Path, cancel: &Cancel) -> Result<Manifest, ImageError> {
    let goes_on = || match cancel.is_cancelled() {
        true => Err(ImageError::Cancelled),
        false => Ok(()),
    };
    let layout = match &inputs.layout {
        Some(path) => Layout::read(path)?,
        None => Layout::minimal()?,
    };
    let kernel = read("kernel", &inputs.kernel, kernel::MAX_KERNEL_BYTES)?;
    let busybox = read("busybox", &inputs.busybox, MAX_PROGRAM_BYTES)?;
    let agent = read("guest agent", &inputs.agent, MAX_PROGRAM_BYTES)?;
    check_kernel(inputs, &kernel)?;
    check_busybox(inputs, &busybox)?;
    let agent_version = check_agent(inputs, &agent)?;
    let release = kernel::release(&kernel);
    let modules = ModuleTree::open(&inputs.modules)?.closure(
        &layout.modules,
        inputs.arch,
        release.as_deref(),
    )?;
    goes_on()?;
    let root = assembly::assemble(&layout, &busybox, &agent, &modules)?;
    let initramfs = archive::initramfs(&root)?;
    goes_on()?;
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        variant: layout.variant().to_owned(),
        arch: inputs.arch,
        agent_version,
        protocol: PROTOCOL_VERSION,
        kernel: KERNEL_NAME.to_owned(),
        kernel_release: release,
        initramfs: INITRAMFS_NAME.to_owned(),
        cmdline: format!("console={} panic=-1 quiet", inputs.arch.console()),
        modules: modules.into_iter().map(|module| module.name).collect(),
        files: [
            (KERNEL_NAME.to_owned(), FileSum::of(&kernel)),
            (INITRAMFS_NAME.to_owned(), FileSum::of(&initramfs)),
        ]
        .into(),
    };
    let staged = StagedFolder::begin(folder)?;
    staged.write(KERNEL_NAME, &kernel)?;
    staged.write(INITRAMFS_NAME, &initramfs)?;
    staged.write(MANIFEST_NAME, manifest.to_json().as_bytes())?;
    goes_on()?;
    staged.commit()?;
    Ok(manifest)
}

fn read(what: &'static str, path: &Path, max_bytes: u64) -> Result<Vec<u8>, ImageError> {
    regular::read(path, max_bytes).map_err(|source| ImageError::Read {
        what,
        path: path.to_owned(),
        source,
    })
}

fn check_kernel(inputs: &Inputs, kernel: &[u8]) -> Result<(), ImageError> {
    kernel::check(kernel, inputs.arch).map_err(|reason| ImageError::Unsuitable {
        what: "kernel",
        path: inputs.kernel.clone(),
        reason,
        remedy: format!("scripts/fetch-kernel.sh {} 6.1 fetches one", inputs.arch),
    })
}

fn check_busybox(inputs: &Inputs, busybox: &[u8]) -> Result<(), ImageError> {
    check_static(busybox, inputs.arch).map_err(|reason| ImageError::Unsuitable {
        what: "busybox",
        path: inputs.busybox.clone(),
        reason,
        remedy: format!("scripts/fetch-busybox.sh {} fetches one", inputs.arch),
    })
}

/// Checks the agent, and tells its version.
fn check_agent(inputs: &Inputs, agent: &[u8]) -> Result<String, ImageError> {
    check_static(agent, inputs.arch)
        .and_then(|()| {
            agent_version(agent).ok_or_else(|| "is no guest agent: it tells no version".to_owned())
        })
        .map_err(|reason| ImageError::Unsuitable {
            what: "guest agent",
            path: inputs.agent.clone(),
            reason,
            remedy: format!("scripts/build-guest-agent.sh {} builds it", inputs.arch),
        })
}

/// The version in the line that the agent prints for `--version` (guest-agent/src/main.rs), which
/// stands in the program as it is: one for another architecture cannot be asked.
fn agent_version(agent: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"smolvm-guest-agent ";
    agent
        .windows(BEFORE.len())
        .enumerate()
        .filter(|(_, window)| *window == BEFORE)
        .find_map(|(at, _)| {
            let line = agent[at + BEFORE.len()..]
                .split(|byte| *byte == b'\n')
                .next()?;
            let version = std::str::from_utf8(line.get(..line.len().min(64))?).ok()?;
            let is_version = version.starts_with(|first: char| first.is_ascii_digit())
                && version
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
            is_version.then(|| version.to_owned())
        })
}

/// A static program of the right architecture runs in a guest that has no loader and no libraries.
fn check_static(bytes: &[u8], arch: Arch) -> Result<(), String> {
    let elf = Elf::parse(bytes).map_err(|error| error.to_string())?;
    match elf.arch() {
        Some(found) if found == arch => {}
        Some(found) => return Err(format!("is for {found}, not for {arch}")),
        None => return Err(format!("is not for {arch}")),
    }
    if !elf.is_program() {
        return Err("is no program".to_owned());
    }
    if let Some(loader) = elf.interpreter() {
        return Err(format!("is not static (it needs {loader})"));
    }
    Ok(())
}
