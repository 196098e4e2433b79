//! `smolctl put`.

use crate::arguments::PutArguments;
use crate::failure::Failure;
use crate::ping::duration;
use crate::run::channel_to;
use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use smolvm_host::cancel::Cancel;
use smolvm_host::deadline::Deadline;
use smolvm_protocol::request::Destination;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permission bits that a sent file takes over.
const KEPT_MODE: u32 = 0o777;

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
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            anyhow::ensure!(!metadata.is_dir(), "is a directory");
            // Pipes, and files of /proc, do not know their size.
            if !metadata.is_file() || metadata.len() == 0 {
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
        let count = (&mut &*source).read(&mut buffer)?;
        if count == 0 {
            break;
        }
        copy.write_all(&buffer[..count])?;
    }
    copy.rewind()?;
    Ok(copy)
}
