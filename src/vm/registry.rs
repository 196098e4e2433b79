//! The VMs of this user: one directory each, below the state folder.
//!
//! Owns the directories, their lock and names. A directory appears with its record in it, by a
//! rename under the lock, and goes by a rename as well; what a crash leaves in between has a name that
//! no VM can have, and the next start removes it.
//!
//! ```text
//! <state>/vms/.lock           held while names are given out, and while a VM is removed
//! <state>/vms/NAME/vm.json    the record
//! <state>/vms/NAME/*.log      what QEMU, device and guest said; a stopped VM has this and the record alone
//! <state>/vms/NAME/*.sock     sockets; root.ext4  its own disk
//! <state>/vms/NAME/*.process  what QEMU and device said of themselves before the record could
//! ```

use super::process::ProcessId;
use super::record::{RECORD_FORMAT, Status, VmRecord, boot_id};
use super::{VmError, boot, detached};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::places;
use crate::target::VmName;
use crate::transport::{Address, pause};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RECORD_NAME: &str = "vm.json";
/// What begins the name of a directory that is being made or removed.
const PASSING_PREFIX: &str = ".passing-";
/// How long a caller waits for others that give out names, or end what a crash has left.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
/// How often the lock is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// The VMs of this user.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

/// Held while names are given out and while a VM is removed; dropping it lets the next one in.
#[derive(Debug)]
pub struct RegistryLock<'registry> {
    registry: &'registry Registry,
    _file: File,
}

impl Registry {
    /// The registry in the state folder.
    ///
    /// # Errors
    /// [`VmError::NoPlace`]; [`VmError::NoProc`], since every VM would look stopped without it, and be
    /// forgotten while it runs. That it tells of processes alone (`subset=pid`) is not enough.
    pub fn open() -> Result<Self, VmError> {
        if ProcessId::of_this_process().is_none() || boot_id().is_empty() {
            return Err(VmError::NoProc);
        }
        Ok(Self::at(&places::state_dir()?))
    }

    /// The registry below `state`.
    #[must_use]
    pub fn at(state: &Path) -> Self {
        Self {
            folder: state.join("vms"),
        }
    }

    /// The directory of a VM, whether it exists or not.
    #[must_use]
    pub fn dir(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Every VM's record, by name. A directory without a readable record is an error of its own.
    ///
    /// # Errors
    /// [`VmError::State`] where the registry itself cannot be read.
    pub fn list(&self) -> Result<Vec<Result<VmRecord, VmError>>, VmError> {
        Ok(self
            .names()?
            .iter()
            .filter_map(|name| self.load(name).transpose())
            .collect())
    }

    /// The record of one VM.
    ///
    /// # Errors
    /// [`VmError::NoSuchVm`], [`VmError::State`], [`VmError::BrokenRecord`].
    pub fn get(&self, name: &VmName) -> Result<VmRecord, VmError> {
        self.load(name.as_str())?.ok_or_else(|| VmError::NoSuchVm {
            name: name.to_string(),
        })
    }

    /// Where the agent of a running VM is reached.
    ///
    /// # Errors
    /// As [`Self::get`], and [`VmError::NotRunning`].
    pub fn address_of(&self, name: &VmName) -> Result<Address, VmError> {
        let record = self.get(name)?;
        if record.status() == Status::Stopped {
            return Err(VmError::NotRunning {
                name: record.name,
                image: record.image,
                disk: record.disk,
            });
        }
        record.address().ok_or_else(|| VmError::BrokenRecord {
            path: self.dir(name.as_str()).join(RECORD_NAME),
            reason: format!("{} is no CID", record.cid),
        })
    }

    /// Whether a VM's start has ended without a word, for certain: its starter may have saved and ended between the
    /// reading of this record and the look at the starter. Read again after that look, the record is final.
    pub(super) fn has_failed_to_start(&self, record: &VmRecord) -> bool {
        record.has_failed_to_start()
            && matches!(self.load(&record.name), Ok(Some(now))
                if now.is_of_start(record) && now.has_failed_to_start())
    }

    /// Writes a VM's record anew.
    ///
    /// # Errors
    /// [`VmError::State`].
    pub fn save(&self, record: &VmRecord) -> Result<(), VmError> {
        write_record(&self.dir(&record.name), record)
    }

    /// Lets one caller at a time give out names and remove VMs. One who does that takes
    /// moments, or seconds where a crash has left processes.
    ///
    /// # Errors
    /// [`VmError::State`], [`VmError::Locked`], [`VmError::Cancelled`].
    pub fn lock(&self, cancel: &Cancel) -> Result<RegistryLock<'_>, VmError> {
        self.lock_within(LOCK_LIMIT, |span| {
            pause(span, cancel).map_err(|_| VmError::Cancelled)
        })
    }

