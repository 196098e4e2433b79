//! Trees between here and a guest: with the real agent, and with peers that mean harm.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[allow(dead_code, reason = "shared with tests of other peers")]
#[path = "support/peer.rs"]
mod peer;

use agent::{Agent, LIMIT};
use peer::{Peer, drain};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use smolvm_host::Guest;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, ChannelError, Copied, GET_TREE, PUT_TREE};
use smolvm_host::deadline::Deadline;
use smolvm_host::files::Transfer;
use smolvm_host::guest::FEATURES_LIMIT;
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn deadline() -> Deadline {
    Deadline::after(LIMIT)
}

fn put(
    channel: &Channel,
    local: &Path,
    path: &Path,
    name: Option<&[u8]>,
) -> Result<Copied, ChannelError> {
    channel.put_tree(
        local,
        path.as_os_str().as_bytes(),
        name,
        deadline(),
        &mut |_| (),
    )
}

fn get(channel: &Channel, path: &Path, local: &Path) -> Result<Copied, ChannelError> {
    channel.get_tree(
        path.as_os_str().as_bytes(),
        local,
        None,
        deadline(),
        &mut |_| (),
    )
}

fn json(text: &str) -> Vec<u8> {
    encode_frame(FrameType::JSON, text.as_bytes())
}

/// A peer that reads a request and says these frames.
fn telling(frames: Vec<Vec<u8>>) -> Peer {
    Peer::new(vec![Box::new(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(&frames.concat());
        drain(stream);
    })])
}

fn read_request(stream: &mut UnixStream) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes(header[1..].try_into().unwrap());
    let mut request = vec![0; length as usize];
    stream.read_exact(&mut request).unwrap();
}

