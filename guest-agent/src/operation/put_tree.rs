//! `put_tree`: entries become files, directories and links below a root.
//!
//! Each directory under way is held open, and each entry goes by its own name into its parent: no
//! path is looked up below the root, and so nothing that is swapped there leads out of it. The order
//! of entries has it that these directories are the parts of one path. A file is there whole or not
//! at all; whatever ends the tree early leaves what was complete by then.

use super::put_file::{PAYLOAD_BETWEEN_BYTES, absolute, inside};
use super::tree::{self, Failure, Tally, refused};
use crate::connection::{Arrived, Connection, ConnectionError, Patience};
use crate::os_error;
use crate::path::last_component;
use crate::permits::Permit;
use crate::staged_file::{StagedFile, replace_by_link};
use crate::sys::directory::{self, Name};
use crate::sys::file;
use smolvm_protocol::frame::{FrameHeader, FrameType};
use smolvm_protocol::request::PutTreeRequest;
use smolvm_protocol::response::Refusal;
use smolvm_protocol::tree::{Entry, Kind, MAX_PATH_BYTES, Order, check_length};
use std::ffi::{CStr, CString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn serve(
    connection: &mut Connection<'_>,
    request: PutTreeRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let begun = Receiver::begin(&request.path, &request.name.unwrap_or_default());
    drop(request.path);
    *turn = None;
    // A file under way is gone before the host hears of it.
    let (ended, tally) = match begun {
        Ok(mut receiver) => (receiver.receive(connection), receiver.tally),
        Err(refusal) => (Err(Failure::Refused(refusal)), Tally::default()),
    };
    tree::answer(connection, "put_tree", ended, &tally)
}

/// A directory whose content is under way.
struct Level {
    directory: File,
    /// What it gets once its content is complete: until then it must take entries.
    mode: Option<u32>,
    /// How much of the deepest path is its own.
    path_bytes: usize,
}

struct Receiver {
    /// What the root is called in sentences.
    root: Vec<u8>,
    /// Where the root goes, and its name there. Without one a directory's content goes there, and
    /// anything else is refused.
    parent: File,
    name: Option<Name>,
    order: Order,
    levels: Vec<Level>,
    /// The path of the last directory that came, relative to the root.
    deepest: Vec<u8>,
    /// The path of the last entry, relative to the root.
    path: Vec<u8>,
    /// A file whose content is under way, and its mode.
    incoming: Option<(StagedFile, Option<u32>)>,
    tally: Tally,
}

impl Receiver {
    fn begin(path: &[u8], name: &[u8]) -> Result<Self, Refusal> {
        let mut root = absolute(path)?;
        let mut within = open(&root);
        let mut own_name = !last_component(name).is_empty();
        match &within {
            Ok(_) if own_name => root = inside(root, name, path)?,
            Err(error) if os_error::is_of_path(error) => {
                own_name = true;
                within = open(&root[..root.len() - last_component(&root).len()]);
            }
            // Where nobody could look, nothing goes anywhere.
            _ => {}
        }
        let named = match own_name {
            true => Name::new(last_component(&root)).map(Some),
            false => Ok(None),
        };
        let (parent, name) = within
            .and_then(|parent| Ok((File::from(parent), named?)))
            .map_err(|error| refused("cannot create tree: ", error, &root, b""))?;
        if name.is_none() && path.len() <= MAX_PATH_BYTES {
            root = path.to_vec();
        }
        Ok(Self {
            root,
            parent,
            name,
            order: Order::new(),
            levels: Vec::new(),
            deepest: Vec::new(),
            path: Vec::new(),
            incoming: None,
            tally: Tally::default(),
        })
    }

    /// Takes frames up to the tree's end.
    fn receive(&mut self, connection: &mut Connection<'_>) -> Result<(), Failure> {
        let patience = Patience {
            between_bytes: PAYLOAD_BETWEEN_BYTES,
            until: None,
        };
        connection.expect_bulk();
        let mut frame_type = FrameType::EOF;
        let mut entry = Vec::new();
        loop {
            match connection.next_event(&patience) {
                Ok(Arrived::Header(header)) => {
                    self.check(header)?;
                    frame_type = header.frame_type;
                    entry.clear();
                }
                Ok(Arrived::Payload(range)) => {
                    let bytes = connection.bytes(range);
                    match (frame_type, &mut self.incoming) {
                        (FrameType::JSON, _) => entry.extend_from_slice(bytes),
                        (FrameType::DATA, Some((file, _))) => {
                            let written = file.write(bytes);
                            written.map_err(|error| self.refused("", error))?;
                        }
                        _ => {}
                    }
                }
                Ok(Arrived::End) => {
                    if frame_type == FrameType::JSON {
                        self.take(&entry)?;
                    } else if frame_type == FrameType::EOF && self.end()? {
                        return Ok(());
                    }
                }
                Err(ConnectionError::Frame(error)) => {
                    return Err(Failure::Refused(Refusal::new(format!(
                        "bad upload: {error}"
                    ))));
                }
                Err(error) => return Err(Failure::Connection(error)),
            }
        }
    }

    /// Whether a frame can come here.
    fn check(&self, header: FrameHeader) -> Result<(), Refusal> {
        let place = match (header.frame_type, self.incoming.is_some()) {
            (FrameType::EOF, _) if header.payload_bytes > 0 => "with a payload",
            (FrameType::DATA | FrameType::EOF, true) => return Ok(()),
            (FrameType::JSON, false) => return Ok(check_length(header.payload_bytes as usize)?),
            (FrameType::EOF, false) if self.order.has_begun() => return Ok(()),
            (_, true) => "within a file",
            (_, false) => "where an entry must come",
        };
        Err(Refusal::new(format!(
            "unexpected frame type {} {place}",
            header.frame_type
        )))
    }

    /// Ends the file under way; where there is none, the tree, which it tells.
    fn end(&mut self) -> Result<bool, Refusal> {
        let Some((file, mode)) = self.incoming.take() else {
            self.complete(0)?;
            return Ok(true);
        };
        file.commit(mode, false)
            .map_err(|error| self.refused("cannot create file: ", error))?;
        Ok(false)
    }

    /// Makes what an entry says, or begins to.
    fn take(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let entry = Entry::parse(payload)?;
        let depth = self.order.admit(&entry)?;
        self.complete(depth)?;
        if matches!(entry.kind, Kind::Other(_)) {
            self.tally.skip(&entry.path);
            return Ok(());
        }
        self.path.clear();
        let mut name = self.name;
        if depth > 0 {
            self.path.extend_from_slice(&entry.path);
            let own = Name::new(entry.name());
            name = Some(own.map_err(|error| self.refused("", error))?);
        }
        let (what, made) = match (&entry.kind, name) {
            (Kind::Directory { mode }, name) => {
                ("cannot create directory: ", self.enter(name, *mode))
            }
            // The root without a name, and so the sentence for that.
            (_, None) | (Kind::Other(_), _) => {
                return inside(Vec::new(), b"", &self.root).map(drop);
            }
            (Kind::File { mode, .. }, Some(name)) => {
                ("cannot create file: ", self.begin_file(name, *mode))
            }
            (Kind::Symlink { target }, Some(name)) => {
                ("cannot create link: ", self.link(&name, target))
            }
        };
        self.tally.entries += 1;
        made.map_err(|error| self.refused(what, error))
    }

    /// The directory that the entry goes into.
    fn directory(&self) -> BorrowedFd<'_> {
        self.levels
            .last()
            .map_or(&self.parent, |level| &level.directory)
            .as_fd()
    }

    /// Makes a directory, or passes into one that is there; without a name, into the root's.
    fn enter(&mut self, name: Option<Name>, mode: Option<u32>) -> io::Result<()> {
        let parent = self.directory();
        let (directory, is_new) = match name {
            None => (parent.try_clone_to_owned()?, false),
            Some(name) => make(parent, name.as_c_str())?,
        };
        self.deepest.clone_from(&self.path);
        self.levels.push(Level {
            directory: File::from(directory),
            mode: mode.filter(|_| is_new),
            path_bytes: self.path.len(),
        });
        Ok(())
    }

    fn begin_file(&mut self, name: Name, mode: Option<u32>) -> io::Result<()> {
        let file = StagedFile::create_within(self.directory().try_clone_to_owned()?, name, false)?;
        self.incoming = Some((file, mode));
        Ok(())
    }

    fn link(&self, name: &Name, target: &[u8]) -> io::Result<()> {
        replace_by_link(self.directory(), name, &CString::new(target)?)
    }

    /// Gives all directories but the first `kept` their modes, the deepest first.
    fn complete(&mut self, kept: usize) -> Result<(), Refusal> {
        while self.levels.len() > kept {
            let Some(level) = self.levels.pop() else {
                break;
            };
            if let Some(mode) = level.mode {
                level
                    .directory
                    .set_permissions(Permissions::from_mode(mode))
                    .map_err(|error| {
                        refused("", error, &self.root, &self.deepest[..level.path_bytes])
                    })?;
            }
        }
        Ok(())
    }

    /// The refusal for an error about the last entry.
    fn refused(&self, what: &str, error: io::Error) -> Refusal {
        refused(what, error, &self.root, &self.path)
    }
}

fn open(path: &[u8]) -> io::Result<OwnedFd> {
    file::open_directory(&CString::new(path)?)
}

/// A directory called `name`, and whether it is new. One that was there need only be passed through.
fn make(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<(OwnedFd, bool)> {
    let (access, is_new) = match directory::make_within(parent, name) {
        Ok(()) => (libc::O_RDONLY, true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (libc::O_PATH, false),
        Err(error) => return Err(error),
    };
    let directory = directory::open_within(parent, name, access | libc::O_DIRECTORY)?;
    Ok((directory, is_new))
}
