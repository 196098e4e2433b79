//! A tree out of the guest, whose agent is not trusted: nothing is written outside of its root, no temporary name stays,
//! what is reported is there, and where nothing stands a plain tree is taken.
//!
//! A script (`script.rs`), whose flags choose where the root goes.

use crate::scratch::{Node, Nodes, Scratch, TEMPORARY, nodes};
use crate::script::{self, Frame, frames_of};
use crate::socket::say;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::fuzzing::get_tree;
use smolvm_host::channel::{ChannelError, Copied};
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{GetTreeRequest, Request};
use smolvm_protocol::tree::{Entry, Kind, Order, TreeFrame};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where the root goes, as the caller says it, and where that is.
const PLACES: [(&str, Option<&str>, &str); 8] = [
    ("root", None, ""),
    ("root", Some("x/new"), "new"),
    ("root/new", None, "new"),
    ("root/dir", None, "dir"),
    ("root/dir", Some("new"), "dir/new"),
    ("root", Some("link"), "link"),
    ("root/file", None, "file"),
    ("root/new/", None, "new"),
];

/// Where nothing stands.
pub(crate) const NEW_PLACE: u8 = 2;

/// A name and the target of a link that every file system takes which tests run on.
const MAX_NAME_BYTES: usize = 255;
const MAX_TARGET_BYTES: usize = 1023;

/// Checks what a tree leaves.
pub fn check(bytes: &[u8]) {
    let Some((flags, stream)) = script::read(bytes) else {
        return;
    };
    // Such a name may come from the agent.
    let text = String::from_utf8_lossy(&stream);
    if TEMPORARY.iter().any(|prefix| text.contains(prefix)) {
        return;
    }
    let (path, name, place) = PLACES[usize::from(flags & 7)];
    let scratch = Scratch::new();
    let copied = fetch(&stream, &scratch.path().join(path), name.map(OsStr::new));
    scratch.check(&[]);
    let sent = expected(&stream, false);
    if flags & 7 == NEW_PLACE && sent.as_ref().is_some_and(Sent::is_due) {
        assert!(copied.is_ok(), "a plain tree is refused: {copied:?}");
    }
    if let Ok(copied) = copied {
        let sent = sent.expect("it was taken for a whole tree");
        assert_eq!(copied.entries, sent.entries);
        let found = nodes(&scratch.root());
        for (path, node) in sent.nodes {
            let path = match path.as_os_str().is_empty() {
                true => Path::new(place).to_owned(),
                false => Path::new(place).join(path),
            };
            if !path.as_os_str().is_empty() {
                assert_eq!(found.get(&path), Some(&node), "{}", path.display());
            }
        }
    }
}

/// Writes the tree that an agent sends to `local`.
pub(crate) fn fetch(
    stream: &[u8],
    local: &Path,
    name: Option<&OsStr>,
) -> Result<Copied, ChannelError> {
    let request = Request::GetTree(GetTreeRequest {
        path: b"/".to_vec(),
    });
    let cancel = Cancel::new().expect("there are descriptors left");
    let (agent, host) = UnixStream::pair().expect("there are descriptors left");
    get_tree(host.into(), &request, local, name, &cancel, &mut || {
        say(&agent, stream);
    })
}

/// What a tree's frames say.
pub(crate) struct Sent {
    pub(crate) entries: u64,
    pub(crate) nodes: Nodes,
    /// How many entries its end says there were, where that says so.
    told: Option<u64>,
    /// Whether there is nothing about it that anybody could refuse.
    is_plain: bool,
}

impl Sent {
    /// Whether who gets it has no reason not to take it.
    pub(crate) fn is_due(&self) -> bool {
        let is_counted = self.told.is_none_or(|told| told == self.entries);
        self.is_plain && is_counted && self.entries > 0
    }

    fn note(&mut self, order: &mut Order, entry: &Entry, frame: &Frame) {
        let is_frame = frame.is_whole && FrameType(frame.frame_type) == FrameType::JSON;
        let is_named = entry.name().len() <= MAX_NAME_BYTES;
        let is_new = !self.nodes.contains_key(&path_of(entry));
        let is_made = match &entry.kind {
            Kind::Symlink { target } => (1..=MAX_TARGET_BYTES).contains(&target.len()),
            Kind::Directory { .. } | Kind::File { .. } => true,
            Kind::Other(_) => false,
        };
        self.is_plain &= is_frame && is_named && is_new && is_made && order.admit(entry).is_ok();
    }
}

fn path_of(entry: &Entry) -> PathBuf {
    match entry.path.as_slice() {
        b"." => PathBuf::new(),
        path => PathBuf::from(OsStr::from_bytes(path)),
    }
}

/// Reads a whole tree, which an EOF frame ends where a host sends it, and otherwise an answer.
pub(crate) fn expected(stream: &[u8], is_of_host: bool) -> Option<Sent> {
    let mut sent = Sent {
        entries: 0,
        nodes: Nodes::new(),
        told: None,
        is_plain: true,
    };
    let mut order = Order::new();
    let mut frames = frames_of(stream).0.into_iter();
    while let Some(frame) = frames.next() {
        if FrameType(frame.frame_type) == FrameType::EOF && is_of_host {
            sent.is_plain &= frame.is_whole && frame.payload.is_empty();
            return Some(sent);
        }
        let entry = match is_of_host {
            true => Entry::parse(&frame.payload).ok()?,
            false => match TreeFrame::parse(&frame.payload).ok()? {
                TreeFrame::Entry(entry) => entry,
                TreeFrame::Answer(answer) => {
                    sent.is_plain &= FrameType(frame.frame_type) == FrameType::JSON
                        && frame.is_whole
                        && answer.entries.is_some();
                    sent.told = answer.entries;
                    return answer.ok.then_some(sent);
                }
            },
        };
        sent.note(&mut order, &entry, &frame);
        let path = path_of(&entry);
        let node = match entry.kind {
            Kind::Directory { .. } => Node::Directory,
            Kind::Symlink { target } => Node::Link(PathBuf::from(OsStr::from_bytes(&target))),
            Kind::File { .. } => {
                let mut content = Vec::new();
                loop {
                    let next = frames.next().filter(|frame| frame.is_whole)?;
                    match FrameType(next.frame_type) {
                        FrameType::DATA => content.extend(next.payload),
                        FrameType::EOF => {
                            sent.is_plain &= next.payload.is_empty();
                            break;
                        }
                        _ => return None,
                    }
                }
                Node::File(content)
            }
            Kind::Other(_) => continue,
        };
        sent.entries += 1;
        sent.nodes.insert(path, node);
    }
    None
}
