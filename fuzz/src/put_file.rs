//! An upload: its target becomes the whole new file or stays what it was, and nothing else is left, whatever frames come.
//!
//! A script (`script.rs`) behind one byte for the size, and for whether a sum comes behind the bytes; its flags choose the
//! target and what is asked for.

use crate::scratch::{Node, Nodes, Scratch, nodes};
use crate::script::{self, Frame, frames_of};
use crate::socket::{answer, said};
use sha2::{Digest as _, Sha256};
use smolvm_guest_agent::fuzzing::serve;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::checksum::Checksum;
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::{
    Destination, ExpectedSum, FollowingSum, MAX_CONTROL_BYTES, PutFileRequest, Request,
};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
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
const MODE_ASKED: u32 = 0o640;
const MODE_UNASKED: u32 = 0o600;

/// In the byte for the size: whether the sum comes in a frame behind all that the script sends.
const SUM_FOLLOWS: u8 = 128;

/// Checks what an upload leaves.
pub fn check(bytes: &[u8]) {
    let Some((&first, script)) = bytes.split_first() else {
        return;
    };
    let (said_size, follows) = (first & !SUM_FOLLOWS, first & SUM_FOLLOWS != 0);
    let Some((flags, mut stream)) = script::read(script) else {
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
    let before_sum = content(&stream, size).map(|(content, _)| content);
    let sum = (flags & HAS_SUM != 0).then(|| {
        let right = before_sum.as_deref().unwrap_or_default();
        if flags & IS_SUM_RIGHT != 0 {
            sum_of(right)
        } else {
            Checksum([7; 32])
        }
    });
    let mut asked = sum.map(ExpectedSum::Given);
    if let Some(sum) = sum.filter(|_| follows) {
        asked = Some(ExpectedSum::Follows);
        let frame = FollowingSum(sum).to_json();
        stream.extend(encode_frame(FrameType::EOF, b""));
        stream.extend(encode_frame(FrameType::JSON, frame.as_bytes()));
    }
    let content = content(&stream, size).filter(|(content, behind)| match asked {
        None => true,
        Some(ExpectedSum::Given(_)) => flags & IS_SUM_RIGHT != 0,
        Some(ExpectedSum::Follows) => following_sum(behind) == Some(sum_of(content)),
    });
    let target = usize::from(flags & 7);
    let scratch = Scratch::new();
    let before = nodes(&scratch.root());
    let (path, name) = TARGETS[target];
    let request = Request::PutFile(PutFileRequest {
        size: size as u64,
        destination: Ok(Destination {
            path: scratch.path().join(path).as_os_str().as_bytes().to_vec(),
            name: name.map(|name| name.as_bytes().to_vec()),
            mode: (flags & HAS_MODE != 0).then_some(MODE_ASKED),
            sha256: asked,
            ..Destination::default()
        }),
    });
    let (host, agent) = said(&stream);
    serve(request, agent).expect("there are descriptors left");
    let said = answer(host);
    scratch.check(&[]);
    let mode = match flags & HAS_MODE {
        0 => MODE_UNASKED,
        _ => MODE_ASKED,
    };
    let stored = content.map(|(content, _)| content).zip(PLACES[target]);
    check_answer(&said, stored.is_some());
    let mut after: Nodes = before;
    if let Some((content, place)) = stored {
        after.insert(Path::new(place).to_owned(), Node::File(content));
        let found = fs::symlink_metadata(scratch.root().join(place)).expect("it is stored");
        assert_eq!(found.mode() & 0o7777, mode);
    }
    assert_eq!(nodes(&scratch.root()), after);
}

fn sum_of(content: &[u8]) -> Checksum {
    Checksum(Sha256::digest(content).into())
}

/// The sum that frames behind a payload say: behind its end, and nothing else before it but frames without a byte.
fn following_sum(behind: &[Frame]) -> Option<Checksum> {
    let is_empty_data = |frame: &&Frame| {
        frame.frame_type == FrameType::DATA.0 && frame.payload.is_empty() && frame.is_whole
    };
    let mut behind = behind.iter().skip_while(is_empty_data);
    let end = behind.next()?;
    let sum = behind.next()?;
    let is_end = end.frame_type == FrameType::EOF.0 && end.is_whole && end.payload.is_empty();
    let is_sum = sum.frame_type == FrameType::JSON.0 && sum.is_whole;
    let short = sum.payload.len() <= MAX_CONTROL_BYTES;
    let FollowingSum(sum) = FollowingSum::parse(&sum.payload).ok()?;
    (is_end && is_sum && short).then_some(sum)
}

/// The bytes that a payload of `size` has, where it is whole and nothing else comes before its end; and the frames behind it.
fn content(stream: &[u8], size: usize) -> Option<(Vec<u8>, Vec<Frame>)> {
    let (frames, _) = frames_of(stream);
    let mut rest = stream;
    let mut content = Vec::new();
    let mut frames = frames.into_iter();
    while content.len() < size {
        let frame = frames.next()?;
        if frame.frame_type != FrameType::DATA.0 {
            return None;
        }
        // The header says how much is to come, which may be more than did.
        let promised = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        if promised > size - content.len() {
            return None;
        }
        rest = &rest[5 + frame.payload.len()..];
        content.extend(frame.payload);
    }
    Some((content, frames.collect()))
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
