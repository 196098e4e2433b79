//! What an entry parses to, each refusal's sentence, and the order of entries.

use super::*;
use quickcheck::quickcheck;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.into(),
        kind,
    }
}

fn directory(path: &str) -> Entry {
    entry(path, Kind::Directory { mode: None })
}

fn file(path: &str) -> Entry {
    entry(
        path,
        Kind::File {
            mode: None,
            size: None,
        },
    )
}

fn refusal(json: &str) -> String {
    match Entry::parse(json.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(entry) => panic!("{json}: {entry:?}"),
    }
}

quickcheck! {
    fn any_bytes_are_an_entry_or_an_error_and_never_a_panic(bytes: Vec<u8>) -> bool {
        let _ = Entry::parse(&bytes);
        let _ = TreeFrame::parse(&bytes);
        true
    }

    fn what_one_end_encodes_the_other_parses(name: Vec<u8>, target: Vec<u8>) -> bool {
        let clean = |bytes: Vec<u8>| -> Vec<u8> {
            let kept = bytes.into_iter().filter(|byte| !matches!(byte, 0 | b'/'));
            b"x".iter().copied().chain(kept).collect()
        };
        let link = Entry {
            path: clean(name),
            kind: Kind::Symlink { target: clean(target) },
        };
        Entry::parse(link.to_json().as_bytes()) == Ok(link)
    }

    fn admitted_paths_never_leave_the_root(path: Vec<u8>) -> bool {
        check_path(&path).is_err()
            || path == ROOT
            || path.split(|byte| *byte == b'/').all(|component| {
                !component.is_empty() && component != b"." && component != b".."
            })
    }
}

