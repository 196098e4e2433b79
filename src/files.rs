//! Files on this side of a transfer: what is sent, and under which name a fetched one is stored.
//!
//! Owns what a file has to be before it can be sent (its size is said first), and how a transfer is adjusted.
//! Refuses to know how the bytes get to the guest.

use crate::cancel::Cancel;
use crate::channel::{FILE_OWNER, PUT_SYNC, SHA256_FOLLOWS};
use crate::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use smolvm_protocol::request::Owner;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The permission bits that a sent file takes over.
const KEPT_MODE: u32 = 0o777;
/// So much of a file is read to see whether it is as long as it says; files that are not are short.
const PROBE_BYTES: usize = 64 * 1024;

/// How one file is transferred, where the default is not meant: no limit on its time in all, only one that stands
/// still for [`crate::channel::STALL_LIMIT`] ends, or whose disk takes [`crate::channel::SYNC_LIMIT`].
#[derive(Default)]
pub struct Transfer<'progress> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) mode: Option<u32>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) verify: bool,
    pub(crate) owner: Owner,
    pub(crate) sync: bool,
    pub(crate) progress: Option<Box<dyn FnMut(u64) + 'progress>>,
}

impl<'progress> Transfer<'progress> {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the time that the transfer may take in all, connecting included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the permission bits that a file gets in the guest, at most 0o7777. Otherwise those of the file here
    /// (0o777 of them), or 0600 where it comes from a reader. Fetching ignores it.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the name that a sent file gets where it goes to a directory. Otherwise that of the file here; a
    /// reader has none. Fetching ignores it.
    #[must_use]
    pub fn name(mut self, name: impl AsRef<OsStr>) -> Self {
        self.name = Some(name.as_ref().as_bytes().to_vec());
        self
    }

    /// Makes sure by its SHA-256 sum that a file arrives as it was sent; nothing is stored otherwise.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Gives a sent file to a user and a group of the guest, by their numbers; without one, it is the agent's. Fetching
    /// ignores it.
    #[must_use]
    pub fn owner(mut self, uid: impl Into<Option<u32>>, gid: impl Into<Option<u32>>) -> Self {
        self.owner = Owner {
            uid: uid.into(),
            gid: gid.into(),
        };
        self
    }

    /// Waits until a sent file is on the guest's disk, for [`crate::channel::SYNC_LIMIT`] at most. Fetching ignores it.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// The features that an agent needs to be sent a file in this way; to fetch one it needs others.
    pub(crate) fn features(&self) -> impl Iterator<Item = &'static str> + use<> {
        [
            (self.verify, SHA256_FOLLOWS),
            (self.owner != Owner::default(), FILE_OWNER),
            (self.sync, PUT_SYNC),
        ]
        .into_iter()
        .filter_map(|(is_asked, feature)| is_asked.then_some(feature))
    }

    /// Has `progress` called with the number of bytes transferred so far, at each piece of at most 64 KiB.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(u64) + 'progress) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl fmt::Debug for Transfer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transfer")
            .field("timeout", &self.timeout)
            .field("mode", &self.mode)
            .field("name", &self.name)
            .field("verify", &self.verify)
            .field("owner", &self.owner)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

/// A reader or writer that tells how many bytes went through it.
pub(crate) struct Counted<'progress, S> {
    inner: S,
    bytes: u64,
    progress: Option<Box<dyn FnMut(u64) + 'progress>>,
}

impl<'progress, S> Counted<'progress, S> {
    pub(crate) fn new(inner: S, progress: Option<Box<dyn FnMut(u64) + 'progress>>) -> Self {
        Self {
            inner,
            bytes: 0,
            progress,
        }
    }

    fn add(&mut self, count: usize) {
        self.bytes += count as u64;
        if let Some(progress) = self.progress.as_mut().filter(|_| count > 0) {
            progress(self.bytes);
        }
    }
}

impl<S: Read> Read for Counted<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.add(count);
        Ok(count)
    }
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.add(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file to send, of known size.
#[derive(Debug)]
pub struct Source {
    /// Its bytes, from where it stands.
    pub file: File,
    /// Their number.
    pub size: u64,
    /// Its name, where it has one.
    pub name: Option<Vec<u8>>,
    /// Its permission bits, at most 0o777; a stream has none.
    pub mode: Option<u32>,
}

impl Source {
    /// Opens a file, device or pipe. One whose size is not known (a pipe, a file of /proc) is first read to its end
    /// into a temporary file without a name.
    ///
    /// # Errors
    /// Where it is a directory or cannot be read, and where `cancel` was told so meanwhile;
    /// [`io::ErrorKind::TimedOut`] where its end has not come by the deadline.
    pub fn open(path: &Path, cancel: &Cancel, deadline: Deadline) -> io::Result<Self> {
        let mut file = open_at_once(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("is a directory"));
        }
        if !metadata.is_file() || !knows_its_size(&file, metadata.len())? {
            file = spool(&file, cancel, deadline)?;
        }
        Ok(Self {
            size: file.metadata()?.len(),
            file,
            name: path.file_name().map(|name| name.as_bytes().to_vec()),
            mode: Some(metadata.permissions().mode() & KEPT_MODE),
        })
    }

    /// Takes over what a stream, such as standard input, gives until its end.
    ///
    /// # Errors
    /// Where it cannot be read or kept, and where `cancel` was told so meanwhile;
    /// [`io::ErrorKind::TimedOut`] where its end has not come by the deadline.
    pub fn from_stream(
        stream: &impl AsFd,
        cancel: &Cancel,
        deadline: Deadline,
    ) -> io::Result<Self> {
        let stream = File::from(stream.as_fd().try_clone_to_owned()?);
        let file = spool(&stream, cancel, deadline)?;
        Ok(Self {
            size: file.metadata()?.len(),
            file,
            name: None,
            mode: None,
        })
    }
}

