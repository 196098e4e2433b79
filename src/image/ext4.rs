//! A root as an ext4 file system, made by e2fsprogs as any user, without mounting anything.
//!
//! Owns everything that would differ from one run to the next: `mke2fs` gets its features, sizes,
//! identity and time from here and no configuration of the machine's, and makes an empty file system;
//! `debugfs` then adds one entry after another in the list's order, and sets what it would take from
//! the machine. The tools' version is an input of the image.

use super::root::{Content, Root};
use super::tool::{self, failed};
use super::{ImageError, ext4_script, listing};
use crate::cancel::Cancel;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All times, in seconds since the epoch: 0 means "never" to some fields.
pub(super) const TIME: u32 = 1;
const BLOCK_BYTES: u64 = 4096;
/// Room that a disk has beside a root, in MiB, where nobody says how large it is.
const ROOM_MIB: u64 = 64;
/// Inodes beside those of the list.
const SPARE_INODES: u64 = 1024;
/// mke2fs's own default: one inode for so many bytes.
const BYTES_AN_INODE: u64 = 16 * 1024;
/// How much of a disk its journal may be, one part in so many, and its bounds: the smallest one that there
/// can be, and mke2fs's own for disks of some GiB.
const DISK_A_JOURNAL: u32 = 32;
const SMALLEST_JOURNAL_MIB: u32 = 4;
const LARGEST_JOURNAL_MIB: u32 = 64;

/// What every kernel since 4.14 mounts, and Firecracker's among them.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,\
                        sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
const CONFIGURATION: &str = "[defaults]\n\tbase_features = none\n\tblocksize = 4096\n\tinode_size = 256\n\
                             \thash_alg = half_md4\n\tdefault_mntopts = acl,user_xattr\n\
                             \tenable_periodic_fsck = 0\n[fs_types]\n\text4 = {\n\t}\n";

/// The programs that make a file system.
#[derive(Clone, Debug)]
pub struct Ext4Tools {
    mke2fs: PathBuf,
    debugfs: PathBuf,
    version: String,
}

impl Ext4Tools {
    /// Finds them on the `PATH`, or where systems keep what root alone used to need.
    ///
    /// # Errors
    /// [`ImageError::ToolMissing`], [`ImageError::Tool`] where they do not tell their version, and
    /// [`ImageError::Cancelled`].
    pub fn find(cancel: &Cancel) -> Result<Self, ImageError> {
        let mke2fs = tool::find("mke2fs")?;
        let debugfs = tool::find("debugfs")?;
        let asked = tool::run(Command::new(&mke2fs).arg("-V"), "mke2fs", cancel)?;
        let version = asked
            .told
            .strip_prefix("mke2fs ")
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or_else(|| failed("mke2fs", "it does not tell its version"))?
            .to_owned();
        Ok(Self {
            mke2fs,
            debugfs,
            version,
        })
    }

    /// Their version, as in "1.47.0".
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Writes a file system of `size_mib` MiB with that root to `target`, which must not be there.
    /// `scratch` is an empty folder for files of ours; what is left in it is the caller's to remove.
    ///
    /// # Errors
    /// [`ImageError::DiskTooSmall`]; [`ImageError::Tool`] where a tool fails; [`ImageError::Layout`] for
    /// a name that the tools cannot take; [`ImageError::Write`]; [`ImageError::Cancelled`], and then no tool
    /// runs any more.
    pub fn write(
        &self,
        root: &Root<'_>,
        size_mib: u32,
        target: &Path,
        scratch: &Path,
        cancel: &Cancel,
    ) -> Result<(), ImageError> {
        let write_error = |source| ImageError::Write {
            path: target.to_owned(),
            source,
        };
        check_size(root, size_mib)?;
        let listing = listing::of_root(root, cancel);
        let listing = listing.map_err(|error| write_error(error).unless(cancel))?;
        let uuid = listing::uuid_of(&listing);
        let text = ext4_script::commands(root, scratch, cancel)?;
        let commands = scratch.join("commands");
        fs::write(&commands, text).map_err(write_error)?;
        let configuration = scratch.join("mke2fs.conf");
        fs::write(&configuration, CONFIGURATION).map_err(write_error)?;
        let mke2fs = self.mke2fs(root, size_mib, target, &uuid, &configuration);
        self.make(mke2fs, cancel)?;
        let mut debugfs = Command::new(&self.debugfs);
        // From within the scratch folder: its path is no part of any command.
        debugfs.args(["-w", "-f"]).arg(&commands).arg(target);
        debugfs.current_dir(scratch);
        let ended = tool::run(set_environment(&mut debugfs), "debugfs", cancel)?;
        // It goes on after an error, and exits with 0; a signal ends it without a word.
        let mut errors = ended
            .told
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("debugfs 1."));
        match errors.next() {
            None if ended.status.success() => Ok(()),
            None => Err(failed("debugfs", &ended.status.to_string())),
            Some(line) if line.contains("allocate") => Err(too_small(size_mib)),
            Some(line) => Err(failed("debugfs", line)),
        }
    }

    fn mke2fs(
        &self,
        root: &Root<'_>,
        size_mib: u32,
        target: &Path,
        uuid: &str,
        configuration: &Path,
    ) -> Command {
        let by_size = u64::from(size_mib) * 1024 * 1024 / BYTES_AN_INODE;
        let inodes = by_size.max(root.len() as u64 + SPARE_INODES);
        let journal_mib =
            (size_mib / DISK_A_JOURNAL).clamp(SMALLEST_JOURNAL_MIB, LARGEST_JOURNAL_MIB);
        let mut mke2fs = Command::new(&self.mke2fs);
        mke2fs
            .args(["-q", "-F", "-t", "ext4", "-O", FEATURES])
            .args(["-b", &BLOCK_BYTES.to_string(), "-I", "256", "-m", "0"])
            .args(["-N", &inodes.to_string(), "-U", uuid])
            .args(["-J", &format!("size={journal_mib}")])
            .arg("-E")
            .arg(format!(
                "hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard"
            ))
            .arg(target)
            .arg(format!("{size_mib}M"))
            .env("MKE2FS_CONFIG", configuration);
        mke2fs
    }

    fn make(&self, mut mke2fs: Command, cancel: &Cancel) -> Result<(), ImageError> {
        let ended = tool::run(set_environment(&mut mke2fs), "mke2fs", cancel)?;
        if ended.status.success() {
            return Ok(());
        }
        let status = ended.status.to_string();
        Err(failed(
            "mke2fs",
            ended.told.lines().next().unwrap_or(&status),
        ))
    }
}

