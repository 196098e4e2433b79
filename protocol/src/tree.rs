//! A tree of files as a stream of entries, for `put_tree` and `get_tree`.
//!
//! Owns what an entry may say, which paths it may have and in which order entries come
//! (`docs/protocol.md`, "Trees"): each end distrusts the other's paths by the same rules. Refuses to
//! look at files. A path that [`Order::admit`] has admitted stays below the tree's root as long as
//! no link is followed on the way to it.

use crate::answer::{Answer, AnswerError};
use crate::frame::MAX_CHUNK_BYTES;
use crate::json::{self, Json, present};
use crate::python_scalar::quoted;
use crate::request::parse::{mode, required_bytes};
use crate::response::Refusal;
use crate::text::{json_string_of, shown};
use std::fmt::{self, Write as _};

/// The longest payload of an entry's frame, inclusive.
pub const MAX_ENTRY_BYTES: usize = MAX_CHUNK_BYTES;

/// The longest path of an entry, and the longest target of a link.
pub const MAX_PATH_BYTES: usize = 4095;

/// The most components that an entry's path has.
pub const MAX_DEPTH: usize = 64;

/// How many of the paths that were left out an answer names.
pub const MAX_SKIPPED_SHOWN: usize = 16;

/// The path of a tree's first entry.
pub const ROOT: &[u8] = b".";

/// One file, directory or link of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// [`ROOT`], or a path relative to it that [`check_path`] accepts.
    pub path: Vec<u8>,
    /// What stands there.
    pub kind: Kind,
}

/// What an entry is. Modes are permission bits, 0o7777 at most; a receiver that is told none gives
/// directories 0700 and files 0600.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its content follows as entries.
    Directory {
        /// Permission bits, for when the content is complete.
        mode: Option<u32>,
    },
    /// Its content follows as DATA frames and one EOF frame.
    File {
        /// Permission bits.
        mode: Option<u32>,
        /// A hint at the size in bytes: the content may be longer or shorter.
        size: Option<u64>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads, wherever that is: never empty, no NUL, at most [`MAX_PATH_BYTES`].
        target: Vec<u8>,
    },
    /// A kind that this version does not know, by its name; nothing of its own follows.
    Other(String),
}

/// What is wrong with a stream of entries: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError(Refusal);

impl fmt::Display for EntryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for EntryError {}

impl From<EntryError> for Refusal {
    fn from(error: EntryError) -> Self {
        error.0
    }
}

impl Entry {
    /// Parses the payload of an entry's frame.
    ///
    /// # Errors
    /// [`EntryError`] where it is longer than [`MAX_ENTRY_BYTES`], no JSON object with the members
    /// of its kind, or its path is none that [`check_path`] accepts.
    pub fn parse(payload: &[u8]) -> Result<Self, EntryError> {
        check_length(payload.len())?;
        let names = "path kind mode size target";
        let [path, kind, mode, size, target] = std::str::from_utf8(payload)
            .map_err(|error| bad(&error))
            .and_then(|json| json::members(json, names).map_err(|error| bad(&error)))?;
        let path = string("path", path)?;
        check_path(&path)?;
        let kind = string("kind", kind)?;
        let permissions = || present(mode).map(self::mode_of).transpose();
        let kind = match kind.as_slice() {
            b"directory" => Kind::Directory {
                mode: permissions()?,
            },
            b"file" => Kind::File {
                mode: permissions()?,
                size: present(size).and_then(|size| json::whole_number(size)),
            },
            b"symlink" => {
                let target = string("target", target)?;
                if let Some(reason) = fault_of_length(&target) {
                    return Err(fault("the target of the link at", &path, reason));
                }
                Kind::Symlink { target }
            }
            other => Kind::Other(shown(other)),
        };
        Ok(Self { path, kind })
    }

    /// The payload of the entry's frame, spaced as answers are.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (kind, mode, size) = match &self.kind {
            Kind::Directory { mode } => ("directory", *mode, None),
            Kind::File { mode, size } => ("file", *mode, *size),
            Kind::Symlink { .. } => ("symlink", None, None),
            Kind::Other(kind) => (kind.as_str(), None, None),
        };
        let (path, kind) = (json_string_of(&self.path), json_string_of(kind.as_bytes()));
        let mut json = format!("{{\"path\": {path}, \"kind\": {kind}");
        for (name, number) in [("mode", mode.map(u64::from)), ("size", size)] {
            if let Some(number) = number {
                let _ = write!(json, ", \"{name}\": {number}");
            }
        }
        if let Kind::Symlink { target } = &self.kind {
            let _ = write!(json, ", \"target\": {}", json_string_of(target));
        }
        json.push('}');
        json
    }

    /// The last component of the path: the entry's name within its directory; [`ROOT`] for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.path
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// How many components the path has: 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        depth(&self.path)
    }
}

/// Whether an entry's frame may have a payload of `bytes`: for a reader before it collects it.
///
/// # Errors
/// [`EntryError`] where that is over [`MAX_ENTRY_BYTES`].
pub fn check_length(bytes: usize) -> Result<(), EntryError> {
    if bytes > MAX_ENTRY_BYTES {
        return Err(EntryError(Refusal::new(format!(
            "bad entry: its frame of {bytes} bytes is longer than the limit of {MAX_ENTRY_BYTES}"
        ))));
    }
    Ok(())
}

