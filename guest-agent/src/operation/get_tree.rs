//! `get_tree`: an entry for each file, directory and link below a path, files with their content.
//!
//! Nothing below the root is followed, and nothing is opened that was not looked at before. Memory
//! does not grow with the tree: a listing's buffer and a frame's, and for each level a descriptor
//! and the place in it.

use super::get_file::{frame, stream};
use super::tree::{self, Failure, Tally, refused};
use crate::connection::{Connection, ConnectionError};
use crate::permits::Permit;
use crate::sys::directory::{self, Status};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::GetTreeRequest;
use smolvm_protocol::response::Refusal;
use smolvm_protocol::tree::{Entry, Kind, ROOT, check_path};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Names read at a time.
const LISTING_BYTES: usize = 4096;

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: GetTreeRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let mut sender = Sender {
        root: request.path,
        path: Vec::new(),
        levels: Vec::new(),
        listing: Vec::with_capacity(LISTING_BYTES),
        listed: 0,
        frame: frame(connection),
        tally: Tally::default(),
    };
    let root = sender.find_root();
    *turn = None;
    let ended = match root {
        Ok(root) => sender.send_tree(connection, root),
        Err(refusal) => Err(Failure::Refused(refusal)),
    };
    tree::answer(connection, "get_tree", ended, &sender.tally)
}

/// What stands under a name: its kind, and a directory or file opened.
type Found = (Kind, Option<OwnedFd>);

fn find(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Found> {
    // Looked at before it is opened, since opening a device can do something.
    match directory::status_within(directory, name)?.kind {
        libc::S_IFREG | libc::S_IFDIR => {}
        libc::S_IFLNK => {
            let target = directory::target_within(directory, name)?;
            return Ok((Kind::Symlink { target }, None));
        }
        _ => return Ok((Kind::Other(String::new()), None)),
    }
    let opened = directory::open_within(directory, name, libc::O_RDONLY)?;
    // And once more, since another thing may stand there now.
    let Status {
        kind, mode, size, ..
    } = directory::status(opened.as_fd())?;
    let (mode, size) = (Some(mode), Some(size));
    let kind = match kind {
        libc::S_IFDIR => Kind::Directory { mode },
        libc::S_IFREG => Kind::File { mode, size },
        _ => Kind::Other(String::new()),
    };
    Ok((kind, Some(opened)))
}

/// A directory that is under way.
struct Level {
    directory: OwnedFd,
    /// Where its listing goes on, once the content of one of its directories is sent.
    place: i64,
    /// How much of the path is its own.
    path_bytes: usize,
}

struct Sender {
    /// The root, as the request calls it.
    root: Vec<u8>,
    /// The entry under way, relative to the root; empty for the root.
    path: Vec<u8>,
    levels: Vec<Level>,
    /// Names of the last level, and how far they are done.
    listing: Vec<u8>,
    listed: usize,
    frame: Vec<u8>,
    tally: Tally,
}

impl Sender {
    /// Opens the root by the kernel's rules for a path; one that is refused is forgotten, however long.
    fn find_root(&mut self) -> Result<Found, Refusal> {
        let root = std::mem::take(&mut self.root);
        let found = CString::new(root.as_slice())
            .map_err(io::Error::from)
            .and_then(|path| find(directory::working(), &path))
            .map_err(|error| refused("", error, &root, b""))?;
        if matches!(found.0, Kind::Other(_)) {
            return Err(Refusal::new("not a file, directory or symbolic link"));
        }
        self.root = root;
        Ok(found)
    }

    fn send_tree(&mut self, connection: &mut Connection<'_>, root: Found) -> Result<(), Failure> {
        self.send(connection, ROOT.to_vec(), root)?;
        while !self.levels.is_empty() {
            match self.next() {
                Ok(Some(found)) => {
                    check_path(&self.path).map_err(Refusal::from)?;
                    self.send(connection, self.path.clone(), found)?;
                }
                Ok(None) => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        Ok(())
    }

    /// What stands under the last level's next name; nothing where there is none, or it has gone.
    fn next(&mut self) -> io::Result<Option<Found>> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        self.path.truncate(level.path_bytes);
        let directory = level.directory.as_fd();
        let Some((name, place)) = directory::next_name(&self.listing, &mut self.listed) else {
            self.listed = 0;
            match directory::list(directory, &mut self.listing) {
                // It has been removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                listed => listed?,
            }
            if self.listing.is_empty() {
                self.levels.pop();
                if let Some(level) = self.levels.last() {
                    directory::go_on_at(level.directory.as_fd(), level.place)?;
                }
            }
            return Ok(None);
        };
        level.place = place;
        let bytes = name.to_bytes();
        if matches!(bytes, b"." | b"..") {
            return Ok(None);
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(bytes);
        match find(directory, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    fn send(
        &mut self,
        connection: &mut Connection<'_>,
        path: Vec<u8>,
        (kind, opened): Found,
    ) -> Result<(), Failure> {
        if matches!(kind, Kind::Other(_)) {
            self.tally.skip(&path);
            return Ok(());
        }
        let is_directory = matches!(kind, Kind::Directory { .. });
        let entry = Entry { path, kind }.to_json();
        connection.send_all(&encode_frame(FrameType::JSON, entry.as_bytes()), None)?;
        self.tally.entries += 1;
        match opened {
            Some(directory) if is_directory => {
                self.levels.push(Level {
                    directory,
                    place: 0,
                    path_bytes: self.path.len(),
                });
                // The listing was the parent's.
                self.listing.clear();
            }
            Some(file) => {
                stream(connection, file.as_fd(), &mut self.frame, None)?
                    .map_err(|error| self.refused(error))?;
            }
            None => {}
        }
        Ok(())
    }

    /// The failure for an error about the entry under way.
    fn refused(&self, error: io::Error) -> Failure {
        Failure::Refused(refused("", error, &self.root, &self.path))
    }
}
