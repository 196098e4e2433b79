//! KVM or emulation: which one really starts a kernel on this machine.
//!
//! Owns the verdict and its memory. That `/dev/kvm` can be opened proves nothing: some machines have
//! it and no kernel ever starts, so the proof is a boot. The verdict is kept in the cache, for this
//! boot of the machine and by kernel and QEMU, so that it is not probed each time.

use super::record::boot_id;
use crate::arch::Arch;
use crate::checksum::sum_of;
use crate::places;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What executes a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself, through `/dev/kvm`.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulation",
        })
    }
}

/// What somebody wants to execute a guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    /// KVM where it really starts a kernel, else emulation.
    #[default]
    Auto,
    /// This one, or an error.
    Only(Accelerator),
}

/// Whether KVM can be tried for a guest at all.
///
/// # Errors
/// Why not, in words.
pub fn check_kvm(arch: Arch) -> Result<(), String> {
    if Arch::of_this_host() != Some(arch) {
        return Err(format!("this host is not {arch}"));
    }
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("/dev/kvm cannot be opened: {error}")),
    }
}

/// What was found out about KVM with one kernel and one QEMU.
#[derive(Clone, Debug)]
pub struct KvmVerdict {
    path: Option<PathBuf>,
    boot_id: String,
    key: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Verdicts {
    boot_id: String,
    works: BTreeMap<String, bool>,
}

impl KvmVerdict {
    /// The verdict's place for a kernel (by its SHA-256) and a QEMU program.
    #[must_use]
    pub fn of(kernel_sha256: &str, qemu: &Path) -> Self {
        let path = places::cache_dir()
            .ok()
            .map(|dir| dir.join("kvm-verdicts.json"));
        Self::at(path, kernel_sha256, qemu)
    }

    fn at(path: Option<PathBuf>, kernel_sha256: &str, qemu: &Path) -> Self {
        let metadata = fs::metadata(qemu);
        let version = metadata.map(|metadata| (metadata.len(), metadata.mtime(), metadata.ino()));
        let key = format!("{kernel_sha256} {} {:?}", qemu.display(), version.ok());
        Self {
            path,
            boot_id: boot_id(),
            key: sum_of(key).to_string(),
        }
    }

    /// Whether KVM starts this kernel; `None` where nobody has tried.
    #[must_use]
    pub fn recall(&self) -> Option<bool> {
        self.load().works.get(&self.key).copied()
    }

    /// Keeps a verdict. What has worked once is never taken back: a later failure has another reason.
    /// A cache that cannot be written is no error: it is probed again then.
    pub fn remember(&self, works: bool) {
        let Some(path) = &self.path else { return };
        let mut verdicts = self.load();
        let known = verdicts.works.get(&self.key).copied();
        if known == Some(works) || known == Some(true) {
            return;
        }
        verdicts.works.insert(self.key.clone(), works);
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(&verdicts)?)?;
            file.persist(path)?;
            Ok(())
        };
        let _ = write();
    }

    /// What was found out since this machine started.
    fn load(&self) -> Verdicts {
        let json = self.path.as_ref().and_then(|path| fs::read(path).ok());
        let verdicts: Option<Verdicts> = json.and_then(|json| serde_json::from_slice(&json).ok());
        verdicts
            .filter(|verdicts| verdicts.boot_id == self.boot_id)
            .unwrap_or_else(|| Verdicts {
                boot_id: self.boot_id.clone(),
                works: BTreeMap::new(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_is_kept_for_its_kernel_and_this_boot_alone() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("c/v.json");
        let verdict = |kernel| KvmVerdict::at(Some(path.clone()), kernel, Path::new("/bin/sh"));
        assert_eq!(verdict("k").recall(), None);
        verdict("k").remember(false);
        verdict("l").remember(true);
        assert_eq!(verdict("k").recall(), Some(false));
        assert_eq!(verdict("l").recall(), Some(true));
        verdict("l").remember(false);
        assert_eq!(verdict("l").recall(), Some(true));
        let mut other_boot = verdict("k");
        other_boot.boot_id = "another".to_owned();
        assert_eq!(other_boot.recall(), None);
    }

    #[test]
    fn broken_or_missing_cache_means_unknown() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("v.json");
        fs::write(&path, b"x").unwrap();
        assert_eq!(
            KvmVerdict::at(Some(path), "k", Path::new("/x")).recall(),
            None
        );
        assert_eq!(KvmVerdict::at(None, "k", Path::new("/x")).recall(), None);
    }
}
