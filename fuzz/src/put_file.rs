//! An upload: its target becomes the whole new file or stays what it was, and nothing else is left, whatever frames come.
//!
//! A script (`script.rs`) behind one byte for the size; its flags choose the target and what is asked for.

use crate::scratch::{Node, Nodes, Scratch, nodes};
use crate::script::{self, frames_of};
use crate::socket::{answer, said};
use sha2::{Digest as _, Sha256};
use smolvm_guest_agent::fuzzing::serve;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{Destination, ExpectedSum, PutFileRequest, Request};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where it goes, and what it is called there: files, a directory, links, and places that are none.
const TARGETS: [(&str, Option<&str>); 8] = [
    ("root/file", None),
    ("root/new", Some("ignored")),
    ("root/dir", Some("../../outside/name")),
    ("root/dir", None),
    ("root/file-link", None),
    ("root/dangling", None),
    ("root/dir/..//new", None),
    ("root/absent/new", None),
];
/// Where that is, without a file where there is none.
const PLACES: [Option<&str>; 8] = [
    Some("file"),
    Some("new"),
    Some("dir/name"),
    None,
    Some("file-link"),
    Some("dangling"),
    Some("new"),
    None,
];

/// Whether the size is that of the DATA that comes, rather than the one that is said.
const IS_SIZE_RIGHT: u8 = 8;
/// Whether a sum is asked for, and whether it is the right one.
const HAS_SUM: u8 = 16;
const IS_SUM_RIGHT: u8 = 32;
/// Whether a mode is.
const HAS_MODE: u8 = 64;

/// Checks what an upload leaves.
pub fn check(bytes: &[u8]) {
    let Some((&said_size, script)) = bytes.split_first() else {
        return;
    };
    let Some((flags, stream)) = script::read(script) else {
        return;
    };
    let data: Vec<u8> = frames_of(&stream)
        .0
        .into_iter()
        .filter(|frame| frame.frame_type == FrameType::DATA.0)
        .flat_map(|frame| frame.payload)
        .collect();
    let size = match flags & IS_SIZE_RIGHT {
        0 => usize::from(said_size),
        _ => data.len(),
    };
    let content = content(&stream, size);
    let sum = (flags & HAS_SUM != 0).then(|| {
        let right = content.as_deref().unwrap_or_default();
        let sum: [u8; 32] = Sha256::digest(right).into();
        Checksum(if flags & IS_SUM_RIGHT != 0 {
            sum
        } else {
            [7; 32]
        })
    });
    let is_sum_right = sum.is_none() || flags & IS_SUM_RIGHT != 0;
    let target = usize::from(flags & 7);
    let scratch = Scratch::new();
    let before = nodes(&scratch.root());
    let (path, name) = TARGETS[target];
    let request = Request::PutFile(PutFileRequest {
        size: size as u64,
        destination: Ok(Destination {
            path: scratch.path().join(path).as_os_str().as_bytes().to_vec(),
            name: name.map(|name| name.as_bytes().to_vec()),
            mode: (flags & HAS_MODE != 0).then_some(0o640),
            sha256: sum.map(ExpectedSum::Given),
            ..Destination::default()
        }),
    });
    let (host, agent) = said(&stream);
    serve(request, agent).expect("there are descriptors left");
    let said = answer(host);
    scratch.check(&[]);
    let stored = content.filter(|_| is_sum_right).zip(PLACES[target]);
    check_answer(&said, stored.is_some());
    let mut after: Nodes = before;
    if let Some((content, place)) = stored {
        after.insert(Path::new(place).to_owned(), Node::File(content));
    }
    assert_eq!(nodes(&scratch.root()), after);
}

/// The bytes that a payload of `size` has, where it is whole and nothing else comes before its end.
fn content(stream: &[u8], size: usize) -> Option<Vec<u8>> {
    let (frames, _) = frames_of(stream);
    let mut rest = stream;
    let mut content = Vec::new();
    for frame in frames {
        if content.len() == size {
            break;
        }
        // The header says how much is to come, which may be more than did.
        let promised = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        if frame.frame_type != FrameType::DATA.0 || promised > size - content.len() {
            return None;
        }
        rest = &rest[5 + frame.payload.len()..];
        content.extend(frame.payload);
    }
    (content.len() == size).then_some(content)
}

fn check_answer(said: &[u8], is_stored: bool) {
    let (frames, is_broken) = frames_of(said);
    assert!(!is_broken && frames.len() <= 1, "an upload has one answer");
    let Some(frame) = frames.first() else {
        // Its host has hung up in the middle.
        assert!(!is_stored, "what is stored is answered");
        return;
    };
    assert!(frame.is_whole);
    let answer = Answer::parse(&frame.payload).expect("an agent's answers are ones");
    assert_eq!(answer.ok, is_stored);
    assert_eq!(answer.error.is_none(), is_stored);
}
