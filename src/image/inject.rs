//! The agent put into a tree of files that others made.
//!
//! Owns the order of the steps: the output is looked at, then the agent, then the tree, and only then
//! is anything written. The tree itself is never changed.

use super::ImageError;
use super::content::FileContent;
use super::elf::{Elf, ElfError};
use super::init::{self, InitOutcome};
use super::init_script::AGENT_PATH;
use super::output::Output;
use super::placing::{follow_in, place};
use super::program::{self, MAX_PROGRAM_BYTES, check_agent};
use super::root::{Content, Root, RootEntry};
use super::tree::Tree;
use crate::arch::Arch;
use crate::cancel::Cancel;
use std::path::{Path, PathBuf};

/// Programs of which every usable tree has one.
const TELLING_PROGRAMS: [&str; 9] = [
    "/bin/sh",
    "/bin/busybox",
    "/sbin/init",
    "/usr/bin/env",
    "/bin/bash",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
];

/// What an agent is put into, and how.
#[derive(Clone, Debug)]
pub struct InjectInputs {
    /// A folder or a tar archive.
    pub tree: PathBuf,
    /// The static guest agent.
    pub agent: PathBuf,
    /// The guest's architecture; otherwise that of the tree's own programs.
    pub arch: Option<Arch>,
    /// The size in MiB of an output that is a disk; otherwise the tree's own and some room.
    pub disk_mib: Option<u32>,
    /// Whether `/init` becomes the agent's program, whatever it was.
    pub is_init_replaced: bool,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The guest's architecture.
    pub arch: Arch,
    /// Version of the agent's program.
    pub agent_version: String,
    /// What happened to `/init`.
    pub init: InitOutcome,
    /// What else the caller should know, a sentence each.
    pub notes: Vec<String>,
}

/// Writes the tree with the agent in it to `output`, in the form that its name asks for.
///
/// # Errors
/// [`ImageError`]; nothing is left behind, and what stood at `output` stays.
pub fn inject(
    inputs: &InjectInputs,
    output: &Path,
    cancel: &Cancel,
) -> Result<Injection, ImageError> {
    let output = Output::new(output, &inputs.tree, inputs.disk_mib)?;
    let agent = program::read("guest agent", &inputs.agent, MAX_PROGRAM_BYTES)?;
    let mut tree = Tree::read(&inputs.tree, cancel)?;
    let refused = |reason: String| ImageError::Tree {
        path: inputs.tree.clone(),
        reason,
    };
    let found = arch_of(&tree.root).map_err(refused)?;
    let arch = choose_arch(inputs.arch, &found).map_err(refused)?;
    if let Found::Arch(program, other) = found {
        if other != arch {
            tree.notes.push(format!(
                "the tree's {program} is for {other}, and the agent is for {arch}, as asked"
            ));
        }
    }
    let agent_version = check_agent(&inputs.agent, &agent, arch)?;
    let content = Content::File(FileContent::Bytes(agent.into()));
    place(
        &mut tree.root,
        AGENT_PATH,
        RootEntry::of_root(0o755, content),
    )
    .map_err(refused)?;
    let init = init::adapt(&mut tree.root, inputs.is_init_replaced).map_err(refused)?;
    tree.notes.extend(init::stale_services(&tree.root));
    output.write(&tree.root, cancel)?;
    Ok(Injection {
        arch,
        agent_version,
        init,
        notes: tree.notes,
    })
}

/// What a tree's programs tell.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Arch(&'static str, Arch),
    /// A program that is for no architecture of ours.
    Foreign(&'static str),
    Nothing,
}

fn choose_arch(asked: Option<Arch>, found: &Found) -> Result<Arch, String> {
    match (asked, found) {
        (Some(arch), _) => Ok(arch),
        (None, Found::Arch(_, arch)) => Ok(*arch),
        (None, Found::Nothing) => {
            Err("has no program that tells its architecture; say it with --arch".to_owned())
        }
        (None, Found::Foreign(program)) => Err(format!(
            "is neither for x86_64 nor for aarch64 (its {program} is not); say --arch where the kernel it \
             runs on is"
        )),
    }
}

fn arch_of(root: &Root<'_>) -> Result<Found, String> {
    let mut found = Found::Nothing;
    for program in TELLING_PROGRAMS {
        let path = follow_in(root, program)?;
        let content = match init::file(root, &path) {
            Some(content) if content.length() <= MAX_PROGRAM_BYTES => content,
            _ => continue,
        };
        let bytes = content.bytes();
        let bytes = bytes.map_err(|error| format!("has {path}, which cannot be read ({error})"))?;
        match Elf::parse(&bytes).map(Elf::arch) {
            Ok(Some(arch)) => return Ok(Found::Arch(program, arch)),
            Ok(None) | Err(ElfError::OtherClass) if found == Found::Nothing => {
                found = Found::Foreign(program);
            }
            _ => {}
        }
    }
    Ok(found)
}
