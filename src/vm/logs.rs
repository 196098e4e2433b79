//! What a VM's guest, its QEMU and its vsock device have said, from the beginning and as it comes.
//!
//! Owns following a file that grows, that is cut to nothing, and that is replaced by a new one under its name:
//! all three happen where a start goes from KVM to emulation. The bytes are the guest's: nothing is left out.

use super::VmError;
use super::boot::log_path;
use super::record::{Status, VmRecord};
use super::registry::{Registry, state_error};
use crate::target::VmName;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Whose words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    /// The guest's, on its serial console.
    #[default]
    Console,
    /// QEMU's.
    Qemu,
    /// Those of the program that provides the vsock device, where it is one.
    Device,
}

impl LogKind {
    fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Qemu => "qemu",
            Self::Device => "device",
        }
    }
}

/// One log of one start of a VM.
#[derive(Debug)]
pub struct Log {
    registry: Registry,
    name: VmName,
    record: VmRecord,
    kind: LogKind,
    path: PathBuf,
    file: Option<File>,
    read_bytes: u64,
}

impl Log {
    /// The log, from its beginning.
    ///
    /// # Errors
    /// [`VmError::NoSuchVm`], [`VmError::State`], [`VmError::BrokenRecord`].
    pub fn open(registry: &Registry, name: &VmName, kind: LogKind) -> Result<Self, VmError> {
        let record = registry.get(name)?;
        let path = log_path(&registry.dir(name.as_str()), kind.name());
        Ok(Self {
            registry: registry.clone(),
            name: name.clone(),
            record,
            kind,
            path,
            file: None,
            read_bytes: 0,
        })
    }

    /// How many bytes it has now; 0 where it has not begun.
    ///
    /// # Errors
    /// [`VmError::State`].
    pub fn length(&self) -> Result<u64, VmError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(state_error(&self.path)(error)),
        }
    }

    /// Reads what has come since; 0 bytes where nothing has.
    ///
    /// # Errors
    /// [`VmError::State`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, VmError> {
        self.read_next(buffer).map_err(state_error(&self.path))
    }

    /// Whether more can come: the VM lives, and is the one whose log this is.
    ///
    /// # Errors
    /// [`VmError::State`], [`VmError::BrokenRecord`].
    pub fn may_grow(&self) -> Result<bool, VmError> {
        match self.registry.get(&self.name) {
            Ok(now) => Ok(now.is_of_start(&self.record) && now.status() != Status::Stopped),
            Err(VmError::NoSuchVm { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// That there is such a log, once nothing more can come.
    ///
    /// # Errors
    /// [`VmError::NoLog`].
    pub fn check_existence(&self) -> Result<(), VmError> {
        match self.file {
            Some(_) => Ok(()),
            None => Err(VmError::NoLog {
                name: self.name.to_string(),
                kind: self.kind.name(),
            }),
        }
    }

    fn read_next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            if file.metadata()?.len() < self.read_bytes {
                io::Seek::rewind(file)?;
                self.read_bytes = 0;
            }
            let read = file.read(buffer)?;
            self.read_bytes += read as u64;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
        }
        if !self.take_new_file()? {
            return Ok(0);
        }
        self.read_next(buffer)
    }

    /// Opens what has the log's name now, and says whether that is another file than the one read so far.
    fn take_new_file(&mut self) -> io::Result<bool> {
        let new = match File::open(&self.path) {
            Ok(new) => new,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(old) = &self.file {
            if new.metadata()?.ino() == old.metadata()?.ino() {
                return Ok(false);
            }
        }
        self.file = Some(new);
        self.read_bytes = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::vm::record::Phase;
    use crate::vm::registry::tests::record;
    use std::fs;

    #[test]
    fn log_is_followed_while_it_grows_is_cut_and_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let registry = Registry::at(state.path());
        let lock = registry.lock(&Cancel::new().unwrap()).unwrap();
        lock.create(&record("a", 3)).unwrap();
        let name = VmName::parse("a").unwrap();
        let mut log = Log::open(&registry, &name, LogKind::Console).unwrap();
        let mut read = || {
            let mut buffer = [0; 64];
            let length = log.read(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let path = registry.dir("a").join("console.log");
        assert_eq!(read(), "");
        for (words, wanted) in [("ab", "ab"), ("abc", "c"), ("d", "d")] {
            fs::write(&path, words).unwrap();
            assert_eq!((read(), read()), (wanted.to_owned(), String::new()));
        }
        let new = path.with_extension("new");
        fs::write(&new, "longer").unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(read(), "longer");
    }

    #[test]
    fn log_of_another_start_or_a_vm_that_is_gone_does_not_grow() {
        let state = tempfile::tempdir().unwrap();
        let registry = Registry::at(state.path());
        let lock = registry.lock(&Cancel::new().unwrap()).unwrap();
        let mut other = record("a", 3);
        lock.create(&other).unwrap();
        let name = VmName::parse("a").unwrap();
        let log = Log::open(&registry, &name, LogKind::Device).unwrap();
        assert!(log.may_grow().unwrap());
        assert!(matches!(log.check_existence(), Err(VmError::NoLog { .. })));
        (other.phase, other.qemu) = (Phase::Running, Some(other.starter));
        registry.save(&other).unwrap();
        assert!(log.may_grow().unwrap());
        other.starter.start_time += 1;
        registry.save(&other).unwrap();
        assert_eq!(other.status(), Status::Running);
        assert!(!log.may_grow().unwrap());
        lock.remove("a", |_| true).unwrap();
        assert!(!log.may_grow().unwrap());
    }
}
