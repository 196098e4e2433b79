//! An image folder's `manifest.json`: what is in it and how it boots.
//!
//! Owns the manifest's format and the check of a folder against it. Its text is a function of its
//! content: sorted members, two blanks, a newline at the end.

use super::{ImageError, regular};
use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::checksum::{Summer, sum_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The version of the manifest's format that this program writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;
/// The manifest's name in an image folder.
pub const MANIFEST_NAME: &str = "manifest.json";
/// The largest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// A file's size and content, to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

impl FileSum {
    /// The sum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: sum_of(bytes).to_string(),
            size: bytes.len() as u64,
        }
    }

    /// The sum of all that a reader gives, never in memory at once.
    ///
    /// # Errors
    /// What the reader gives.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut sum = Summer::default();
        let size = io::copy(&mut reader, &mut sum)?;
        Ok(Self {
            sha256: sum.finish().to_string(),
            size,
        })
    }
}

/// What an image folder holds and how it boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The image's variant: that of the built-in layout, `custom` from any other.
    pub variant: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// Version of the guest agent's program.
    pub agent_version: String,
    /// Version of the control protocol that the builder speaks, and expects of the agent, whose file
    /// does not tell its own; `ping` does.
    pub protocol: u32,
    /// Name of the kernel's file.
    pub kernel: String,
    /// The kernel's release, where its file tells it.
    pub kernel_release: Option<String>,
    /// Name of the initramfs's file; `None` where the kernel finds the root by itself.
    pub initramfs: Option<String>,
    /// Name of the file with the root's disk; `None` where the initramfs is the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Kernel modules in load order.
    pub modules: Vec<String>,
    /// Versions of the programs of others that have written some of the files, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, String>,
    /// By the name of a file with a root in it, that of the text which lists what the root holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inventories: BTreeMap<String, String>,
    /// Every other file in the folder, by name.
    pub files: BTreeMap<String, FileSum>,
}

impl Manifest {
    /// The manifest's text.
    ///
    /// # Panics
    /// Never: no member can fail to be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json =
            serde_json::to_string_pretty(self).expect("strings and numbers are always JSON");
        json.push('\n');
        json
    }

    /// Whether a file is one of the inventories.
    #[must_use]
    pub fn is_inventory(&self, name: &str) -> bool {
        self.inventories.values().any(|inventory| inventory == name)
    }

    /// Reads the manifest of an image folder.
    ///
    /// # Errors
    /// [`ImageError::Read`] where there is none, [`ImageError::Mismatch`] where it says nothing that
    /// this program knows.
    pub fn read(folder: &Path) -> Result<Self, ImageError> {
        let path = folder.join(MANIFEST_NAME);
        let mismatch = |reason: String| ImageError::Mismatch {
            path: folder.to_owned(),
            reason,
        };
        let json =
            regular::read_text(&path, MAX_MANIFEST_BYTES).map_err(|source| ImageError::Read {
                what: "image's manifest",
                path: path.clone(),
                source,
            })?;
        let manifest: Self = serde_json::from_str(&json)
            .map_err(|error| mismatch(format!("its manifest is broken ({error})")))?;
        if manifest.format != MANIFEST_FORMAT {
            return Err(mismatch(format!(
                "its manifest has format {}, and this smolctl knows {MANIFEST_FORMAT}",
                manifest.format
            )));
        }
        Ok(manifest)
    }
}

/// An image folder whose files were found to match its manifest.
#[derive(Clone, Debug)]
pub struct Image {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Image {
    /// Opens an image folder and compares every file with the manifest.
    ///
    /// # Errors
    /// [`ImageError::Read`] and [`ImageError::Mismatch`].
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        Self::open_until(folder, None)
    }

