//! An image folder's `manifest.json`: what is in it and how it boots.
//!
//! Owns the manifest's format and the check of a folder against it. Its text is a function of its
//! content: sorted members, two blanks, a newline at the end.

use super::ImageError;
use crate::arch::Arch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
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
            sha256: format!("{:x}", Sha256::digest(bytes)),
            size: bytes.len() as u64,
        }
    }
}

/// What an image folder holds and how it boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The image's variant.
    pub variant: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// Version of the guest agent's program.
    pub agent_version: String,
    /// Version of the control protocol that the agent speaks.
    pub protocol: u32,
    /// Name of the kernel's file.
    pub kernel: String,
    /// The kernel's release, where its file tells it.
    pub kernel_release: Option<String>,
    /// Name of the initramfs's file.
    pub initramfs: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// Kernel modules in load order.
    pub modules: Vec<String>,
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
        let json = fs::metadata(&path)
            .and_then(|metadata| {
                if metadata.len() > MAX_MANIFEST_BYTES {
                    return Err(std::io::Error::other("too large"));
                }
                fs::read_to_string(&path)
            })
            .map_err(|source| ImageError::Read {
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
        for name in [&manifest.kernel, &manifest.initramfs] {
            if !manifest.files.contains_key(name) {
                return Err(mismatch(format!("its manifest does not list '{name}'")));
            }
        }
        for (name, sum) in &manifest.files {
            if name.contains('/') || name.starts_with('.') {
                return Err(mismatch(format!("its manifest lists '{name}'")));
            }
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(|source| read_error(path, source))?;
            if FileSum::of(&bytes) != *sum {
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

    /// The initramfs's path.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join(&self.manifest.initramfs)
    }
}