#[test]
fn entries_are_written_with_their_members_in_order() {
    for (entry, json) in [
        (
            entry(".", Kind::Directory { mode: Some(0o755) }),
            r#"{"path": ".", "kind": "directory", "mode": 493}"#,
        ),
        (directory("a"), r#"{"path": "a", "kind": "directory"}"#),
        (
            entry(
                "a/b",
                Kind::File {
                    mode: Some(0o644),
                    size: Some(12),
                },
            ),
            r#"{"path": "a/b", "kind": "file", "mode": 420, "size": 12}"#,
        ),
        (
            entry(
                "a/l",
                Kind::Symlink {
                    target: b"../\xff".to_vec(),
                },
            ),
            r#"{"path": "a/l", "kind": "symlink", "target": "../\udcff"}"#,
        ),
        (
            entry("p", Kind::Other("fifo".into())),
            r#"{"path": "p", "kind": "fifo"}"#,
        ),
    ] {
        assert_eq!(entry.to_json(), json);
        assert_eq!(Entry::parse(json.as_bytes()), Ok(entry));
    }
}

#[test]
fn null_counts_as_absent_and_a_size_that_is_no_number_is_no_hint() {
    let json = r#"{"path":"a","kind":"file","mode":null,"size":null,"x":{}}"#;
    assert_eq!(Entry::parse(json.as_bytes()), Ok(file("a")));
    let json = r#"{"path":"a","kind":"file","size":-1}"#;
    assert_eq!(Entry::parse(json.as_bytes()), Ok(file("a")));
}

#[test]
fn bad_entries_are_refused_with_their_sentence() {
    for (json, sentence) in [
        (r#"{"kind":"file"}"#, "bad entry: missing 'path'"),
        (r#"{"path":"a"}"#, "bad entry: missing 'kind'"),
        (
            r#"{"path":1,"kind":"file"}"#,
            "bad entry: 'path' must be a string",
        ),
        (
            r#"{"path":"a","kind":1}"#,
            "bad entry: 'kind' must be a string",
        ),
        (
            r#"{"path":"a","kind":"symlink"}"#,
            "bad entry: missing 'target'",
        ),
        (
            r#"{"path":"a","kind":"symlink","target":""}"#,
            "the target of the link at 'a' is empty",
        ),
        (
            r#"{"path":"a","kind":"symlink","target":"\u0000"}"#,
            "the target of the link at 'a' has a NUL byte",
        ),
    ] {
        assert_eq!(refusal(json), sentence);
    }
    assert!(
        refusal(r#"{"path":"a","kind":"file","mode":"7"}"#)
            .starts_with("bad entry: 'mode' must be a whole number")
    );
    for json in ["", "[]", "{"] {
        assert!(refusal(json).starts_with("bad entry: "), "{json}");
    }
}

#[test]
fn paths_that_could_leave_the_root_are_refused() {
    for (path, reason) in [
        ("", "is empty"),
        ("/", "is not relative to the tree's root"),
        ("/a", "is not relative to the tree's root"),
        ("..", "has a component that is empty, '.' or '..'"),
        ("a/../b", "has a component that is empty, '.' or '..'"),
        ("a/.", "has a component that is empty, '.' or '..'"),
        ("./a", "has a component that is empty, '.' or '..'"),
        ("a//b", "has a component that is empty, '.' or '..'"),
        ("a/", "has a component that is empty, '.' or '..'"),
    ] {
        assert_eq!(
            check_path(path.as_bytes()).unwrap_err().to_string(),
            format!("the path '{path}' {reason}")
        );
    }
    let error = check_path(b"a\0b").unwrap_err().to_string();
    assert_eq!(error, "the path 'a\\x00b' has a NUL byte");
}

#[test]
fn paths_at_the_limits_are_accepted_and_beyond_them_refused() {
    let deep = |levels: usize| vec!["d"; levels].join("/").into_bytes();
    assert_eq!(check_path(&deep(MAX_DEPTH)), Ok(()));
    let error = check_path(&deep(MAX_DEPTH + 1)).unwrap_err().to_string();
    assert!(error.ends_with("is more than 64 levels deep"), "{error}");
    assert_eq!(check_path(&vec![b'x'; MAX_PATH_BYTES]), Ok(()));
    let error = check_path(&vec![b'x'; MAX_PATH_BYTES + 1]).unwrap_err();
    assert!(error.to_string().ends_with("is longer than 4095 bytes"));
    assert_eq!(check_length(MAX_ENTRY_BYTES), Ok(()));
    assert!(check_length(MAX_ENTRY_BYTES + 1).is_err());
}

#[test]
fn longest_path_and_target_fit_an_entry() {
    let link = Entry {
        path: vec![0xFF; MAX_PATH_BYTES],
        kind: Kind::Symlink {
            target: vec![1; MAX_PATH_BYTES],
        },
    };
    let json = link.to_json();
    assert!(json.len() <= MAX_ENTRY_BYTES);
    assert_eq!(Entry::parse(json.as_bytes()), Ok(link));
}

#[test]
fn order_gives_how_many_open_directories_stay() {
    let mut order = Order::new();
    assert!(!order.has_begun());
    for (entry, depth) in [
        (directory("."), 0),
        (file("f"), 1),
        (directory("a"), 1),
        (directory("a/b"), 2),
        (file("a/b/c"), 3),
        (file("a/d"), 2),
        (directory("ab"), 1),
        (file("ab/x"), 2),
        (entry("p", Kind::Other("fifo".into())), 1),
    ] {
        assert_eq!(order.admit(&entry), Ok(depth), "{entry:?}");
    }
    assert!(order.has_begun());
}

#[test]
fn entries_out_of_order_are_refused() {
    let a = directory("a");
    for (before, entry, reason) in [
        (vec![], file("a"), "is the first, which must be '.'"),
        (
            vec![],
            entry(".", Kind::Other("fifo".into())),
            "is the root, which must be a directory, a file or a symlink",
        ),
        (vec![directory(".")], directory("."), "came already"),
        (
            vec![file(".")],
            file("a"),
            "is not in a directory that has come and is not complete",
        ),
        (
            vec![directory("."), file("a")],
            file("a/b"),
            "is not in a directory that has come and is not complete",
        ),
        (
            vec![directory("."), a.clone(), file("b")],
            file("a/b"),
            "is not in a directory that has come and is not complete",
        ),
        (
            vec![directory("."), a],
            file("ab/c"),
            "is not in a directory that has come and is not complete",
        ),
    ] {
        let mut order = Order::new();
        for entry in &before {
            order.admit(entry).unwrap();
        }
        let error = order.admit(&entry).unwrap_err().to_string();
        assert!(error.ends_with(reason), "{error}");
    }
}

#[test]
fn object_with_ok_is_an_answer_and_another_an_entry() {
    let answer = br#"{"ok": true, "entries": 2, "skipped": ["p\udcff"]}"#;
    let Ok(TreeFrame::Answer(answer)) = TreeFrame::parse(answer) else {
        panic!("no answer");
    };
    assert_eq!(answer.entries, Some(2));
    assert_eq!(answer.skipped, [b"p\xff".to_vec()]);
    assert_eq!(
        TreeFrame::parse(br#"{"path": "a", "kind": "file"}"#),
        Ok(TreeFrame::Entry(file("a")))
    );
    assert!(matches!(
        TreeFrame::parse(br#"{"path": "a", "kind": "file", "ok": 1}"#),
        Err(TreeFrameError::Answer(_))
    ));
    assert!(matches!(
        TreeFrame::parse(b"[]"),
        Err(TreeFrameError::Entry(_))
    ));
}
