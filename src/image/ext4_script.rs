//! What debugfs is told: a root as commands of its language, one entry after another.
//!
//! Owns the language: what a word may hold, how long a line may be, which fields debugfs would take from
//! the machine and are set here. Refuses what it cannot be told, before it is told anything.

use super::ImageError;
use super::content::FileContent;
use super::ext4::TIME;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use crate::cancel::Cancel;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The longest line of its language that debugfs reads; what is behind it would be another command.
const MAX_LINE_BYTES: usize = 8000;
/// The directory that mke2fs makes, and e2fsck leaves what it finds in.
const LOST_AND_FOUND: &str = "/lost+found";
/// The greatest minor number that debugfs takes for a device.
const MAX_MINOR: u32 = 65_535;
/// Hard links that fit into a block of a directory, whatever their names: debugfs does not make room for
/// them by itself.
const LINKS_A_BLOCK: usize = 12;

/// The commands as a text; the files that they name are in the scratch folder.
///
/// # Errors
/// [`ImageError::Layout`] for what debugfs cannot be told, [`ImageError::Write`] for files that cannot be
/// put there, [`ImageError::Cancelled`].
pub(super) fn commands(
    root: &Root<'_>,
    scratch: &Path,
    cancel: &Cancel,
) -> Result<String, ImageError> {
    Script::of(root, scratch, cancel).map(|script| script.text)
}

/// What debugfs is to do.
struct Script<'scratch> {
    text: String,
    scratch: &'scratch Path,
    files: usize,
    folder: String,
    links_of_folder: usize,
    cancel: &'scratch Cancel,
}

impl<'scratch> Script<'scratch> {
    fn of(
        root: &Root<'_>,
        scratch: &'scratch Path,
        cancel: &'scratch Cancel,
    ) -> Result<Self, ImageError> {
        let mut script = Self {
            text: String::new(),
            scratch,
            files: 0,
            folder: "/".to_owned(),
            links_of_folder: 0,
            cancel,
        };
        let mut names: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in root.values() {
            if let Content::HardLink(original) = &entry.content {
                *names.entry(original).or_insert(1) += 1;
            }
        }
        for (path, entry) in root {
            if cancel.is_cancelled() {
                return Err(ImageError::Cancelled);
            }
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
                let source = self.file_with(path, content)?;
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
            let source = self.file_with(path, &value)?;
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
    fn file_with(&mut self, path: &str, content: &FileContent<'_>) -> Result<String, ImageError> {
        let name = self.files.to_string();
        let place = self.scratch.join(&name);
        self.files += 1;
        let put = || match content {
            FileContent::Path { path: there, .. } => symlink(std::path::absolute(there)?, &place),
            _ => {
                let mut bytes = self.cancel.reader(content.reader()?);
                io::copy(&mut bytes, &mut File::create_new(&place)?).map(drop)
            }
        };
        put().map_err(|source| {
            ImageError::Write {
                path: path.into(),
                source,
            }
            .unless(self.cancel)
        })?;
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
