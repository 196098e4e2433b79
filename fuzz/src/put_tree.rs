//! A tree into the guest: nothing is written outside of its root, no temporary name stays, and what is confirmed is there; what
//! is then fetched is the same again. Where nothing stands, a plain tree is confirmed.
//!
//! A script (`script.rs`), whose flags choose where the root goes.

use crate::get_tree::{NEW_PLACE, Sent, expected, fetch};
use crate::scratch::{Scratch, TEMPORARY, nodes};
use crate::script::{self, frames_of};
use crate::socket::{answer, said};
use smolvm_guest_agent::fuzzing::serve;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::request::{GetTreeRequest, PutTreeRequest, Request};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;

/// Where the root goes, as the host says it, and where that is.
const PLACES: [(&str, Option<&str>, Option<&str>); 8] = [
    ("root", None, Some("")),
    ("root", Some("x/new"), Some("new")),
    ("root/new", None, Some("new")),
    ("root/dir", None, Some("dir")),
    ("root/dir", Some("new"), Some("dir/new")),
    ("root", Some("link"), Some("link")),
    ("root/file", None, Some("file")),
    ("root/dir", Some(".."), None),
];

/// Checks what a tree leaves.
pub fn check(bytes: &[u8]) {
    let Some((flags, stream)) = script::read(bytes) else {
        return;
    };
    // Such a name may come from the host.
    if TEMPORARY
        .iter()
        .any(|prefix| contains(&stream, prefix.as_bytes()))
    {
        return;
    }
    let (path, name, place) = PLACES[usize::from(flags & 7)];
    let scratch = Scratch::new();
    let request = Request::PutTree(PutTreeRequest {
        path: scratch.path().join(path).as_os_str().as_bytes().to_vec(),
        name: name.map(|name| name.as_bytes().to_vec()),
    });
    let (host, agent) = said(&stream);
    serve(request, agent).expect("there are descriptors left");
    let said = answer(host);
    scratch.check(&[]);
    let (frames, is_broken) = frames_of(&said);
    assert!(!is_broken && frames.len() <= 1, "a tree has one answer");
    let sent = expected(&stream, true);
    let is_due = flags & 7 == NEW_PLACE && sent.as_ref().is_some_and(Sent::is_due);
    if is_due {
        assert!(!frames.is_empty(), "a plain tree is not answered");
    }
    let Some(frame) = frames.first() else {
        return;
    };
    let answer = Answer::parse(&frame.payload).expect("an agent's answers are ones");
    assert_eq!(answer.error.is_none(), answer.ok);
    if is_due {
        assert!(answer.ok, "a plain tree is refused: {answer:?}");
    }
    if answer.ok {
        let place = place.expect("there is no such place");
        let sent = sent.expect("it was confirmed");
        assert_eq!(answer.entries, Some(sent.entries));
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
        check_fetched(&scratch);
    }
}

/// Checks that a host that fetches the root has the same.
fn check_fetched(scratch: &Scratch) {
    let request = Request::GetTree(GetTreeRequest {
        path: scratch.root().as_os_str().as_bytes().to_vec(),
    });
    let (host, agent) = said(b"");
    let stream = thread::scope(|scope| {
        scope.spawn(move || serve(request, agent).expect("there are descriptors left"));
        answer(host)
    });
    let copy = scratch.path().join("copy");
    let copied = fetch(&stream, &copy, None);
    let copied = copied.unwrap_or_else(|error| panic!("what the agent sends is refused: {error}"));
    scratch.check(&["copy"]);
    assert_eq!(nodes(&copy), nodes(&scratch.root()));
    assert_eq!(copied.entries as usize, 1 + nodes(&copy).len());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
