//! Files that are verified, given away and synced: the library and `smolctl` against the real agent, and against
//! agents that lack this or lie.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[allow(dead_code, reason = "shared with tests of worse peers")]
#[path = "support/peer.rs"]
mod peer;

use agent::Agent;
use peer::{Act, Peer, drain};
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::ChannelError;
use smolvm_host::guest::ErrorKind;
use smolvm_host::{Guest, GuestError, SshDestination, Transfer};
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The sum of `old` and a line feed.
const OLD: &str = "01d09d19c2139a46aebfb577780d123d7396e97201bc7ead210a2ebff8239dee";

fn guest(agent: &Agent) -> Guest {
    Guest::over_channel(&agent.channel(), &Cancel::new().unwrap()).unwrap()
}

fn of_peer(peer: &Peer) -> Guest {
    Guest::over_channel(&peer.channel(), &Cancel::new().unwrap()).unwrap()
}

/// Who runs this test, to whom anybody may give a file.
fn own_ids() -> (u32, u32) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().metadata().unwrap();
    (metadata.uid(), metadata.gid())
}

/// What an agent with these features answers to `ping`.
fn pong(features: &str) -> Act {
    let json = format!(
        r#"{{"ok": true, "op": "pong", "agent_version": "test-9", "proto": 1, "features": [{features}]}}"#
    );
    says(encode_frame(FrameType::JSON, json.as_bytes()))
}

/// Reads a request's frame, says `bytes`, and waits for the other end.
fn says(bytes: Vec<u8>) -> Act {
    Box::new(move |mut stream: UnixStream| {
        let mut header = [0; 5];
        stream.read_exact(&mut header).unwrap();
        let mut payload = vec![0; usize::from(header[4])];
        stream.read_exact(&mut payload).unwrap();
        stream.write_all(&bytes).unwrap();
        drain(stream);
    })
}

/// A file `old` with the frame `last` behind its end.
fn file_and(last: &str) -> Act {
    let json = |text: &str| encode_frame(FrameType::JSON, text.as_bytes());
    says(
        [
            json(r#"{"ok": true, "mode": 420, "size": 4}"#),
            encode_frame(FrameType::DATA, b"old\n"),
            encode_frame(FrameType::EOF, b""),
            json(last),
        ]
        .concat(),
    )
}

#[test]
fn file_goes_and_comes_verified_synced_and_with_its_owner() {
    let agent = Agent::start();
    let guest = guest(&agent);
    let here = tempfile::tempdir().unwrap();
    let (local, back) = (here.path().join("local"), here.path().join("back"));
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&local, &content).unwrap();
    let there = agent.folder().join("there");
    let (uid, gid) = own_ids();
    let transfer = Transfer::new().verify(true).owner(uid, gid).sync(true);
    guest
        .put_file(&local, &there, transfer.mode(0o640))
        .unwrap();
    assert_eq!(fs::read(&there).unwrap(), content);
    let metadata = there.metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    guest
        .get_file(&there, &back, Transfer::new().verify(true))
        .unwrap();
    assert_eq!(fs::read(&back).unwrap(), content);
    let mut kernels = Vec::new();
    guest
        .get_to(
            "/proc/version",
            &mut kernels,
            Transfer::new().verify(true).owner(None, 7).sync(true),
        )
        .unwrap();
    assert_eq!(kernels, fs::read("/proc/version").unwrap());
}

/// Carries a connection on to the agent at `path`, with the byte at `changed` of what the host sends as another.
fn carries_on(path: PathBuf, changed: Option<usize>) -> Act {
    Box::new(move |host: UnixStream| {
        let agent = UnixStream::connect(path).unwrap();
        let (mut answers, mut to_host) = (agent.try_clone().unwrap(), host.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = io::copy(&mut answers, &mut to_host);
            let _ = to_host.shutdown(Shutdown::Write);
        });
        let mut to_agent = &agent;
        if let Some(at) = changed {
            let mut before = vec![0; at + 1];
            (&host).read_exact(&mut before).unwrap();
            before[at] ^= 1;
            to_agent.write_all(&before).unwrap();
        }
        let _ = io::copy(&mut &host, &mut to_agent);
        let _ = agent.shutdown(Shutdown::Write);
        back.join().unwrap();
    })
}

#[test]
fn file_that_arrives_otherwise_in_the_guest_leaves_the_one_that_was_there() {
    let agent = Agent::start();
    let there = agent.folder().join("there");
    fs::write(&there, "there").unwrap();
    let socket = agent.folder().join("agent.sock");
    for (changed, is_stored) in [(Some(100_000), false), (None, true)] {
        let way = vec![
            carries_on(socket.clone(), None),
            carries_on(socket.clone(), changed),
        ];
        let stored = of_peer(&Peer::new(way)).put_from(
            &mut &[b'a'; 300_000][..],
            300_000,
            &there,
            Transfer::new().verify(true),
        );
        assert_eq!(stored.is_ok(), is_stored, "{stored:?}");
        if let Err(error) = stored {
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("SHA-256"), "{error}");
            assert_eq!(fs::read(&there).unwrap(), b"there");
        }
    }
    assert_eq!(fs::read(&there).unwrap(), [b'a'; 300_000]);
}

