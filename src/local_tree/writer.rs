//! A tree that is made entry by entry.
//!
//! Owns where each entry goes. The directories on the way to it are held open, each opened within the one before
//! it and never through a link, and the entry's own name is never followed: whoever names the entries, and is not
//! trusted, cannot lead out of the root. A file or link appears whole under its name; a directory gets its mode once
//! all that is in it is there.

use super::staged::Staged;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;
use smolvm_protocol::tree::{Entry, EntryError, Kind, Order};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The permission bits that a file takes over. Those that would lend a user's or group's rights to whoever runs it
/// are dropped: they were given on another machine.
pub(super) const KEPT_FILE_MODE: u32 = 0o777;
/// The same for a directory; the sticky bit lends nothing.
pub(super) const KEPT_DIRECTORY_MODE: u32 = 0o1777;
/// The mode of a file whose sender tells none.
const DEFAULT_FILE_MODE: u32 = 0o600;
/// Until its content is complete, a directory is its owner's alone.
const PASSING_MODE: Mode = Mode::RWXU;

/// A tree on its way.
pub(crate) struct TreeWriter {
    place: Place,
    root: PathBuf,
    /// Whether the path of a root that is not there ends as only a directory's does: in `/` or `/.`.
    wants_directory: bool,
    order: Order,
    /// The directories whose content is not complete yet, from the root on.
    under_way: Vec<Directory>,
}

/// Where the root goes.
enum Place {
    /// It is this directory, which is there.
    Directory(OwnedFd),
    /// It is what has, or will have, this name.
    Name(OwnedFd, OsString),
}

/// A directory under way, and the mode that it gets; one that was there keeps its own.
struct Directory {
    descriptor: OwnedFd,
    mode: Option<Mode>,
}

/// What became of an entry.
pub(crate) enum Begun {
    /// It is there.
    Done,
    /// Its content is to follow.
    File(TreeFile),
    /// It is of a kind that cannot be made here.
    Skipped,
}

/// A file on its way.
pub(crate) struct TreeFile {
    staged: Staged,
    file: File,
    name: OsString,
    mode: u32,
}

