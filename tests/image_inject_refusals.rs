//! `smolctl image inject` of bad input: one sentence, the right exit code, nothing left behind.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of what is kept")]
mod tree;

use folder::{Folder, elf};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tar::EntryType;
use tree::{TarEntry, image_inject, tar_archive, tar_blocks, write_tree};

/// Runs a command that has to fail: with the exit code, one sentence that contains `wanted`, and no
/// output.
fn assert_refused(command: &mut Command, code: i32, wanted: &str) {
    let output = command.output().unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(sentence.contains(wanted), "{sentence}");
    assert_eq!(output.status.code(), Some(code), "{sentence}");
    assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with("smolctl: "), "{sentence}");
    assert!(output.stdout.is_empty());
}

/// What is in the test's folder.
fn names(folder: &Folder) -> Vec<String> {
    folder.names(".")
}

#[test]
fn bad_archives_cost_one_sentence_and_leave_nothing() {
    let sh = elf(62, 1, b"busybox");
    let file = |name| -> TarEntry<'_> { (name, EntryType::Regular, b"x") };
    let good: TarEntry<'_> = ("bin/sh", EntryType::Regular, &sh);
    let whole = tar_archive(&[good]);
    let mut packed = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &whole).unwrap();
    encoder.finish().unwrap();
    packed.truncate(packed.len() - 20);
    let mut broken = tar_archive(&[good, file("a")]);
    let second = tar_blocks(&[good]).len();
    broken[second] = b'?';
    let mut with_hole = tar_archive(&[good, file("a"), file("b")]);
    with_hole[second..second + 512].fill(0);
    let nobody = b"18 uid=4294967295\n";
    let long = vec![b'x'; 1024 * 1024 + 1];
    let sparse = b"22 GNU.sparse.major=1\n";
    let cases: [(Vec<u8>, &str); 24] = [
        (
            tar_archive(&[good, ("x", EntryType::XHeader, sparse), file("a")]),
            "has /a with its holes left out; make the archive without --sparse",
        ),
        (
            tar_archive(&[good, ("x", EntryType::XHeader, &long), file("a")]),
            "has an extension header of more than 1048576 bytes",
        ),
        (
            tar_archive(&[good, ("x", EntryType::XHeader, nobody), file("a")]),
            "has /a, whose owner 4294967295 is too large",
        ),
        (with_hole, "is a broken archive (nothing but zeros at byte"),
        (
            whole[..700].to_vec(),
            "is cut off within bin/sh; make it again",
        ),
        (tar_blocks(&[good]), "before its end mark; make it again"),
        (whole[..300].to_vec(), "is cut off after 0 bytes"),
        (Vec::new(), "is cut off after 0 bytes"),
        (vec![0; 1024], "is an empty archive"),
        (b"text ".repeat(200), "is no tar archive"),
        (broken, "is a broken archive (no header at byte"),
        (packed, "cannot be unpacked ("),
        (b"\xfd7zXZ\0\0\0".to_vec(), "cannot be unpacked ("),
        (b"\x28\xb5\x2f\xfdrest".to_vec(), "unpack it with zstd -d"),
        (
            tar_archive(&[good, file("a/../../b")]),
            "which leads out of it by '..'",
        ),
        (
            tar_archive(&[good, file("etc/.wh.passwd")]),
            "(/etc/.wh.passwd is a whiteout)",
        ),
        (
            tar_archive(&[good, ("bin/x", EntryType::Link, b"../etc/x")]),
            "which leads out of it by '..'",
        ),
        (
            tar_archive(&[good, ("bin/x", EntryType::Link, b"bin/none")]),
            "has /bin/x as a link to /bin/none, which it does not have",
        ),
        (
            tar_archive(&[good, file("bin/sh/x")]),
            "has files in /bin/sh, which is no directory",
        ),
        (
            tar_archive(&[good, ("l", EntryType::Symlink, b"l"), file("l/x")]),
            "has links in a circle at /l",
        ),
        (
            tar_archive(&[good, ("s", EntryType::GNUSparse, b"")]),
            "make the archive without --sparse",
        ),
        (
            tar_archive(&[good, ("v", EntryType::new(b'V'), b"")]),
            "has /v of the kind 'V'",
        ),
        (
            tar_archive(&[good, ("x", EntryType::XHeader, b"5 a=b\n"), file("a")]),
            "has a broken extension header",
        ),
        (
            tar_archive(&[file("etc/passwd")]),
            "has no program that tells its architecture; say it with --arch",
        ),
    ];
    for (archive, wanted) in cases {
        let folder = Folder::new();
        folder.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.3\n"));
        let tree = folder.write("tree.tar", &archive);
        assert_refused(&mut image_inject(&folder, &tree, "o/out.tar"), 1, wanted);
        assert_eq!(names(&folder), ["agent", "tree.tar"]);
    }
}

