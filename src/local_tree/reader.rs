//! A tree that is read entry by entry, a directory before what is in it.
//!
//! Owns the walk: names in order, links told as what they are and never followed, devices and the like passed
//! over and remembered. What goes while it is read counts as not there. The tree is this side's own: whoever may change
//! its directories is trusted not to put a link in the place of one while it is read.

use super::writer::{KEPT_DIRECTORY_MODE, KEPT_FILE_MODE};
use rustix::fs::{CWD, Mode, OFlags, openat};
use smolvm_protocol::tree::{Entry, Kind, MAX_SKIPPED_SHOWN, ROOT, check_path};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// What an entry has besides what its frame says.
pub(crate) type Content = Option<File>;

/// Why a tree cannot be read any further.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// What cannot be read.
    pub(crate) path: PathBuf,
    /// Why not.
    pub(crate) source: io::Error,
}

/// A tree as it is read.
pub(crate) struct TreeReader {
    root: PathBuf,
    walk: walkdir::IntoIter,
    skipped: Vec<Vec<u8>>,
}

impl TreeReader {
    /// The tree at `local`. A link at its end is the tree's only entry, unless a slash or `/.` follows.
    pub(crate) fn new(local: &Path) -> Self {
        let walk = WalkDir::new(local)
            .follow_links(false)
            .follow_root_links(false)
            .sort_by_file_name();
        Self {
            root: local.to_owned(),
            walk: walk.into_iter(),
            skipped: Vec::new(),
        }
    }

    /// The next entry, and its content where it is a file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn next(&mut self) -> Result<Option<(Entry, Content)>, ReadError> {
        loop {
            let found = match self.walk.next() {
                None => return Ok(None),
                Some(Ok(found)) => found,
                Some(Err(error)) => {
                    let is_root = error.depth() == 0;
                    let path = error.path().unwrap_or(&self.root).to_owned();
                    // Not by `From`, whose text has the path once more.
                    let source = error
                        .into_io_error()
                        .unwrap_or_else(|| io::Error::other("its links lead in a circle"));
                    if is_gone(&source) && !is_root {
                        continue;
                    }
                    return Err(ReadError { path, source });
                }
            };
            let is_root = found.depth() == 0;
            match look_at(found.path()) {
                Ok(Some((kind, content))) => {
                    let path = self.path_below(found.path());
                    if let Err(error) = check_path(&path) {
                        let path = found.into_path();
                        let source = io::Error::other(error);
                        return Err(ReadError { path, source });
                    }
                    return Ok(Some((Entry { path, kind }, content)));
                }
                Ok(None) if is_root => {
                    let source = io::Error::other("is no file, directory or symbolic link");
                    let path = found.into_path();
                    return Err(ReadError { path, source });
                }
                Ok(None) => self.skip(found.path()),
                Err(source) if is_gone(&source) && !is_root => {}
                Err(source) => {
                    let path = found.into_path();
                    return Err(ReadError { path, source });
                }
            }
        }
    }

    /// The paths of what is no file, directory or link, as far as the walk has come; the first
    /// [`MAX_SKIPPED_SHOWN`].
    pub(crate) fn into_skipped(self) -> Vec<Vec<u8>> {
        self.skipped
    }

    fn skip(&mut self, path: &Path) {
        if self.skipped.len() < MAX_SKIPPED_SHOWN {
            self.skipped.push(self.path_below(path));
        }
    }

    fn path_below(&self, path: &Path) -> Vec<u8> {
        match path.strip_prefix(&self.root) {
            Ok(below) if !below.as_os_str().is_empty() => below.as_os_str().as_bytes().to_vec(),
            _ => ROOT.to_vec(),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// `None` for what is skipped.
fn look_at(path: &Path) -> io::Result<Option<(Kind, Content)>> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        let mode = Some(metadata.permissions().mode() & KEPT_DIRECTORY_MODE);
        return Ok(Some((Kind::Directory { mode }, None)));
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path)?.into_os_string().into_vec();
        return Ok(Some((Kind::Symlink { target }, None)));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    // Another thing may stand there now: neither a link is followed nor a pipe waited for.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mode = Some(metadata.permissions().mode() & KEPT_FILE_MODE);
    let size = Some(metadata.len());
    Ok(Some((Kind::File { mode, size }, Some(file))))
}