/// Why an entry cannot be made.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// It should never have been sent.
    Entry(EntryError),
    /// The system refuses.
    System(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for WriteError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl TreeWriter {
    /// A tree whose root will be `local`; where that is a directory, its root will be in it under the last component
    /// of `name`, or, without one, that directory.
    ///
    /// # Errors
    /// `local` cannot be opened, is in no directory, or is a device, pipe or socket; the name is `.` or `..`.
    pub(crate) fn new(local: &Path, name: Option<&OsStr>) -> io::Result<Self> {
        let name = name.map(last_component).filter(|name| !name.is_empty());
        let mut root = local.to_owned();
        let mut wants_directory = false;
        let place = match open_directory(CWD, local.as_os_str(), OFlags::PATH) {
            Ok(directory) => match name {
                Some(name) if name == "." || name == ".." => {
                    let name = name.to_string_lossy();
                    let reason = format!("a copy in it cannot be named '{name}'");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
                }
                Some(name) => {
                    root.push(name);
                    Place::Name(directory, name.to_owned())
                }
                None => Place::Directory(directory),
            },
            Err(Errno::NOENT | Errno::NOTDIR) => {
                if local.metadata().is_ok_and(|there| !there.is_file()) {
                    let reason = "it is a device, pipe or socket, whose place no copy takes";
                    return Err(io::Error::other(reason));
                }
                let bytes = local.as_os_str().as_bytes();
                wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
                let parent = match local.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                let own_name = local.file_name().ok_or(Errno::NOENT)?;
                let parent = open_directory(CWD, parent.as_os_str(), OFlags::PATH)?;
                Place::Name(parent, own_name.to_owned())
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self {
            place,
            root,
            wants_directory,
            order: Order::new(),
            under_way: Vec::new(),
        })
    }

    /// Where the root will be.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes an entry. A file or link in its place is replaced; a directory is taken as it is, with its mode.
    ///
    /// # Errors
    /// [`WriteError`]: it cannot come here; a directory is where something else should go, or the other way round, a
    /// link to a directory included; the place cannot be written.
    pub(crate) fn begin(&mut self, entry: &Entry) -> Result<Begun, WriteError> {
        let depth = self.order.admit(entry).map_err(WriteError::Entry)?;
        self.complete_down_to(depth)?;
        let name = OsString::from_vec(entry.name().to_vec());
        let (parent, name) = match (self.under_way.last(), &self.place) {
            (Some(directory), _) => (&directory.descriptor, name),
            (None, Place::Name(..)) if self.wants_directory && !is_directory(entry) => {
                return Err(Errno::NOTDIR.into());
            }
            (None, Place::Name(parent, name)) => (parent, name.clone()),
            (None, Place::Directory(directory)) => {
                if !is_directory(entry) {
                    return Err(Errno::ISDIR.into());
                }
                self.under_way.push(Directory {
                    descriptor: directory.try_clone()?,
                    mode: None,
                });
                return Ok(Begun::Done);
            }
        };
        match &entry.kind {
            Kind::Directory { mode } => {
                let directory = make_directory(parent, &name, *mode)?;
                self.under_way.push(directory);
                Ok(Begun::Done)
            }
            Kind::File { mode, .. } => {
                let (staged, file) = Staged::file(parent)?;
                let mode = mode.unwrap_or(DEFAULT_FILE_MODE) & KEPT_FILE_MODE;
                Ok(Begun::File(TreeFile {
                    staged,
                    file,
                    name,
                    mode,
                }))
            }
            Kind::Symlink { target } => {
                Staged::link(parent, OsStr::from_bytes(target))?.rename(&name)?;
                Ok(Begun::Done)
            }
            Kind::Other(_) => Ok(Begun::Skipped),
        }
    }

    /// Ends the tree, whether it is whole or not: directories get their modes.
    ///
    /// # Errors
    /// One is somebody else's by now.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.complete_down_to(0)
    }

    /// Whether a root has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.order.has_begun()
    }

    fn complete_down_to(&mut self, depth: usize) -> io::Result<()> {
        while self.under_way.len() > depth {
            if let Some(Directory {
                descriptor,
                mode: Some(mode),
            }) = self.under_way.pop()
            {
                fchmod(descriptor, mode)?;
            }
        }
        Ok(())
    }
}

/// What follows the last slash.
fn last_component(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    let slash = bytes.iter().rposition(|&byte| byte == b'/');
    OsStr::from_bytes(&bytes[slash.map_or(0, |at| at + 1)..])
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Directory { .. })
}

fn make_directory(parent: &OwnedFd, name: &OsStr, mode: Option<u32>) -> io::Result<Directory> {
    let is_new = match mkdirat(parent, name, PASSING_MODE) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    // For its mode it has to be open for more than names, which one that was there may not allow.
    let access = if is_new { OFlags::RDONLY } else { OFlags::PATH };
    let descriptor = open_directory(parent, name, access | OFlags::NOFOLLOW)?;
    let mode = mode.map(|mode| Mode::from_raw_mode(mode & KEPT_DIRECTORY_MODE));
    let mode = mode.filter(|_| is_new);
    Ok(Directory { descriptor, mode })
}

/// With [`OFlags::PATH`] for `access`, the right to search it is enough, and files can be named in it.
fn open_directory(within: impl AsFd, path: &OsStr, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(within, path, flags, Mode::empty()) {
        // A link is told as what it is not.
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        opened => opened,
    }
}

impl TreeFile {
    /// Appends to the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its mode and its name.
    ///
    /// # Errors
    /// A directory has that name, or the place cannot be written.
    pub(crate) fn finish(self) -> io::Result<()> {
        fchmod(&self.file, Mode::from_raw_mode(self.mode))?;
        self.staged.rename(&self.name)
    }
}
