//! `put_tree`: entries become files, directories and links below a root.
//!
//! Each directory under way is held open, and each entry goes by its own name into its parent: no
//! path is looked up below the root, and so nothing that is swapped there leads out of it. The order
//! of entries has it that these directories are the parts of one path. A file is there whole or not
//! at all; whatever ends the tree early leaves what was complete by then.

use super::put_file::{PAYLOAD_BETWEEN_BYTES, absolute, inside};
use super::tree::{self, Failure, Tally, refused};
use crate::connection::{Arrived, Connection, ConnectionError, Patience};
use crate::path::last_component;
use crate::permits::Permit;
use crate::server::Agent;
use crate::staged_file::{StagedFile, replace_by_link};
use crate::sys::{directory, file};
use smolvm_protocol::frame::{FrameHeader, FrameType};
use smolvm_protocol::request::PutTreeRequest;
use smolvm_protocol::response::Refusal;
use smolvm_protocol::tree::{Entry, Kind, MAX_PATH_BYTES, Order, check_length};
use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    request: PutTreeRequest,
    turn: Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let _permit = agent.served.acquire(connection)?;
    let begun = Receiver::begin(request);
    drop(turn);
    let ended = begun
        .map_err(Failure::Refused)
        .and_then(|receiver| receiver.receive(connection));
    tree::answer(connection, "put_tree", ended)
}

/// A directory whose content is under way.
struct Level {
    directory: File,
    /// What it gets once its content is complete: until then it must take entries.
    mode: Option<u32>,
    /// How much of the deepest path is its own.
    path_bytes: usize,
}

/// A file whose content is under way.
struct Incoming {
    file: StagedFile,
    mode: Option<u32>,
}

struct Receiver {
    /// The root's absolute path, for sentences.
    root: Vec<u8>,
    /// Where the root goes, and its name there. Without one a directory's content goes there, and
    /// anything else is refused.
    parent: OwnedFd,
    name: Result<CString, Refusal>,
    order: Order,
    levels: Vec<Level>,
    /// The path of the last directory that came, relative to the root.
    deepest: Vec<u8>,
    /// The path of the last entry, relative to the root.
    path: Vec<u8>,
    incoming: Option<Incoming>,
    tally: Tally,
}