/// Opens a file without waiting for somebody who writes to a pipe: that is [`spool`]'s, which also
/// hears signals.
fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

/// Whether a file's beginning is as long as its size lets expect. Files of /proc say 0, those of
/// sysfs 4096, whatever they hold. The file's position stays.
fn knows_its_size(file: &File, size: u64) -> io::Result<bool> {
    let mut beginning =
        vec![0; usize::try_from(size).map_or(PROBE_BYTES, |size| size.min(PROBE_BYTES))];
    match file.read_exact_at(&mut beginning, 0) {
        Ok(()) => Ok(size > 0),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a short file, device or pipe holds. It is kept in memory alone, since it may be secret.
///
/// # Errors
/// Where it is a directory or cannot be read, and where `cancel` was told so meanwhile;
/// [`io::ErrorKind::FileTooLarge`] where it holds more than `limit` bytes.
pub fn read_short(path: &Path, limit: usize, cancel: &Cancel) -> io::Result<Vec<u8>> {
    let file = open_at_once(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("is a directory"));
    }
    let mut all = Vec::new();
    read_to_end(&file, cancel, Deadline::NEVER, |piece| {
        if piece.len() > limit - all.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        all.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(all)
}

/// A copy that has no name, so that nothing of it stays: the protocol wants the size first.
fn spool(source: &File, cancel: &Cancel, deadline: Deadline) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    read_to_end(source, cancel, deadline, |piece| copy.write_all(piece))?;
    copy.rewind()?;
    Ok(copy)
}

/// Hands on what there is, piece by piece, to its end.
fn read_to_end(
    source: &File,
    cancel: &Cancel,
    deadline: Deadline,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut fds = [
            PollFd::new(source, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        match poll(&mut fds, deadline.timespec().as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            outcome => outcome?,
        };
        if !fds[1].revents().is_empty() {
            return Err(io::Error::other("interrupted"));
        }
        // Also where there is more: a device that has no end must not outrun it.
        if deadline.has_passed() {
            let late = "its end has not come in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, late));
        }
        match (&mut &*source).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            // Somebody else was faster to read from the pipe.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Why there is no place on this side for a fetched file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// A path that ends in `/` leads to no directory.
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// It would go to a directory, and the guest's path has no last component to be its name there.
    NoName {
        /// The directory.
        folder: PathBuf,
        /// The guest's path, as far as it is UTF-8.
        remote: String,
    },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory { path } => {
                write!(formatter, "there is no directory {}", path.display())
            }
            Self::NoName { folder, remote } => write!(
                formatter,
                "{} is a directory and '{remote}' has no name to use in it",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for PlaceError {}

/// Where the guest's file `remote` goes: `local`, or within it under the file's name where that is a directory.
///
/// # Errors
/// [`PlaceError`].
pub fn place_of(local: &Path, remote: &OsStr) -> Result<PathBuf, PlaceError> {
    if !local.is_dir() {
        if local.as_os_str().as_bytes().ends_with(b"/") {
            return Err(PlaceError::NoDirectory {
                path: local.to_owned(),
            });
        }
        return Ok(local.to_owned());
    }
    match Path::new(remote).file_name() {
        Some(name) => Ok(local.join(name)),
        None => Err(PlaceError::NoName {
            folder: local.to_owned(),
            remote: remote.to_string_lossy().into_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> io::Result<Source> {
        Source::open(path, &Cancel::new().unwrap(), Deadline::NEVER)
    }

    #[test]
    fn source_knows_size_name_and_mode_and_a_file_that_lies_is_read_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let source = open(&path).unwrap();
        assert_eq!((source.size, source.mode), (3, Some(0o640)));
        assert_eq!(source.name.as_deref(), Some(&b"f"[..]));
        assert!(open(Path::new("/proc/self/status")).unwrap().size > 0);
        assert!(open(folder.path()).is_err());
    }

    #[test]
    fn stream_that_never_ends_is_given_up_when_told_so() {
        let (reader, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        assert!(Source::from_stream(&reader, &cancel, Deadline::NEVER).is_err());
    }

    #[test]
    fn source_that_has_no_end_is_given_up_at_the_deadline() {
        let (silent, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let cancel = Cancel::new().unwrap();
        let soon = || Deadline::after(Duration::from_millis(10));
        let silent = Source::from_stream(&silent, &cancel, soon()).unwrap_err();
        let endless = Source::open(Path::new("/dev/zero"), &cancel, soon()).unwrap_err();
        for error in [silent, endless] {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    }

    #[test]
    fn fetched_file_goes_into_a_directory_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = |local: &Path, remote: &str| place_of(local, OsStr::new(remote));
        let new = folder.path().join("new");
        assert_eq!(place(&new, "/etc/x"), Ok(new.clone()));
        assert_eq!(place(folder.path(), "/etc/x"), Ok(folder.path().join("x")));
        assert!(matches!(
            place(folder.path(), "/.."),
            Err(PlaceError::NoName { .. })
        ));
        let mut missing = new.into_os_string();
        missing.push("/");
        assert!(matches!(
            place(Path::new(&missing), "/x"),
            Err(PlaceError::NoDirectory { .. })
        ));
    }
}
