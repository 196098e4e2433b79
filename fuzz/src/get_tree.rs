//! A tree out of the guest, whose agent is not trusted: nothing is written outside of its root, no temporary name stays,
//! and what is reported is there.
//!
//! A script (`script.rs`), whose flags choose where the root goes.

use crate::scratch::{Node, Nodes, Scratch, TEMPORARY, nodes};
use crate::script::{self, frames_of};
use crate::socket::say;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::fuzzing::get_tree;
use smolvm_host::channel::{ChannelError, Copied};
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{GetTreeRequest, Request};
use smolvm_protocol::tree::{Entry, Kind, TreeFrame};
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
    if let Ok(copied) = copied {
        let sent = expected(&stream, false).expect("it was taken for a whole tree");
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
}

/// Reads a whole tree, which an EOF frame ends where a host sends it, and otherwise an answer.
pub(crate) fn expected(stream: &[u8], is_of_host: bool) -> Option<Sent> {
    let mut sent = Sent {
        entries: 0,
        nodes: Nodes::new(),
    };
    let mut frames = frames_of(stream).0.into_iter();
    while let Some(frame) = frames.next() {
        if FrameType(frame.frame_type) == FrameType::EOF && is_of_host {
            return Some(sent);
        }
        let entry = match is_of_host {
            true => Entry::parse(&frame.payload).ok()?,
            false => match TreeFrame::parse(&frame.payload).ok()? {
                TreeFrame::Entry(entry) => entry,
                TreeFrame::Answer(answer) => return answer.ok.then_some(sent),
            },
        };
        let node = match entry.kind {
            Kind::Directory { .. } => Node::Directory,
            Kind::Symlink { target } => Node::Link(PathBuf::from(OsStr::from_bytes(&target))),
            Kind::File { .. } => {
                let mut content = Vec::new();
                loop {
                    let next = frames.next().filter(|frame| frame.is_whole)?;
                    match FrameType(next.frame_type) {
                        FrameType::DATA => content.extend(next.payload),
                        FrameType::EOF => break,
                        _ => return None,
                    }
                }
                Node::File(content)
            }
            Kind::Other(_) => continue,
        };
        sent.entries += 1;
        let path = match entry.path.as_slice() {
            b"." => PathBuf::new(),
            path => PathBuf::from(OsStr::from_bytes(path)),
        };
        sent.nodes.insert(path, node);
    }
    None
}
