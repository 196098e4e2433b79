//! `smolctl put`.

use crate::arguments::PutArguments;
use crate::failure::Failure;
use crate::ping::duration;
use crate::run::channel_to;
use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use smolvm_host::cancel::Cancel;
use smolvm_host::deadline::Deadline;
use smolvm_protocol::request::Destination;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

/// The permission bits that a sent file takes over.
const KEPT_MODE: u32 = 0o777;
/// So much of a file is read to see whether it is as long as it says; files that are not are short.
const PROBE_BYTES: usize = 64 * 1024;

pub(crate) fn put(arguments: &PutArguments, cancel: &Cancel) -> Result<u8, Failure> {
    if arguments.remote.is_empty() {
        return Err(Failure::usage("the path in the guest is empty"));
    }
    let channel = channel_to(&arguments.target, cancel)?;
    let mut source = Source::open(&arguments.local, cancel).map_err(|error| {
        if cancel.is_cancelled() {
            return Failure::cancelled();
        }
        Failure::local(error)
    })?;
    let destination = Destination {
        path: arguments.remote.as_bytes().to_vec(),
        name: source.name.take(),
        mode: arguments.mode.or(source.mode),
    };
    let deadline = Deadline::after_optional(arguments.timeout.map(duration));
    channel
        .put_file(&mut source.file, source.size, destination, deadline)
        .map_err(|error| Failure::channel(&arguments.target, error))?;
    Ok(0)
}

/// A file of known size.
struct Source {
    file: File,
    size: u64,
    name: Option<Vec<u8>>,
    mode: Option<u32>,
}

impl Source {
    fn open(path: &Path, cancel: &Cancel) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            let file = spool(&io::stdin().as_fd().try_clone_to_owned()?.into(), cancel)
                .context("cannot keep standard input in a temporary file")?;
            let size = file.metadata()?.len();
            return Ok(Self {
                file,
                size,
                name: None,
                mode: None,
            });
        }
        let open = || -> anyhow::Result<Self> {
            let mut file = open_at_once(path)?;
            let metadata = file.metadata()?;
            anyhow::ensure!(!metadata.is_dir(), "is a directory");
            if !metadata.is_file() || !knows_its_size(&file, metadata.len())? {
                file = spool(&file, cancel)?;
            }
            Ok(Self {
                size: file.metadata()?.len(),
                file,
                name: path.file_name().map(|name| name.as_bytes().to_vec()),
                mode: Some(metadata.permissions().mode() & KEPT_MODE),
            })
        };
        open().with_context(|| format!("cannot send {}", path.display()))
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

/// A copy that has no name, so that nothing of it stays: the protocol wants the size first.
fn spool(source: &File, cancel: &Cancel) -> anyhow::Result<File> {
    let mut copy = tempfile::tempfile()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut fds = [
            PollFd::new(source, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        anyhow::ensure!(fds[1].revents().is_empty(), "interrupted");
        match (&mut &*source).read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => copy.write_all(&buffer[..count])?,
            // Somebody else was faster to read from the pipe.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    copy.rewind()?;
    Ok(copy)
}