#[test]
fn stream_that_can_be_read_once_is_verified() {
    let agent = Agent::start();
    let there = agent.folder().join("there");
    let (mut reading, mut writing) = UnixStream::pair().unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let size = content.len() as u64;
    let sent = content.clone();
    let writer = std::thread::spawn(move || writing.write_all(&sent).unwrap());
    guest(&agent)
        .put_from(&mut reading, size, &there, Transfer::new().verify(true))
        .unwrap();
    writer.join().unwrap();
    assert_eq!(fs::read(&there).unwrap(), content);
}

#[test]
fn verified_file_that_ends_early_leaves_the_one_that_was_there() {
    let agent = Agent::start();
    let there = agent.folder().join("there");
    fs::write(&there, "there").unwrap();
    let error = guest(&agent)
        .put_from(&mut &b"abc"[..], 4, &there, Transfer::new().verify(true))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local, "{error}");
    assert_eq!(fs::read(&there).unwrap(), b"there");
}

#[test]
fn refusal_of_a_verified_file_is_told() {
    let agent = Agent::start();
    for size in [0, 3, 3_000_000] {
        let error = guest(&agent)
            .put_from(
                &mut &vec![b'a'; size][..],
                size as u64,
                agent.folder().join("missing/there"),
                Transfer::new().verify(true),
            )
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("cannot create"), "{error}");
    }
}