fn entries_of(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn tree_comes_back_the_same_and_what_cannot_be_copied_is_told() {
    let agent = Agent::start();
    let channel = agent.channel();
    let pong = channel.ping(LIMIT).unwrap();
    assert!(pong.serves(PUT_TREE) && pong.serves(GET_TREE));
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/b/large"), vec![1; 150_000]).unwrap();
    fs::write(from.join("empty"), b"").unwrap();
    symlink("/etc/hostname", from.join("a/link")).unwrap();
    mknodat(CWD, from.join("a/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::set_permissions(from.join("a/b"), Permissions::from_mode(0o550)).unwrap();
    let there = agent.folder().join("there");
    let copied = put(&channel, &from, &there, Some(b"unused")).unwrap();
    let wanted = Copied {
        entries: 6,
        bytes: 150_000,
        skipped: vec![b"a/pipe".to_vec()],
    };
    assert_eq!(copied, wanted);
    let back = folder.path().join("back");
    let copied = get(&channel, &there, &back).unwrap();
    assert_eq!(
        (copied.entries, copied.bytes, copied.skipped.len()),
        (6, 150_000, 0)
    );
    assert_eq!(fs::read(back.join("a/b/large")).unwrap(), vec![1; 150_000]);
    assert_eq!(
        fs::read_link(back.join("a/link")).unwrap(),
        Path::new("/etc/hostname")
    );
    assert_eq!(entries_of(&back.join("a")), 2);
    for tree in [&from, &there, &back] {
        let metadata = fs::metadata(tree.join("a/b")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o550);
        fs::set_permissions(tree.join("a/b"), Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn thousand_files_arrive_and_progress_is_told() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1000 {
        fs::write(folder.path().join(number.to_string()), b"abc").unwrap();
    }
    let there = agent.folder().join("there");
    let mut told = Vec::new();
    let path = there.as_os_str().as_bytes();
    let copied = agent
        .channel()
        .put_tree(folder.path(), path, None, deadline(), &mut |bytes| {
            told.push(bytes)
        })
        .unwrap();
    assert_eq!((copied.entries, copied.bytes), (1001, 3000));
    assert_eq!(entries_of(&there), 1000);
    assert_eq!(told.last(), Some(&3000));
    assert!(told.is_sorted());
}

#[test]
fn refusals_of_the_agent_are_its_own_sentences_and_leave_nothing() {
    let agent = Agent::start();
    let channel = agent.channel();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), b"").unwrap();
    let missing = put(
        &channel,
        folder.path(),
        &agent.folder().join("none/x"),
        None,
    );
    assert!(
        matches!(missing, Err(ChannelError::Refused { .. })),
        "{missing:?}"
    );
    let back = folder.path().join("back");
    let missing = get(&channel, &agent.folder().join("none"), &back);
    assert!(
        matches!(missing, Err(ChannelError::Refused { .. })),
        "{missing:?}"
    );
    assert!(!back.exists());
}

#[test]
fn what_cannot_be_read_here_is_named_and_the_agent_keeps_no_part() {
    let agent = Agent::start();
    let missing = agent.folder().join("none");
    let error = put(&agent.channel(), &missing, &agent.folder().join("x"), None).unwrap_err();
    assert!(matches!(error, ChannelError::Read { ref what, .. } if what.ends_with("none")));
    assert!(!agent.folder().join("x").exists());
}

#[test]
fn guest_that_names_what_is_outside_gets_nowhere() {
    let directory = json(r#"{"path": ".", "kind": "directory", "mode": 493}"#);
    let end_of_file = encode_frame(FrameType::EOF, b"");
    let file = |path: &str| {
        json(&format!(
            r#"{{"path": "{path}", "kind": "file", "mode": 420, "size": 0}}"#
        ))
    };
    for path in ["../x", "/x", "a/../../x", "", ".", "link/x", "x//y"] {
        let folder = TempDir::new().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let target = outside.to_str().unwrap();
        let link = json(&format!(
            r#"{{"path": "link", "kind": "symlink", "target": "{target}"}}"#
        ));
        let frames = vec![directory.clone(), link, file(path), end_of_file.clone()];
        let peer = telling(frames);
        let root = folder.path().join("root");
        let error = get(&peer.channel(), Path::new("/x"), &root).unwrap_err();
        assert!(
            matches!(error, ChannelError::NotAnAgent { .. }),
            "{path}: {error:?}"
        );
        assert_eq!(entries_of(&outside), 0, "{path}");
        assert_eq!(entries_of(folder.path()), 2, "{path}");
    }
}

#[test]
fn trees_that_break_off_leave_no_part_of_a_file() {
    let directory = json(r#"{"path": ".", "kind": "directory"}"#);
    let file = json(r#"{"path": "a", "kind": "file"}"#);
    let data = encode_frame(FrameType::DATA, b"part");
    let refused = json(r#"{"ok": false, "error": "a: it broke"}"#);
    let done = json(r#"{"ok": true, "entries": 0, "skipped": []}"#);
    let told_nothing = json(r#"{"ok": true}"#);
    for (frames, wanted) in [
        (
            vec![directory.clone(), file.clone(), data.clone(), refused],
            "a: it broke",
        ),
        (
            vec![directory.clone(), file.clone(), data.clone(), done.clone()],
            "type 1",
        ),
        (vec![directory.clone(), data.clone()], "type 4"),
        (vec![directory.clone(), file.clone(), file, data], "type 1"),
        (vec![directory.clone(), done.clone()], "other entries"),
        (vec![directory, told_nothing], "other entries"),
        (vec![done], "no root"),
    ] {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root");
        let peer = telling(frames);
        let error = get(&peer.channel(), Path::new("/x"), &root).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!root.exists() || entries_of(&root) == 0);
    }
}

#[test]
fn cancelled_copy_ends_at_once_and_leaves_no_part() {
    let folder = TempDir::new().unwrap();
    let cancel = Cancel::new().unwrap();
    let told = cancel.clone();
    let peer = Peer::new(vec![Box::new(move |mut stream| {
        read_request(&mut stream);
        let frames = [
            json(r#"{"path": ".", "kind": "file"}"#),
            encode_frame(FrameType::DATA, b"part"),
        ];
        stream.write_all(&frames.concat()).unwrap();
        told.cancel();
        drain(stream);
    })]);
    let channel = Channel::with_cancel(peer.channel().address().clone(), cancel);
    let error = get(&channel, Path::new("/x"), &folder.path().join("x")).unwrap_err();
    assert!(matches!(error, ChannelError::Cancelled), "{error:?}");
    assert_eq!(entries_of(folder.path()), 0);
}

#[test]
fn early_refusal_of_an_upload_is_heard_while_it_is_sent() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("large"), vec![0; 8 << 20]).unwrap();
    let peer = Peer::new(vec![Box::new(|mut stream| {
        read_request(&mut stream);
        let refused = json(r#"{"ok": false, "error": "the disk is full"}"#);
        stream.write_all(&refused).unwrap();
        // It reads no further, so whoever only writes would be stuck.
        let _ = stream.read(&mut [0]);
        std::mem::forget(stream);
    })]);
    let mut told = 0;
    let error = peer
        .channel()
        .put_tree(folder.path(), b"/x", None, deadline(), &mut |bytes| {
            told = bytes
        })
        .unwrap_err();
    assert!(
        matches!(error, ChannelError::Refused { ref sentence } if sentence == "the disk is full")
    );
    // What is read is sent, and not collected.
    assert!(told < 4 << 20, "{told} bytes were read");
}

#[test]
fn what_fails_on_this_side_is_named_by_its_whole_path() {
    let agent = Agent::start();
    let channel = agent.channel();
    let unreadable = Path::new("/proc/self/mem");
    let error = put(&channel, unreadable, &agent.folder().join("x"), None).unwrap_err();
    assert!(
        matches!(error, ChannelError::Read { ref what, .. } if what == "/proc/self/mem"),
        "{error:?}"
    );
    assert!(!agent.folder().join("x").exists());
    let (there, here) = (agent.folder().join("there"), TempDir::new().unwrap());
    fs::create_dir(&there).unwrap();
    fs::write(there.join("a"), b"").unwrap();
    let taken = here.path().join("name/a");
    fs::create_dir_all(&taken).unwrap();
    let path = there.as_os_str().as_bytes();
    let name = Some("name".as_ref());
    let error = channel
        .get_tree(path, here.path(), name, deadline(), &mut |_| ())
        .unwrap_err();
    assert!(
        matches!(error, ChannelError::Write { ref what, .. } if Path::new(what) == taken),
        "{error:?}"
    );
}

#[test]
fn limit_on_the_time_holds_for_the_question_for_features_too() {
    let folder = TempDir::new().unwrap();
    let peer = Peer::new(vec![Box::new(drain), Box::new(drain)]);
    let guest = Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap();
    let limit = || Transfer::new().timeout(Duration::from_millis(100));
    let began = Instant::now();
    assert!(guest.put_tree(folder.path(), "/x", limit()).is_err());
    assert!(guest.get_tree("/x", folder.path(), limit()).is_err());
    assert!(began.elapsed() < FEATURES_LIMIT);
}

#[test]
fn what_the_agent_left_out_is_told_up_to_16_paths() {
    let directory = r#"{"path": ".", "kind": "directory"}"#;
    let path = r#""p""#;
    let left_out = vec![path; 17].join(", ");
    let done = format!(r#"{{"ok": true, "entries": 1, "skipped": [{left_out}]}}"#);
    let folder = TempDir::new().unwrap();
    let unknown = r#"{"path": "unknown", "kind": "door"}"#;
    let done_with_two = done.replace("\"entries\": 1", "\"entries\": 2");
    let peer = telling(vec![json(directory), json(unknown), json(&done_with_two)]);
    let copied = get(&peer.channel(), Path::new("/x"), folder.path()).unwrap();
    assert_eq!((copied.entries, copied.skipped.len()), (1, 16));
    assert_eq!(copied.skipped[..2], [b"unknown".to_vec(), b"p".to_vec()]);
    let peer = Peer::new(vec![Box::new(move |mut stream| {
        // The request, the root and the tree's end.
        for _ in 0..3 {
            read_request(&mut stream);
        }
        let _ = stream.write_all(&json(&done));
        drain(stream);
    })]);
    let copied = put(&peer.channel(), folder.path(), Path::new("/x"), None).unwrap();
    assert_eq!(copied.skipped, vec![b"p".to_vec(); 16]);
}

#[test]
fn peer_hears_at_once_of_a_copy_that_failed_here() {
    let folder = TempDir::new().unwrap();
    let (told, ended) = std::sync::mpsc::channel();
    let acts = [(), ()].map(|()| {
        let told = told.clone();
        let act: peer::Act = Box::new(move |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(&json(r#"{"path": "..", "kind": "directory"}"#));
            drain(stream);
            told.send(()).unwrap();
        });
        act
    });
    let peer = Peer::new(acts.into());
    let error = get(&peer.channel(), Path::new("/x"), folder.path()).unwrap_err();
    assert!(
        matches!(error, ChannelError::NotAnAgent { .. }),
        "{error:?}"
    );
    ended.recv_timeout(LIMIT).unwrap();
    let missing = folder.path().join("none");
    put(&peer.channel(), &missing, Path::new("/x"), None).unwrap_err();
    ended.recv_timeout(LIMIT).unwrap();
}

#[test]
fn answer_that_counts_no_entries_is_no_agents() {
    let folder = TempDir::new().unwrap();
    let peer = Peer::new(vec![Box::new(|mut stream| {
        // The request, the root and the tree's end.
        for _ in 0..3 {
            read_request(&mut stream);
        }
        let _ = stream.write_all(&json(r#"{"ok": true}"#));
        drain(stream);
    })]);
    let error = put(&peer.channel(), folder.path(), Path::new("/x"), None).unwrap_err();
    assert!(error.to_string().contains("counts no entries"), "{error:?}");
}
