//! A root as an ext4 file system, made by e2fsprogs as any user, without mounting anything.
//!
//! Owns everything that would differ from one run to the next: `mke2fs` gets its features, sizes,
//! identity and time from here and no configuration of the machine's, and makes an empty file system;
//! `debugfs` then adds one entry after another in the list's order, and sets what it would take from
//! the machine. The tools' version is an input of the image.

use super::ImageError;
use super::content::FileContent;
use super::listing;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// All times, in seconds since the epoch: 0 means "never" to some fields.
const TIME: u32 = 1;
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
/// The longest line of its language that debugfs reads; what is behind it would be another command.
const MAX_LINE_BYTES: usize = 8000;
/// The directory that mke2fs makes, and e2fsck leaves what it finds in.
const LOST_AND_FOUND: &str = "/lost+found";
/// The greatest minor number that debugfs takes for a device.
const MAX_MINOR: u32 = 65_535;
/// Hard links that fit into a block of a directory, whatever their names: debugfs does not make room for
/// them by itself.
const LINKS_A_BLOCK: usize = 12;

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
    /// [`ImageError::ToolMissing`], and [`ImageError::Tool`] where they do not tell their version.
    pub fn find() -> Result<Self, ImageError> {
        let mke2fs = find_program("mke2fs")?;
        let debugfs = find_program("debugfs")?;
        let output = run(Command::new(&mke2fs).arg("-V"), "mke2fs")?;
        let told = String::from_utf8_lossy(&output.stderr);
        let version = told
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
    /// a name that the tools cannot take; [`ImageError::Write`].
    pub fn write(
        &self,
        root: &Root<'_>,
        size_mib: u32,
        target: &Path,
        scratch: &Path,
    ) -> Result<(), ImageError> {
        let write_error = |source| ImageError::Write {
            path: target.to_owned(),
            source,
        };
        check_size(root, size_mib)?;
        let uuid = listing::uuid_of(&listing::of_root(root).map_err(write_error)?);
        let script = Script::of(root, scratch)?;
        let commands = scratch.join("commands");
        fs::write(&commands, script.text).map_err(write_error)?;
        let configuration = scratch.join("mke2fs.conf");
        fs::write(&configuration, CONFIGURATION).map_err(write_error)?;
        self.make(root, size_mib, target, &uuid, &configuration)?;
        let mut debugfs = Command::new(&self.debugfs);
        // From within the scratch folder: its path is no part of any command.
        debugfs.args(["-w", "-f"]).arg(&commands).arg(target);
        debugfs.current_dir(scratch);
        let output = run(set_environment(&mut debugfs), "debugfs")?;
        // It goes on after an error, and exits with 0; a signal ends it without a word.
        let told = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = told
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("debugfs 1."))
            .collect();
        match errors.first() {
            None if output.status.success() => Ok(()),
            None => Err(failed("debugfs", &output.status.to_string())),
            Some(line) if line.contains("allocate") => Err(too_small(size_mib)),
            Some(line) => Err(failed("debugfs", line)),
        }
    }

    fn make(
        &self,
        root: &Root<'_>,
        size_mib: u32,
        target: &Path,
        uuid: &str,
        configuration: &Path,
    ) -> Result<(), ImageError> {
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
        let output = run(set_environment(&mut mke2fs), "mke2fs")?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(failed("mke2fs", told.lines().next().unwrap_or_default()))
    }
}

/// Their own settings by the environment are not asked for; the time is.
fn set_environment(command: &mut Command) -> &mut Command {
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("E2FSPROGS_FAKE_TIME", TIME.to_string())
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

/// What debugfs is to do.
struct Script<'scratch> {
    text: String,
    scratch: &'scratch Path,
    files: usize,
    folder: String,
    links_of_folder: usize,
}

impl<'scratch> Script<'scratch> {
    fn of(root: &Root<'_>, scratch: &'scratch Path) -> Result<Self, ImageError> {
        let mut script = Self {
            text: String::new(),
            scratch,
            files: 0,
            folder: "/".to_owned(),
            links_of_folder: 0,
        };
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in root.values() {
            if let Content::HardLink(original) = &entry.content {
                *names.entry(original).or_insert(1) += 1;
            }
        }
        for (path, entry) in root {
            check_path(path)?;
            if path != "/" && !is_lost_and_found(path, entry)? {
                script.add(path, entry)?;
            }
            if !matches!(entry.content, Content::HardLink(_)) {
                script.set_fields(path, entry)?;
            }
            if let Some(count) = names.get(path.as_str()) {
                script.set(path, "links_count", count);
            }
        }
        if !root.contains_key("/") {
            script.set_fields("/", &RootEntry::of_root(0o755, Content::Directory))?;
        }
        if !root.contains_key(LOST_AND_FOUND) {
            let folder = RootEntry::of_root(0o700, Content::Directory);
            script.set_fields(LOST_AND_FOUND, &folder)?;
        }
        if let Some(line) = script.text.lines().find(|line| line.len() > MAX_LINE_BYTES) {
            return Err(ImageError::Layout {
                line: 0,
                reason: format!(
                    "a name in it is longer than debugfs can be told ({}…)",
                    line.chars().take(80).collect::<String>()
                ),
            });
        }
        Ok(script)
    }

