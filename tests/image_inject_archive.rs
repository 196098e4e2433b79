//! `smolctl image inject` of archives: what their headers say is kept, and comes back in ours.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of refusals")]
mod tree;

use folder::{Folder, elf};
use std::fs;
use std::process::{Command, Output};
use tar::EntryType;
use tree::{image_inject, tar_archive, tar_blocks, tar_lines, write_tree};

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    output
}

/// What was written is read again, and gives the same bytes.
fn comes_back_the_same(folder: &Folder, archive: &[u8]) -> bool {
    let first = folder.path("out.tar");
    succeed(&mut image_inject(folder, &first, "again.tar"));
    fs::read(folder.path("again.tar")).unwrap() == archive
}

#[test]
fn archive_keeps_owners_links_devices_long_names_and_attributes() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(250));
    let records = |records: &[(&str, &[u8])]| {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| *length == rest + length.to_string().len());
            bytes.extend(format!("{} {key}=", length.unwrap()).bytes());
            bytes.extend(*value);
            bytes.push(b'\n');
        }
        bytes
    };
    let capability = records(&[
        (
            "SCHILY.xattr.security.capability",
            b"\x01\x00\x00\x02\n\x00\n",
        ),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("path", long.as_bytes()),
        ("uid", b"3000000"),
    ]);
    let archive = tar_archive(&[
        ("./", EntryType::Directory, b""),
        ("./lib", EntryType::Symlink, b"usr/lib"),
        ("lib/library", EntryType::Regular, b"in usr"),
        ("/bin/sh", EntryType::Regular, &busybox),
        ("bin/old", EntryType::Regular, b"first"),
        ("bin/old", EntryType::Regular, b"second"),
        ("bin/a", EntryType::Link, b"./bin/sh"),
        ("dev/console", EntryType::Char, b""),
        ("dev/disk", EntryType::Block, b""),
        ("run/pipe", EntryType::Fifo, b""),
        ("x", EntryType::XHeader, &capability),
        ("short", EntryType::Regular, b"long"),
    ]);
    let tree = folder.write("tree.tar", &archive);
    let output = succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("left out: the attribute security.selinux"),
        "{told}"
    );
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    let has = |line: &str| {
        assert!(
            lines.iter().any(|other| other == line),
            "{line}: {lines:#?}"
        )
    };
    has("bin/ Directory 755 0:0 ");
    has("bin/old Regular 755 7:8 second");
    has("bin/sh Link 755 7:8 bin/a");
    has("dev/console Char 755 7:8 5:1");
    has("dev/disk Block 755 7:8 5:1");
    has("lib Symlink 777 7:8 usr/lib");
    has("run/pipe Fifo 755 7:8 ");
    has("usr/lib/library Regular 755 7:8 in usr");
    has(&format!("{long} Regular 755 3000000:8 long"));
    let kept = b"SCHILY.xattr.security.capability=\x01\x00\x00\x02\n\x00\n\n";
    assert!(out.windows(kept.len()).any(|window| window == kept));
    assert!(comes_back_the_same(&folder, &out));
}

#[test]
fn global_header_holds_for_all_members_after_it_unless_they_say_otherwise() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let global = b"10 uid=77\n32 SCHILY.xattr.user.a%3Db%25=1\n";
    let archive = tar_archive(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("g", EntryType::XGlobalHeader, global),
        ("a", EntryType::Regular, b"x"),
        ("x", EntryType::XHeader, b"8 uid=9\n"),
        ("b", EntryType::Regular, b"x"),
        ("x", EntryType::XHeader, b"7 uid=\n"),
        ("c", EntryType::Regular, b"x"),
    ]);
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    for line in [
        "bin/sh Regular 755 7:8 ",
        "a Regular 755 77:8 x",
        "b Regular 755 9:8 x",
        "c Regular 755 7:8 x",
    ] {
        assert!(
            lines.iter().any(|other| other.starts_with(line)),
            "{line}: {lines:#?}"
        );
    }
    let kept = b"32 SCHILY.xattr.user.a%3Db%25=1\n";
    let count = out
        .windows(kept.len())
        .filter(|window| window == kept)
        .count();
    assert_eq!(count, 3);
    assert!(comes_back_the_same(&folder, &out));
}

#[test]
fn names_targets_and_sizes_of_extension_headers_count_and_are_given_back() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let [long, target, other] = ["l", "t", "o"].map(|letter| letter.repeat(120));
    let linkpath = format!("134 linkpath={other}\n");
    let mut archive = tar_blocks(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("L", EntryType::GNULongName, format!("{long}\0").as_bytes()),
        ("cut", EntryType::Regular, b"x"),
        (
            "K",
            EntryType::GNULongLink,
            format!("{target}\0").as_bytes(),
        ),
        ("gnu", EntryType::Symlink, b"cut"),
        ("x", EntryType::XHeader, linkpath.as_bytes()),
        ("pax", EntryType::Symlink, b"cut"),
        ("x", EntryType::XHeader, b"9 size=3\n"),
        ("sized", EntryType::Regular, b"abc"),
    ]);
    let at = archive.len() - 1024;
    let mut header = tar::Header::from_byte_slice(&archive[at..at + 512]).clone();
    header.set_size(0);
    header.set_cksum();
    archive[at..at + 512].copy_from_slice(header.as_bytes());
    archive.extend([0; 1024]);
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    for line in [
        format!("{long} Regular 755 7:8 x"),
        format!("gnu Symlink 777 7:8 {target}"),
        format!("pax Symlink 777 7:8 {other}"),
        "sized Regular 755 7:8 abc".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:#?}");
    }
    assert!(comes_back_the_same(&folder, &out));
}

#[test]
fn headers_of_older_archives_mean_what_they_meant() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let mut archive = tar_blocks(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("old/", EntryType::Regular, b""),
        ("linked", EntryType::Link, b"bin/sh"),
    ]);
    // GNU tar leaves a file's size in the header of its other name, without the bytes.
    let at = archive.len() - 512;
    let mut header = tar::Header::from_byte_slice(&archive[at..]).clone();
    header.set_size(busybox.len() as u64);
    header.set_cksum();
    archive[at..].copy_from_slice(header.as_bytes());
    archive.extend(tar_archive(&[("after", EntryType::Regular, b"x")]));
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let lines = tar_lines(&fs::read(folder.path("out.tar")).unwrap());
    for line in [
        "old/ Directory 755 7:8 ",
        "linked Link 755 7:8 bin/sh",
        "after Regular 755 7:8 x",
    ] {
        assert!(
            lines.iter().any(|other| other == line),
            "{line}: {lines:#?}"
        );
    }
}