    /// The same, which ends early where the caller gives up.
    ///
    /// # Errors
    /// The same, and [`ImageError::Cancelled`].
    pub(super) fn open_until(folder: &Path, cancel: Option<&Cancel>) -> Result<Self, ImageError> {
        let read_error = |path: PathBuf, source| ImageError::Read {
            what: "image",
            path,
            source,
        };
        let folder =
            fs::canonicalize(folder).map_err(|source| read_error(folder.to_owned(), source))?;
        let manifest = Manifest::read(&folder)?;
        let mismatch = |reason: String| ImageError::Mismatch {
            path: folder.clone(),
            reason,
        };
        let named = [&manifest.initramfs, &manifest.root_disk];
        for name in named.into_iter().flatten().chain([&manifest.kernel]) {
            if !manifest.files.contains_key(name) {
                return Err(mismatch(format!("its manifest does not list '{name}'")));
            }
        }
        for (name, inventory) in &manifest.inventories {
            for name in [name, inventory] {
                if !manifest.files.contains_key(name) {
                    return Err(mismatch(format!("its manifest does not list '{name}'")));
                }
            }
        }
        for (name, sum) in &manifest.files {
            if name.contains('/') || name.starts_with('.') {
                return Err(mismatch(format!("its manifest lists '{name}'")));
            }
            let path = folder.join(name);
            let file = regular::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            let (size, file) = file.map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => {
                    mismatch(format!("it lacks {name}, which its manifest lists"))
                }
                _ => read_error(path.clone(), source),
            })?;
            // The size is compared first: what differs in it need not be read.
            let found = || match cancel {
                Some(cancel) => FileSum::of_reader(cancel.reader(file.take(size))),
                None => FileSum::of_reader(file.take(size)),
            };
            let is_same = size == sum.size
                && found().map_err(|source| match cancel {
                    Some(cancel) => read_error(path, source).unless(cancel),
                    None => read_error(path, source),
                })? == *sum;
            if !is_same {
                return Err(mismatch(format!("{name} is not what its manifest says")));
            }
        }
        Ok(Self { folder, manifest })
    }

    /// The kernel's path.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join(&self.manifest.kernel)
    }

    /// The initramfs's path, where there is one.
    #[must_use]
    pub fn initramfs(&self) -> Option<PathBuf> {
        let name = self.manifest.initramfs.as_ref()?;
        Some(self.folder.join(name))
    }

    /// The path of the root's disk, where there is one.
    #[must_use]
    pub fn root_disk(&self) -> Option<PathBuf> {
        let name = self.manifest.root_disk.as_ref()?;
        Some(self.folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_with(size: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let sum = FileSum {
            size,
            ..FileSum::of(b"k")
        };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            variant: "minimal".to_owned(),
            arch: Arch::X86_64,
            agent_version: "1".to_owned(),
            protocol: 1,
            kernel: "k".to_owned(),
            kernel_release: None,
            initramfs: Some("k".to_owned()),
            root_disk: None,
            cmdline: String::new(),
            modules: Vec::new(),
            tools: BTreeMap::new(),
            inventories: BTreeMap::new(),
            files: [("k".to_owned(), sum)].into(),
        };
        fs::write(folder.path().join(MANIFEST_NAME), manifest.to_json()).unwrap();
        folder
    }

    #[test]
    fn listed_file_of_another_size_is_not_read() {
        let folder = image_with(1);
        let file = fs::File::create(folder.path().join("k")).unwrap();
        // Sparse, and too large to be read before this test ends.
        file.set_len(1 << 42).unwrap();
        let error = Image::open(folder.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("k is not what its manifest says")
        );
        fs::write(folder.path().join("k"), b"k").unwrap();
        assert!(Image::open(folder.path()).is_ok());
        fs::write(folder.path().join("k"), b"x").unwrap();
        assert!(Image::open(folder.path()).is_err());
    }

    #[test]
    fn listed_file_that_is_a_pipe_is_refused_at_once() {
        let folder = image_with(0);
        let path = folder.path().join("k");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
        let error = Image::open(folder.path()).unwrap_err();
        assert!(matches!(error, ImageError::Read { path: named, .. } if named == path));
    }
}