    fn add(&mut self, path: &str, entry: &RootEntry<'_>) -> Result<(), ImageError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() { "/" } else { folder };
        if self.folder != folder {
            self.line(&["cd", &quoted(folder)]);
            folder.clone_into(&mut self.folder);
            self.links_of_folder = 0;
        }
        let name = quoted(name);
        match &entry.content {
            Content::Directory => self.line(&["mkdir", &name]),
            Content::Pipe => self.line(&["mknod", &name, "p"]),
            Content::CharacterDevice(number) => {
                check_device(path, *number)?;
                let (major, minor) = (number.major.to_string(), number.minor.to_string());
                self.line(&["mknod", &name, "c", &major, &minor]);
            }
            Content::BlockDevice(number) => {
                check_device(path, *number)?;
                let (major, minor) = (number.major.to_string(), number.minor.to_string());
                self.line(&["mknod", &name, "b", &major, &minor]);
            }
            Content::Link(target) => {
                check_path(target)?;
                self.line(&["symlink", &name, &quoted(target)]);
            }
            Content::HardLink(original) => {
                if self.links_of_folder % LINKS_A_BLOCK == 0 {
                    self.line(&["expand_dir", &quoted(folder)]);
                }
                self.links_of_folder += 1;
                self.line(&["ln", &quoted(original), &name]);
            }
            Content::File(content) => {
                let source = self
                    .file_with(content)
                    .map_err(|source| ImageError::Write {
                        path: path.into(),
                        source,
                    })?;
                self.line(&["write", &quoted(&source), &name]);
            }
        }
        Ok(())
    }

    /// Owner, mode and times, and what the tools took from the machine.
    fn set_fields(&mut self, path: &str, entry: &RootEntry<'_>) -> Result<(), ImageError> {
        let kind = match entry.content {
            Content::Directory => 0o040_000,
            Content::CharacterDevice(_) => 0o020_000,
            Content::BlockDevice(_) => 0o060_000,
            Content::Pipe => 0o010_000,
            Content::Link(_) => 0o120_000,
            Content::File(_) | Content::HardLink(_) => 0o100_000,
        };
        self.set(path, "mode", format_args!("0{:o}", kind | entry.mode));
        self.set(path, "uid", entry.uid);
        self.set(path, "gid", entry.gid);
        for time in ["atime", "ctime", "mtime", "crtime"] {
            self.set(path, time, format_args!("@{TIME}"));
            self.set(path, &format!("{time}_extra"), 0);
        }
        for (name, value) in &entry.attributes {
            check_path(name)?;
            let value = FileContent::Bytes(value.into());
            let source = self.file_with(&value).map_err(|source| ImageError::Write {
                path: path.into(),
                source,
            })?;
            self.line(&[
                "ea_set",
                "-f",
                &quoted(&source),
                &quoted(path),
                &quoted(name),
            ]);
        }
        Ok(())
    }

    fn set(&mut self, path: &str, field: &str, value: impl std::fmt::Display) {
        self.line(&["sif", &quoted(path), field, &value.to_string()]);
    }

    fn line(&mut self, words: &[&str]) {
        let _ = writeln!(self.text, "{}", words.join(" "));
    }

    /// The name in the scratch folder of a file with those bytes. One that is there already is only linked to.
    fn file_with(&mut self, content: &FileContent<'_>) -> io::Result<String> {
        let name = self.files.to_string();
        let path = self.scratch.join(&name);
        self.files += 1;
        match content {
            FileContent::Path { path: there, .. } => symlink(std::path::absolute(there)?, &path)?,
            _ => {
                io::copy(&mut content.reader()?, &mut File::create_new(&path)?)?;
            }
        }
        Ok(name)
    }
}

/// A word of debugfs's language: quoted, quotes within doubled.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// Whether it is the directory that is there already.
///
/// # Errors
/// [`ImageError::Layout`] where something else stands at its path.
fn is_lost_and_found(path: &str, entry: &RootEntry<'_>) -> Result<bool, ImageError> {
    match entry.content {
        _ if path != LOST_AND_FOUND => Ok(false),
        Content::Directory => Ok(true),
        _ => Err(ImageError::Layout {
            line: 0,
            reason: format!(
                "{LOST_AND_FOUND} is a directory on every ext4 disk, and nothing else can stand there"
            ),
        }),
    }
}

fn check_path(path: &str) -> Result<(), ImageError> {
    if !path.contains(['\n', '\r', '\0']) {
        return Ok(());
    }
    Err(ImageError::Layout {
        line: 0,
        reason: format!(
            "{} has a line break in its name, which debugfs cannot be told",
            path.escape_debug()
        ),
    })
}

fn check_device(path: &str, number: DeviceNumber) -> Result<(), ImageError> {
    if number.minor <= MAX_MINOR {
        return Ok(());
    }
    Err(ImageError::Layout {
        line: 0,
        reason: format!(
            "{} is a device with the minor number {}, and debugfs takes {MAX_MINOR} at most",
            path.escape_debug(),
            number.minor
        ),
    })
}

fn find_program(name: &'static str) -> Result<PathBuf, ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or(ImageError::ToolMissing { program: name })
}

fn run(command: &mut Command, name: &'static str) -> Result<Output, ImageError> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(name, &error.to_string()))
}

fn failed(program: &'static str, reason: &str) -> ImageError {
    ImageError::Tool {
        program,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::root::Root;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn debugfs_that_a_signal_ends_without_a_word_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let tools = Ext4Tools {
            mke2fs: program("mke2fs", "exit 0"),
            debugfs: program("debugfs", "kill -KILL $$"),
            version: "1.47.0".to_owned(),
        };
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let written = tools.write(&Root::new(), 64, &folder.path().join("disk"), &scratch);
        assert!(
            matches!(
                &written,
                Err(ImageError::Tool { program: "debugfs", reason }) if reason.contains("signal")
            ),
            "{written:?}"
        );
    }
}