    /// The same for a way out, on which nobody can be told any more.
    pub(super) fn lock_on_the_way_out(&self) -> Result<RegistryLock<'_>, VmError> {
        self.lock_within(LOCK_LIMIT, |span| {
            std::thread::sleep(span);
            Ok(())
        })
    }

    fn lock_within(
        &self,
        limit: Duration,
        pause: impl Fn(Duration) -> Result<(), VmError>,
    ) -> Result<RegistryLock<'_>, VmError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(state_error(&self.folder))?;
        let path = self.folder.join(".lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(state_error(&path))?;
        let deadline = Deadline::after(limit);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if deadline.has_passed() => {
                    return Err(VmError::Locked { path, limit });
                }
                Err(Errno::WOULDBLOCK) => pause(LOCK_INTERVAL)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(state_error(&path)(errno.into())),
            }
        }
        Ok(RegistryLock {
            registry: self,
            _file: file,
        })
    }

    fn names(&self) -> Result<BTreeSet<String>, VmError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(state_error(&self.folder)(error)),
        };
        Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| VmName::parse(name).is_ok())
            .collect())
    }

    /// `None` where there is no such VM, or it has just gone.
    fn load(&self, name: &str) -> Result<Option<VmRecord>, VmError> {
        let path = self.dir(name).join(RECORD_NAME);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(state_error(&path)(error)),
        };
        let broken = |reason: String| VmError::BrokenRecord {
            path: path.clone(),
            reason,
        };
        let mut record: VmRecord =
            serde_json::from_slice(&json).map_err(|error| broken(error.to_string()))?;
        if record.format != RECORD_FORMAT || record.name != name {
            return Err(broken("its format or name is another".to_owned()));
        }
        let traced = |name| detached::traced(&boot::log_path(&self.dir(&record.name), name));
        record.qemu = traced("qemu").or(record.qemu);
        record.device = traced("device").or(record.device);
        Ok(Some(record))
    }
}

impl RegistryLock<'_> {
    /// A name that no VM has: `vm1`, `vm2`, …
    ///
    /// # Errors
    /// [`VmError::State`].
    pub fn free_name(&self) -> Result<String, VmError> {
        let names = self.registry.names()?;
        let mut numbered = (1u32..).map(|number| format!("vm{number}"));
        Ok(numbered
            .find(|name| !names.contains(name))
            .expect("a directory cannot hold four billion names"))
    }

    /// The CIDs of VMs that are not known to have stopped. Those started before there was a pool of CIDs have
    /// theirs without a lease.
    ///
    /// # Errors
    /// [`VmError::State`].
    pub fn cids_in_use(&self) -> Result<BTreeSet<u32>, VmError> {
        let records = self.registry.list()?;
        let lives = records
            .iter()
            .flatten()
            .filter(|record| record.status() != Status::Stopped);
        Ok(lives.map(|record| record.cid).collect())
    }

    /// Makes a VM's directory with its record in it, and removes what crashes have left.
    ///
    /// # Errors
    /// [`VmError::NameTaken`] where the directory exists, [`VmError::State`].
    pub fn create(&self, record: &VmRecord) -> Result<(), VmError> {
        let folder = &self.registry.folder;
        self.sweep();
        let dir = self.registry.dir(&record.name);
        if dir.exists() {
            return Err(VmError::NameTaken {
                name: record.name.clone(),
            });
        }
        let passing = tempfile::Builder::new()
            .prefix(PASSING_PREFIX)
            .tempdir_in(folder)
            .map_err(state_error(folder))?;
        write_record(passing.path(), record)?;
        fs::rename(passing.path(), &dir).map_err(state_error(&dir))
    }

    /// Removes a VM's directory, unless its record has become one that is not `wanted`: another start
    /// may have taken the name meanwhile. One that is gone is fine.
    ///
    /// # Errors
    /// [`VmError::State`], [`VmError::BrokenRecord`].
    pub fn remove(
        &self,
        name: &str,
        wanted: impl FnOnce(&VmRecord) -> bool,
    ) -> Result<(), VmError> {
        if self.registry.load(name)?.is_some_and(|now| !wanted(&now)) {
            return Ok(());
        }
        let folder = &self.registry.folder;
        let dir = self.registry.dir(name);
        let passing = tempfile::Builder::new()
            .prefix(PASSING_PREFIX)
            .tempdir_in(folder)
            .map_err(state_error(folder))?;
        match fs::rename(&dir, passing.path().join(name)) {
            Ok(()) => passing.close().map_err(state_error(&dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(state_error(&dir)(error)),
        }
    }

    /// Leaves of a VM's directory the record and the logs, unless its record has become another start's or
    /// the VM runs.
    ///
    /// # Errors
    /// [`VmError::State`], [`VmError::BrokenRecord`].
    pub fn tidy(&self, record: &VmRecord) -> Result<(), VmError> {
        let now = self.registry.load(&record.name)?;
        if now.is_none_or(|now| !now.is_of_start(record) || now.status() != Status::Stopped) {
            return Ok(());
        }
        let dir = self.registry.dir(&record.name);
        for entry in fs::read_dir(&dir).map_err(state_error(&dir))? {
            let path = entry.map_err(state_error(&dir))?.path();
            let is_log = path.extension().is_some_and(|ending| ending == "log");
            if !is_log && path.file_name().is_some_and(|name| name != RECORD_NAME) {
                fs::remove_file(&path).map_err(state_error(&path))?;
            }
        }
        Ok(())
    }

    /// Directories are made and removed under the lock, so one that passes now is a crash's.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.registry.folder).into_iter().flatten();
        for entry in entries.flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(PASSING_PREFIX)
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn write_record(dir: &Path, record: &VmRecord) -> Result<(), VmError> {
    let path = dir.join(RECORD_NAME);
    if let Some(path) = record.paths().find(|path| path.to_str().is_none()) {
        let path = path.clone();
        return Err(VmError::NotUtf8 { path });
    }
    let json = serde_json::to_vec_pretty(record)
        .expect("strings, numbers and paths in UTF-8 are always JSON");
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(PASSING_PREFIX)
            .tempfile_in(dir)?;
        file.write_all(&json)?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(state_error(&path))
}

/// Turns an error about `path` into one about the registry.
pub(super) fn state_error(path: &Path) -> impl FnOnce(io::Error) -> VmError + use<> {
    let path = path.to_owned();
    move |source| VmError::State { path, source }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
pub(super) mod tests;