#[test]
fn bad_agents_and_trees_cost_one_sentence_and_leave_nothing() {
    let agent = "agent";
    let cases: [(&str, Vec<u8>, &str); 8] = [
        (
            agent,
            elf(183, 1, b"smolvm-guest-agent 1.2.3\n"),
            "is for aarch64, not for x86_64; scripts/build-guest-agent.sh x86_64",
        ),
        (
            agent,
            elf(62, 3, b"/lib64/ld.so\0"),
            "is not static (it needs /lib64/ld.so); scripts/build-",
        ),
        (
            agent,
            b"\x7fELF\x01\x01".to_vec(),
            "is no 64-bit little-endian ELF file; scripts/build-",
        ),
        (
            agent,
            b"#!/usr/bin/env python3\n".to_vec(),
            "is no ELF file; scripts/build-guest-agent.sh x86_64",
        ),
        (
            agent,
            elf(62, 1, b"busybox"),
            "is no guest agent: it tells no version",
        ),
        (
            "tree/bin/busybox",
            elf(40, 1, b""),
            "is neither for x86_64 nor for aarch64 (its /bin/sh is not)",
        ),
        (
            "tree/bin/busybox",
            b"#!/bin/x\n".to_vec(),
            "say it with --arch",
        ),
        ("tree/etc/.wh.x", Vec::new(), "(/etc/.wh.x is a whiteout)"),
    ];
    for (name, bytes, wanted) in cases {
        let folder = Folder::new();
        let tree = write_tree(&folder, "tree", false);
        folder.write(name, &bytes);
        assert_refused(&mut image_inject(&folder, &tree, "o/out.tar"), 1, wanted);
        assert_eq!(names(&folder), ["agent", "tree"]);
    }
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    let missing = folder.path("missing");
    assert_refused(
        &mut image_inject(&folder, &missing, "out"),
        1,
        "cannot read the tree ",
    );
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    assert_refused(
        &mut image_inject(&folder, &empty, "out"),
        1,
        "is empty; name the folder",
    );
    assert_refused(
        &mut image_inject(&folder, "/dev/zero".as_ref(), "out"),
        1,
        "no regular file",
    );
    fs::remove_file(tree.join("init")).unwrap();
    fs::create_dir(tree.join("init")).unwrap();
    let mut replace = image_inject(&folder, &tree, "out");
    assert_refused(replace.arg("--replace-init"), 1, "has a directory at /init");
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"etc/\xff");
    fs::write(tree.join(name), b"").unwrap();
    assert_refused(
        &mut image_inject(&folder, &tree, "out"),
        1,
        "'etc/\\xff', which is no UTF-8",
    );
    assert_eq!(names(&folder), ["agent", "empty", "tree"]);
}

#[test]
fn output_in_the_tree_or_over_something_else_is_refused() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    symlink("tree/etc", folder.path("way")).unwrap();
    for output in ["tree", "tree/new.tar", "tree/a/b/new", "way/new.tar"] {
        let wanted = "is in the tree that it is made from, or is that tree";
        assert_refused(&mut image_inject(&folder, &tree, output), 2, wanted);
    }
    folder.write(
        "tree.tar",
        &tar_archive(&[("bin/sh", EntryType::Regular, &elf(62, 1, b""))]),
    );
    let archive = folder.path("tree.tar");
    let wanted = "or is that tree: name one outside of it";
    assert_refused(&mut image_inject(&folder, &archive, "tree.tar"), 2, wanted);
    let wanted = "let it end in .tar, .tar.gz or .ext4, or name a folder";
    assert_refused(&mut image_inject(&folder, &tree, "out.tar.xz"), 2, wanted);
    folder.write("full/file", b"x");
    fs::create_dir(folder.path("out.tar")).unwrap();
    for old in ["old.tar", "old.tar.gz", "old.ext4"] {
        folder.write(old, b"precious");
    }
    for (output, wanted) in [
        ("full", "a folder that holds something stands there"),
        ("agent", "something else than a folder stands there"),
        ("out.tar", "something else than a file stands there"),
        (
            "old.tar",
            "a file that holds something stands there; name another output or remove it",
        ),
        ("old.tar.gz", "a file that holds something stands there"),
        ("old.ext4", "a file that holds something stands there"),
        ("agent/out.tar", "cannot write"),
    ] {
        assert_refused(&mut image_inject(&folder, &tree, output), 1, wanted);
    }
    assert_eq!(
        names(&folder),
        [
            "agent",
            "full",
            "old.ext4",
            "old.tar",
            "old.tar.gz",
            "out.tar",
            "tree",
            "tree.tar",
            "way"
        ]
    );
    assert_eq!(folder.names("tree"), ["bin", "etc", "init", "root", "usr"]);
    assert_eq!(fs::read(folder.path("old.tar")).unwrap(), b"precious");
}