impl Receiver {
    fn begin(PutTreeRequest { path, name }: PutTreeRequest) -> Result<Self, Refusal> {
        let open = |path: &[u8]| file::open_directory(&CString::new(path)?);
        let given = name.unwrap_or_default();
        let mut root = absolute(&path)?;
        let (parent, name) = if let Ok(directory) = open(&root) {
            match inside(root.clone(), &given, &path) {
                Err(refusal) if last_component(&given).is_empty() => (directory, Err(refusal)),
                target => {
                    root = target?;
                    (directory, Ok(name_of(&root)?))
                }
            }
        } else {
            let name = name_of(&root)?;
            let parent = open(&root[..root.len() - name.as_bytes().len()]);
            (
                parent.map_err(|error| not_created(&error, &root))?,
                Ok(name),
            )
        };
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

    fn receive(mut self, connection: &mut Connection<'_>) -> Result<Tally, Failure> {
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
                }
                Ok(Arrived::Payload(range)) => {
                    let bytes = connection.bytes(range);
                    match (frame_type, &mut self.incoming) {
                        (FrameType::JSON, _) => entry.extend_from_slice(bytes),
                        (FrameType::DATA, Some(incoming)) => {
                            incoming
                                .file
                                .write(bytes)
                                .map_err(|error| self.refused("", &error))?;
                        }
                        _ => {}
                    }
                }
                Ok(Arrived::End) => match (frame_type, self.incoming.take()) {
                    (FrameType::JSON, _) => {
                        self.take(Entry::parse(&entry).map_err(Refusal::from)?)?;
                        entry.clear();
                    }
                    (FrameType::EOF, Some(Incoming { file, mode })) => {
                        file.commit(mode)
                            .map_err(|error| self.refused("cannot create file: ", &error))?;
                    }
                    (FrameType::EOF, None) => {
                        self.complete(0)?;
                        return Ok(self.tally);
                    }
                    (_, incoming) => self.incoming = incoming,
                },
                Err(ConnectionError::Frame(error)) => {
                    return Err(Refusal::new(format!("bad upload: {error}")).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a frame can come here.
    fn check(&self, header: FrameHeader) -> Result<(), Refusal> {
        match (header.frame_type, &self.incoming) {
            (FrameType::DATA | FrameType::EOF, Some(_)) => Ok(()),
            (FrameType::JSON, None) => Ok(check_length(header.payload_bytes as usize)?),
            (FrameType::EOF, None) if self.order.has_begun() => Ok(()),
            (other, incoming) => Err(Refusal::new(format!(
                "unexpected frame type {other} {}",
                match incoming {
                    Some(_) => "within a file",
                    None => "where an entry must come",
                }
            ))),
        }
    }

    /// Makes what an entry says, or begins to.
    fn take(&mut self, entry: Entry) -> Result<(), Refusal> {
        let depth = self.order.admit(&entry)?;
        self.complete(depth)?;
        let name = match depth {
            0 => self.name.clone(),
            _ => CString::new(entry.name()).map_err(|error| Refusal::new(error.to_string())),
        };
        let parent = match self.levels.last() {
            Some(level) => level.directory.try_clone().map(OwnedFd::from),
            None => self.parent.try_clone(),
        };
        self.path = if depth == 0 { Vec::new() } else { entry.path };
        let parent = parent.map_err(|error| self.refused("", &error))?;
        match (entry.kind, name) {
            (Kind::Other(_), _) => {
                self.tally.skip(&self.path);
                return Ok(());
            }
            (Kind::Directory { .. }, Err(_)) => self.enter(parent, None),
            (_, Err(refusal)) => return Err(refusal),
            (Kind::Directory { mode }, Ok(name)) => {
                let (directory, is_new) = make(&parent, &name)
                    .map_err(|error| self.refused("cannot create directory: ", &error))?;
                self.enter(directory, mode.filter(|_| is_new));
            }
            (Kind::File { mode, .. }, Ok(name)) => {
                let file = StagedFile::create_within(parent, name)
                    .map_err(|error| self.refused("cannot create file: ", &error))?;
                self.incoming = Some(Incoming { file, mode });
            }
            (Kind::Symlink { target }, Ok(name)) => CString::new(target)
                .map_err(io::Error::from)
                .and_then(|target| replace_by_link(&parent, &name, &target))
                .map_err(|error| self.refused("cannot create link: ", &error))?,
        }
        self.tally.entries += 1;
        Ok(())
    }

    fn enter(&mut self, directory: OwnedFd, mode: Option<u32>) {
        self.deepest.clone_from(&self.path);
        self.levels.push(Level {
            directory: File::from(directory),
            mode,
            path_bytes: self.path.len(),
        });
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
                        refused(&error, &self.root, &self.deepest[..level.path_bytes])
                    })?;
            }
        }
        Ok(())
    }

    /// The refusal for an error about the last entry.
    fn refused(&self, what: &str, error: &io::Error) -> Refusal {
        let about = refused(error, &self.root, &self.path);
        Refusal::new([what, about.sentence()].concat())
    }
}

/// The name of `root` in its directory.
fn name_of(root: &[u8]) -> Result<CString, Refusal> {
    if root.len() > MAX_PATH_BYTES {
        let error = io::Error::from_raw_os_error(libc::ENAMETOOLONG);
        return Err(not_created(&error, root));
    }
    CString::new(last_component(root)).map_err(|error| not_created(&error.into(), root))
}

fn not_created(error: &io::Error, root: &[u8]) -> Refusal {
    let about = refused(error, root, b"");
    Refusal::new(["cannot create tree: ", about.sentence()].concat())
}

/// A directory called `name`, and whether it is new. One that was there need only be passed through.
fn make(parent: &OwnedFd, name: &CString) -> io::Result<(OwnedFd, bool)> {
    let (access, is_new) = match directory::make_within(parent, name) {
        Ok(()) => (libc::O_RDONLY, true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (libc::O_PATH, false),
        Err(error) => return Err(error),
    };
    let directory = directory::open_within(parent, name, access | libc::O_DIRECTORY)?;
    Ok((directory, is_new))
}