/// Their own settings by the environment are not asked for; the time is.
fn set_environment(command: &mut Command) -> &mut Command {
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("E2FSPROGS_FAKE_TIME", TIME.to_string())
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("MKE2FS_SYNC")
        .env_remove("MKE2FS_FIRST_META_BG")
        .env_remove("MKE2FS_DEVICE_SECTSIZE")
        .env_remove("MKE2FS_DEVICE_PHYS_SECTSIZE")
        .env_remove("MKE2FS_SKIP_PROGRESS")
        .env_remove("MKE2FS_SKIP_CHECK_MSG")
        .env_remove("DEBUGFS_PAGER")
}

/// Early and cheaply: what the files alone take.
fn check_size(root: &Root<'_>, size_mib: u32) -> Result<(), ImageError> {
    if content_bytes(root) > u64::from(size_mib) * 1024 * 1024 {
        return Err(too_small(size_mib));
    }
    Ok(())
}

/// A size in MiB that holds a root, and a quarter more, but room for at least [`ROOM_MIB`].
#[must_use]
pub fn roomy_mib(root: &Root<'_>) -> u32 {
    // A link and a small file take an inode, and a directory a block besides.
    let bytes = content_bytes(root) + root.len() as u64 * (BLOCK_BYTES + 256);
    let mib = bytes.div_ceil(1024 * 1024);
    u32::try_from(mib + (mib / 4).max(ROOM_MIB)).unwrap_or(u32::MAX)
}

/// What the files take, in whole blocks.
fn content_bytes(root: &Root<'_>) -> u64 {
    let blocks: u64 = root
        .values()
        .map(|entry| match &entry.content {
            Content::File(content) => content.length().div_ceil(BLOCK_BYTES),
            _ => 0,
        })
        .sum();
    blocks * BLOCK_BYTES
}

fn too_small(size_mib: u32) -> ImageError {
    ImageError::DiskTooSmall { size_mib }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::root::Root;

    /// What comes of a debugfs that does this instead of its work.
    fn written_by(debugfs: &str) -> Result<(), ImageError> {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = folder.path().join(name);
            crate::test_program::write_program(&path, &format!("#!/bin/sh\n{script}\n"));
            path
        };
        let tools = Ext4Tools {
            mke2fs: program("mke2fs", "exit 0"),
            debugfs: program("debugfs", debugfs),
            version: "1.47.0".to_owned(),
        };
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let cancel = Cancel::new().unwrap();
        let disk = folder.path().join("disk");
        tools.write(&Root::new(), 64, &disk, &scratch, &cancel)
    }

    /// One after another: a program that was just written cannot be run while another thread's child has it open.
    #[test]
    fn debugfs_that_says_an_error_or_ends_by_a_signal_has_failed_whatever_its_exit_code() {
        let written = written_by("kill -KILL $$");
        assert!(
            matches!(
                &written,
                Err(ImageError::Tool { program: "debugfs", reason }) if reason.contains("signal")
            ),
            "{written:?}"
        );
        let banner = "echo 'debugfs 1.47.0 (5-Feb-2023)' >&2";
        assert!(written_by(banner).is_ok());
        let written = written_by(&format!("{banner}; echo 'mkdir: it is odd' >&2"));
        assert!(
            matches!(
                &written,
                Err(ImageError::Tool { program: "debugfs", reason }) if reason == "mkdir: it is odd"
            ),
            "{written:?}"
        );
        let written = written_by("echo 'write: Could not allocate block in ext2 filesystem' >&2");
        assert!(
            matches!(written, Err(ImageError::DiskTooSmall { size_mib: 64 })),
            "{written:?}"
        );
    }
}