#[test]
fn output_that_cannot_be_written_whole_leaves_what_was_there() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    folder.write("tree/large", &[7; 100_000]);
    folder.write("o/out.tar", b"");
    for output in ["o/out.tar", "o/folder"] {
        let inject = image_inject(&folder, &tree, output);
        let mut limited = Command::new("/bin/sh");
        limited
            .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$@\"", "sh"])
            .arg(inject.get_program())
            .args(inject.get_args());
        assert_refused(&mut limited, 1, "File too large");
    }
    assert_eq!(folder.names("o"), ["out.tar"]);
    assert_eq!(fs::read(folder.path("o/out.tar")).unwrap(), b"");
    // What is empty is no loss.
    fs::create_dir(folder.path("o/folder")).unwrap();
    for output in ["o/out.tar", "o/folder"] {
        let output = image_inject(&folder, &tree, output).output().unwrap();
        assert!(output.status.success());
    }
    assert!(fs::metadata(folder.path("o/out.tar")).unwrap().len() > 100_000);
    assert!(folder.path("o/folder/large").exists());
}

#[test]
fn no_room_to_unpack_an_archive_is_told_with_the_way_out() {
    let folder = Folder::new();
    write_tree(&folder, "tree", false);
    let tree = folder.write("tree.tar.gz", b"\x1f\x8b\x08");
    let mut inject = image_inject(&folder, &tree, "o/out.tar");
    inject.env("TMPDIR", folder.path("missing"));
    assert_refused(
        &mut inject,
        1,
        "set TMPDIR to a folder with room for the unpacked archive",
    );
    assert_eq!(names(&folder), ["agent", "tree", "tree.tar.gz"]);
}

#[test]
fn who_is_not_root_gets_a_folder_of_roots_files_alone() {
    const NOBODY: u32 = 65_534;
    let folder = Folder::new();
    let sh = elf(62, 1, b"busybox");
    folder.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.3\n"));
    let foreign = tar_archive(&[("bin/sh", EntryType::Regular, &sh)]);
    let foreign = folder.write("foreign.tar", &foreign);
    let tree = write_tree(&folder, "tree", false);
    // A program and folders that anybody can reach, wherever this project is.
    let program = folder.path("smolctl");
    fs::copy(env!("CARGO_BIN_EXE_smolctl"), &program).unwrap();
    fs::create_dir(folder.path("o")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        fs::set_permissions(folder.path("."), Permissions::from_mode(0o755)).unwrap();
        let owner = NOBODY.to_string();
        let mut give = Command::new("chown");
        give.args(["-hR", &owner]).arg(&tree);
        assert!(give.status().unwrap().success());
        chown(folder.path("o"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let inject = |tree: &std::path::Path, output: &str| {
        let mut inject = Command::new(&program);
        inject.args(image_inject(&folder, tree, output).get_args());
        if is_root {
            inject.uid(NOBODY).gid(NOBODY);
        }
        inject
    };
    let wanted = "only root can write /bin/sh of the tree into a folder, with its owner and kind: run this \
                  as root, or name an output that ends in .tar";
    assert_refused(&mut inject(&foreign, "o/out"), 2, wanted);
    assert!(folder.names("o").is_empty());
    assert!(
        inject(&foreign, "o/out.tar")
            .output()
            .unwrap()
            .status
            .success()
    );
    let output = inject(&tree, "o/out").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(folder.names("o"), ["out", "out.tar"]);
    for (tree, output) in [(tree, "a.tar"), (folder.path("o/out"), "b.tar")] {
        assert!(
            image_inject(&folder, &tree, output)
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    assert!(fs::read(folder.path("a.tar")).unwrap() == fs::read(folder.path("b.tar")).unwrap());
    if is_root {
        fs::set_permissions(folder.path("o"), Permissions::from_mode(0o555)).unwrap();
        assert_refused(&mut inject(&foreign, "o/c.tar"), 1, "Permission denied");
    }
}