/// Whether `path` may be an entry's: [`ROOT`], or a relative path of at most [`MAX_PATH_BYTES`] bytes
/// and [`MAX_DEPTH`] components, none of which is empty, `.` or `..`, and without NUL.
///
/// # Errors
/// [`EntryError`] with a sentence that shows the path.
pub fn check_path(path: &[u8]) -> Result<(), EntryError> {
    if path == ROOT {
        return Ok(());
    }
    let reason = fault_of_length(path).or_else(|| {
        let mut components = path.split(|byte| *byte == b'/');
        if path.starts_with(b"/") {
            Some("is not relative to the tree's root")
        } else if components.any(|component| matches!(component, b"" | b"." | b"..")) {
            Some("has a component that is empty, '.' or '..'")
        } else if depth(path) > MAX_DEPTH {
            Some("is more than 64 levels deep")
        } else {
            None
        }
    });
    reason.map_or(Ok(()), |reason| Err(fault("the path", path, reason)))
}

/// What no path may be, a link's target neither.
fn fault_of_length(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.len() > MAX_PATH_BYTES {
        Some("is longer than 4095 bytes")
    } else if path.contains(&0) {
        Some("has a NUL byte")
    } else {
        None
    }
}

fn depth(path: &[u8]) -> usize {
    if path == ROOT {
        return 0;
    }
    1 + path.iter().filter(|byte| **byte == b'/').count()
}

fn fault(what: &str, path: &[u8], reason: &str) -> EntryError {
    let path = quoted(&shown(path));
    EntryError(Refusal::new([what, " ", &path, " ", reason].concat()))
}

fn bad(reason: &dyn fmt::Display) -> EntryError {
    EntryError(Refusal::new(format!("bad entry: {reason}")))
}

/// A member that every entry of its kind has.
fn string(name: &str, value: Option<Json<'_>>) -> Result<Vec<u8>, EntryError> {
    match present(value) {
        Some(value) => required_bytes(name, value).map_err(|refusal| bad(&refusal)),
        None => Err(bad(&format_args!("missing '{name}'"))),
    }
}

fn mode_of(value: Json<'_>) -> Result<u32, EntryError> {
    mode(value).map_err(|refusal| bad(&refusal))
}

/// The order of a tree's entries: the root first; a directory before its content, and its content
/// before anything else.
#[derive(Clone, Debug, Default)]
pub struct Order {
    begun: bool,
    /// The deepest directory whose content can come, empty for the root; `None` where nothing can.
    directory: Option<Vec<u8>>,
}

impl Order {
    /// The order of a tree of which nothing has come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the root has come: before that, a tree cannot end.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes the next entry and returns its depth, 0 for the root. Where a receiver keeps a stack of
    /// the directories that are under way, this is how many of them stay: the last of these is the
    /// entry's parent, and the content of all further ones is complete.
    ///
    /// # Errors
    /// [`EntryError`] where its path is bad, or the entry cannot come here.
    pub fn admit(&mut self, entry: &Entry) -> Result<usize, EntryError> {
        check_path(&entry.path)?;
        let misplaced = |reason| Err(fault("the path", &entry.path, reason));
        let depth = entry.depth();
        if !self.begun {
            if depth > 0 {
                return misplaced("is the first, which must be '.'");
            }
            if matches!(entry.kind, Kind::Other(_)) {
                return misplaced("is the root, which must be a directory, a file or a symlink");
            }
        } else if depth == 0 {
            return misplaced("came already");
        }
        let parent = &entry.path[..entry.path.len() - entry.name().len()];
        let parent = parent.strip_suffix(b"/").unwrap_or(parent);
        if self.begun && !self.is_open(parent) {
            return misplaced("is not in a directory that has come and is not complete");
        }
        self.begun = true;
        self.directory = match entry.kind {
            Kind::Directory { .. } if depth == 0 => Some(Vec::new()),
            Kind::Directory { .. } => Some(entry.path.clone()),
            _ if depth == 0 => None,
            _ => Some(parent.to_vec()),
        };
        Ok(depth)
    }

    /// Whether `directory` is the deepest one that is under way, or above it.
    fn is_open(&self, directory: &[u8]) -> bool {
        let Some(deepest) = &self.directory else {
            return false;
        };
        directory.is_empty()
            || deepest
                .strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// A control frame within `get_tree`, as a host reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum TreeFrame {
    /// The next entry.
    Entry(Entry),
    /// The last frame of all, which can come at any point.
    Answer(Box<Answer>),
}

/// Why a control frame is none of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeFrameError {
    /// It has `ok`, and is no answer nevertheless.
    Answer(AnswerError),
    /// It is no entry either.
    Entry(EntryError),
}

impl fmt::Display for TreeFrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(error) => error.fmt(formatter),
            Self::Entry(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for TreeFrameError {}

impl TreeFrame {
    /// Parses the payload of a JSON frame: an object with `ok` is an answer, another an entry.
    ///
    /// # Errors
    /// [`TreeFrameError`] where it is neither.
    pub fn parse(payload: &[u8]) -> Result<Self, TreeFrameError> {
        let is_answer = std::str::from_utf8(payload)
            .ok()
            .and_then(|json| json::members(json, "ok").ok())
            .is_some_and(|[ok]| ok.is_some());
        if is_answer {
            let answer = Answer::parse(payload).map_err(TreeFrameError::Answer)?;
            return Ok(Self::Answer(Box::new(answer)));
        }
        Entry::parse(payload)
            .map(Self::Entry)
            .map_err(TreeFrameError::Entry)
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