#[test]
fn file_that_arrives_otherwise_leaves_the_one_that_was_there() {
    for (last, words) in [
        (
            format!(
                r#"{{"ok": true, "sha256": "{}", "size": 4}}"#,
                "0".repeat(64)
            ),
            "otherwise than it was sent",
        ),
        (
            format!(r#"{{"ok": true, "sha256": "{OLD}", "size": 5}}"#),
            "otherwise than it was sent",
        ),
        (r#"{"ok": true}"#.to_owned(), "tells no SHA-256 sum"),
        (
            r#"{"ok": false, "error": "no sum today"}"#.to_owned(),
            "no sum today",
        ),
    ] {
        let peer = Peer::new(vec![pong(r#""sha256""#), file_and(&last)]);
        let here = tempfile::tempdir().unwrap();
        let local = here.path().join("f");
        fs::write(&local, "there").unwrap();
        let error = of_peer(&peer)
            .get_file("/f", &local, Transfer::new().verify(true))
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(fs::read(&local).unwrap(), b"there");
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }
    let right = format!(r#"{{"ok": true, "sha256": "{OLD}", "size": 4}}"#);
    let peer = Peer::new(vec![pong(r#""sha256""#), file_and(&right)]);
    let mut content = Vec::new();
    of_peer(&peer)
        .get_to("/f", &mut content, Transfer::new().verify(true))
        .unwrap();
    assert_eq!(content, b"old\n");
}

#[test]
fn connection_that_ends_before_the_sum_is_told() {
    let until_the_end = |mut stream: UnixStream| {
        let mut request = [0; 5];
        stream.read_exact(&mut request).unwrap();
        let mut payload = vec![0; usize::from(request[4])];
        stream.read_exact(&mut payload).unwrap();
        let header = encode_frame(FrameType::JSON, br#"{"ok": true, "mode": 420, "size": 0}"#);
        stream.write_all(&header).unwrap();
        stream
            .write_all(&encode_frame(FrameType::EOF, b""))
            .unwrap();
    };
    let peer = Peer::new(vec![pong(r#""sha256""#), Box::new(until_the_end)]);
    let error = of_peer(&peer)
        .get_to("/f", &mut Vec::new(), Transfer::new().verify(true))
        .unwrap_err();
    assert!(
        matches!(error, GuestError::Channel(ChannelError::ClosedEarly)),
        "{error:?}"
    );
}

#[test]
fn agent_that_lacks_what_is_asked_is_named_and_gets_no_request() {
    let here = tempfile::NamedTempFile::new().unwrap();
    let all_but_sums = r#""file_owner", "put_sync""#;
    let (all_but_what_follows, all_but_owners) = (r#""sha256""#, r#""sha256", "sha256_follows""#);
    type Adjust = fn(Transfer<'static>) -> Transfer<'static>;
    let verify: Adjust = |transfer| transfer.verify(true);
    let own: Adjust = |transfer| transfer.owner(0, None);
    let sync: Adjust = |transfer| transfer.sync(true);
    for (features, adjust, lacks) in [
        ("", verify, "'sha256_follows'"),
        (all_but_sums, verify, "'sha256_follows'"),
        (all_but_what_follows, verify, "'sha256_follows'"),
        (all_but_owners, own, "'file_owner'"),
        (all_but_owners, sync, "'put_sync'"),
    ] {
        // It serves one connection, the question of what it serves.
        let peer = Peer::new(vec![pong(features)]);
        let guest = of_peer(&peer);
        let error = guest
            .put_file(here.path(), "/f", adjust(Transfer::new()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(lacks), "{error}");
        assert!(error.to_string().contains("test-9"), "{error}");
        if !features.contains("sha256") {
            let error = guest
                .get_to("/f", &mut Vec::new(), adjust(Transfer::new()))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("'sha256'"), "{error}");
        }
    }
}

#[test]
fn way_that_has_none_of_this_is_told_before_anything_is_said() {
    let agent = Agent::start();
    let there = agent.folder().join("there");
    let here = tempfile::tempdir().unwrap();
    for transfer in [
        Transfer::new().verify(true),
        Transfer::new().owner(0, 0),
        Transfer::new().sync(true),
    ] {
        let tree = guest(&agent).put_tree(here.path(), &there, transfer);
        assert!(matches!(tree, Err(GuestError::NotThisWay(_))));
    }
    let tree = guest(&agent).get_tree(
        "/proc/self/fdinfo",
        here.path(),
        Transfer::new().verify(true),
    );
    assert!(matches!(tree, Err(GuestError::NotThisWay(_))));
    assert!(!there.exists());
    let nobody: SshDestination = "root@127.0.0.1:1".parse().unwrap();
    let by_ssh = Guest::over_ssh(&nobody, &Cancel::new().unwrap()).unwrap();
    let file = here.path().join("f");
    fs::write(&file, "f").unwrap();
    for transfer in [
        Transfer::new().verify(true),
        Transfer::new().owner(0, 0),
        Transfer::new().sync(true),
    ] {
        let sent = by_ssh.put_file(&file, "/f", transfer);
        assert!(matches!(sent, Err(GuestError::NotOverSsh)), "{sent:?}");
    }
    let fetched = by_ssh.get_file("/f", &file, Transfer::new().verify(true));
    assert!(matches!(fetched, Err(GuestError::NotOverSsh)));
}

fn smolctl(agent: &Agent, arguments: &[&str], input: &[u8]) -> Output {
    let socket = format!("unix:{}", agent.folder().join("agent.sock").display());
    let words = arguments
        .iter()
        .map(|word| word.replace("T:", &format!("{socket}:")));
    let words = words.map(|word| if word == "T" { socket.clone() } else { word });
    let mut child = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(words)
        .current_dir(agent.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn command_line_verifies_gives_away_and_syncs() {
    let agent = Agent::start();
    let here = |name: &str| agent.folder().join(name);
    fs::write(here("a"), "content").unwrap();
    let (uid, gid) = own_ids();
    let owner = format!("{uid}:{gid}");
    for arguments in [
        &[
            "put", "T", "a", "b", "--verify", "--sync", "--owner", &owner,
        ][..],
        &["cp", "--verify", "--sync", "--owner", &owner, "a", "T:c"],
        &["get", "T", "a", "d", "--verify"],
        &["cp", "--verify", "T:a", "e"],
        &["cp", "-r", "--verify", "a", "T:f"],
        &["put", "T", "-", "g", "--verify", "--mode", "644"],
    ] {
        let output = smolctl(&agent, arguments, b"content");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    for name in ["b", "c", "d", "e", "f", "g"] {
        assert_eq!(fs::read(here(name)).unwrap(), b"content", "{name}");
    }
    let shown = smolctl(&agent, &["get", "T", "a", "-", "--verify"], b"");
    assert_eq!(shown.stdout, b"content");
}

#[test]
fn command_line_refuses_what_cannot_be_meant_in_one_sentence() {
    let agent = Agent::start();
    let here = |name: &str| agent.folder().join(name);
    fs::write(here("a"), "content").unwrap();
    fs::create_dir(here("tree")).unwrap();
    for (arguments, words) in [
        (
            &["put", "T", "a", "b", "--owner", "root"][..],
            "must be numbers",
        ),
        (&["put", "T", "a", "b", "--owner", "1:"], "must be numbers"),
        (
            &["put", "T", "a", "b", "--owner", "4294967295"],
            "must be numbers",
        ),
        (&["get", "T", "a", "b", "--owner", "1"], "--owner"),
        (&["get", "T", "a", "b", "--sync"], "--sync"),
        (&["cp", "-r", "--verify", "tree", "T:b"], "for one file"),
        (&["cp", "-r", "--owner", "1", "tree", "T:b"], "for one file"),
        (&["cp", "-r", "--sync", "tree", "T:b"], "for one file"),
        (&["cp", "-r", "--verify", "T:tree", "b"], "for one file"),
        (&["cp", "--sync", "T:a", "b"], "goes into a guest"),
        (&["cp", "--owner", "1:1", "T:a", "b"], "goes into a guest"),
    ] {
        let output = smolctl(&agent, arguments, b"");
        let sentence = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {sentence}");
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
        assert_eq!(sentence.lines().count(), 1, "{arguments:?}: {sentence}");
        assert!(!Path::new(&here("b")).exists(), "{arguments:?}");
    }
}
