//! `smolctl image inject` of an archive into a disk: owners, modes and devices are the archive's.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of other outputs")]
mod tree;

use folder::{Folder, elf};
use std::process::Command;
use tar::EntryType;
use tree::{image_inject, tar_archive};

#[test]
fn disk_has_the_owners_modes_and_devices_of_the_archive() {
    let folder = Folder::new();
    folder.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.3\n"));
    let busybox = elf(62, 1, b"busybox");
    let archive = tar_archive(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("d", EntryType::Directory, b""),
        ("link", EntryType::Symlink, b"bin/sh"),
        ("pipe", EntryType::Fifo, b""),
        ("character", EntryType::Char, b""),
        ("block", EntryType::Block, b""),
        ("x", EntryType::XHeader, b"15 uid=3000000\n"),
        ("large", EntryType::Regular, b"x"),
    ]);
    let tree = folder.write("tree.tar", &archive);
    let output = image_inject(&folder, &tree, "out.ext4").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    for (path, wanted) in [
        ("/bin", "directory 0755 0 0"),
        ("/bin/sh", "regular 0755 7 8"),
        ("/d", "directory 0755 7 8"),
        ("/link", "symlink 0777 7 8"),
        ("/pipe", "FIFO 0755 7 8"),
        ("/character", "character 0755 7 8 05:01"),
        ("/block", "block 0755 7 8 05:01"),
        ("/large", "regular 0755 3000000 8"),
    ] {
        let mut debugfs = Command::new("debugfs");
        debugfs.env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()),
        );
        debugfs.args(["-R", &format!("stat \"{path}\"")]);
        let told = debugfs.arg(folder.path("out.ext4")).output().unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let words: Vec<&str> = told.split_whitespace().collect();
        let after = |word: &str| words[words.iter().position(|other| *other == word).unwrap() + 1];
        let mut found = ["Type:", "Mode:", "User:", "Group:"].map(after).join(" ");
        if told.contains("number:") {
            found = format!("{found} {}", after("number:"));
        }
        assert_eq!(found, wanted, "{path}");
    }
}
