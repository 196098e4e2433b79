//! `smolctl image verify` and `image diff`: what is the same, and what differs where.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of trees")]
mod tree;

use folder::{Folder, elf};
use smolvm_host::image::manifest::{FileSum, Manifest};
use std::fs;
use std::process::Command;
use tree::{image_inject, write_tree};

/// A command's exit code, standard output and standard error.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn verify(folder: &Folder, image: &str) -> (i32, String, String) {
    outcome(&mut folder.smolctl(&["image", "verify", image]))
}

fn diff(folder: &Folder, first: &str, second: &str) -> (i32, String, String) {
    outcome(&mut folder.smolctl(&["image", "diff", first, second]))
}

fn folder_with_image() -> Folder {
    let folder = Folder::new();
    folder.write_image_inputs();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("one"))).0, 0);
    folder
}

#[test]
fn image_as_it_was_built_is_verified() {
    let folder = folder_with_image();
    let (code, said, _) = verify(&folder, "one");
    assert_eq!(
        (code, said.as_str()),
        (0, "one: minimal for x86_64, 3 files match\n")
    );
    let mut json = folder.smolctl(&["image", "verify", "--json", "one"]);
    let json: serde_json::Value = serde_json::from_str(&outcome(&mut json).1).unwrap();
    assert_eq!(json["variant"], "minimal");
    assert_eq!(json["files"]["vmlinuz"]["size"], 2048);
}

#[test]
fn image_that_was_changed_is_refused_with_what_differs() {
    for (name, bytes, wanted) in [
        (
            "one/vmlinuz",
            Some(&b"x"[..]),
            "vmlinuz is not what its manifest says",
        ),
        (
            "one/initramfs.cpio.gz",
            None,
            "one is no usable image: it lacks initramfs.cpio.gz, which its manifest lists; build it again",
        ),
        (
            "one/notes",
            Some(b""),
            "it holds \"notes\", which its manifest does not list",
        ),
        (
            "one/s/deep",
            Some(b""),
            "it holds \"s\", which its manifest does not list",
        ),
        ("one/manifest.json", Some(b"{}"), "its manifest is broken"),
        (
            "one/manifest.json",
            None,
            "cannot read the image's manifest",
        ),
    ] {
        let folder = folder_with_image();
        match bytes {
            Some(bytes) => drop(folder.write(name, bytes)),
            None => fs::remove_file(folder.path(name)).unwrap(),
        }
        let (code, said, sentence) = verify(&folder, "one");
        assert_eq!((code, said.as_str()), (1, ""), "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    }
}

#[test]
fn images_that_differ_are_told_apart_by_path() {
    let folder = folder_with_image();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("two"))).0, 0);
    assert_eq!(
        diff(&folder, "one", "two"),
        (0, String::new(), String::new())
    );
    folder.write("busybox", &elf(62, 1, b"another busybox"));
    folder.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.4\n"));
    assert_eq!(outcome(&mut folder.image_build(&folder.path("two"))).0, 0);
    let (code, said, sentence) = diff(&folder, "one", "two");
    assert_eq!((code, sentence.as_str()), (1, ""));
    assert_eq!(
        said,
        "manifest.json: agent_version 1.2.3 → 1.2.4\n\
         initramfs.cpio.gz: /bin/busybox: content, size 265 → 273\n\
         initramfs.cpio.gz: /usr/local/bin/smolvm-guest-agent: content\n"
    );
    let initramfs = "initramfs.cpio.gz";
    let (code, said, _) = diff(
        &folder,
        &format!("one/{initramfs}"),
        &format!("two/{initramfs}"),
    );
    assert_eq!(code, 1);
    assert!(said.starts_with("/bin/busybox: content, size "), "{said}");
    folder.write("two/notes", b"");
    let (_, said, _) = diff(&folder, "one", "two");
    assert!(said.ends_with("\nnotes: only in the second\n"), "{said}");
}

#[test]
fn initramfs_that_is_only_packed_in_another_way_is_said_to_be() {
    let folder = folder_with_image();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("two"))).0, 0);
    let packed = fs::read(folder.path("two/initramfs.cpio.gz")).unwrap();
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(packed.as_slice());
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    folder.write("two/initramfs.cpio.gz", &plain);
    let mut manifest = Manifest::read(&folder.path("two")).unwrap();
    let sum = FileSum::of(&plain);
    manifest.files.insert("initramfs.cpio.gz".to_owned(), sum);
    folder.write("two/manifest.json", manifest.to_json().as_bytes());
    let (code, said, _) = diff(&folder, "one", "two");
    assert_eq!(
        (code, said.as_str()),
        (
            1,
            "initramfs.cpio.gz: packed differently, the same entries\n"
        )
    );
}

#[test]
fn inventory_is_not_believed_of_a_file_that_was_changed_since_it_was_built() {
    let folder = folder_with_image();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("two"))).0, 0);
    let packed = fs::read(folder.path("two/initramfs.cpio.gz")).unwrap();
    folder.write("two/initramfs.cpio.gz", b"changed");
    let (code, said, _) = diff(&folder, "one", "two");
    let wanted = format!("initramfs.cpio.gz: content, size {} → 7\n", packed.len());
    assert_eq!((code, said), (1, wanted));
    folder.write("two/initramfs.cpio.gz", &packed);
    folder.write("two/initramfs.txt", b"/\tkind=directory\n");
    let (code, said, _) = diff(&folder, "one", "two");
    assert_eq!(code, 1);
    assert!(said.starts_with("initramfs.txt: content, size "), "{said}");
}

#[test]
fn inventory_outside_of_an_image_is_refused_and_never_read() {
    let folder = folder_with_image();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("two"))).0, 0);
    folder.write("secret", b"/secret\tkind=file\n");
    for image in ["one", "two"] {
        let mut manifest = Manifest::read(&folder.path(image)).unwrap();
        let outside = ("initramfs.cpio.gz".to_owned(), "../secret".to_owned());
        manifest.inventories.extend([outside]);
        folder.write(
            &format!("{image}/manifest.json"),
            manifest.to_json().as_bytes(),
        );
    }
    folder.write("two/initramfs.cpio.gz", b"changed");
    let (code, said, _) = diff(&folder, "one", "two");
    assert_eq!(code, 1);
    assert!(said.starts_with("initramfs.cpio.gz: content"), "{said}");
    let (code, _, sentence) = verify(&folder, "one");
    assert_eq!(code, 1);
    assert!(sentence.contains("does not list '../secret'"), "{sentence}");
}

#[test]
fn what_of_a_tree_is_not_compared_is_said() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    assert_eq!(outcome(&mut image_inject(&folder, &tree, "a")).0, 0);
    assert_eq!(outcome(&mut image_inject(&folder, &tree, "b")).0, 0);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("b/s")).unwrap();
    let (code, said, note) = diff(&folder, "a", "b");
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(note, "b: left out: sockets (/s)\n");
}

#[test]
fn trees_and_archives_of_them_are_compared_by_their_entries() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    for output in ["a.tar", "b.tar.gz", "c"] {
        assert_eq!(outcome(&mut image_inject(&folder, &tree, output)).0, 0);
    }
    assert_eq!(diff(&folder, "a.tar", "b.tar.gz").0, 0);
    assert_eq!(diff(&folder, "b.tar.gz", "c").0, 0);
    let (code, said, _) = diff(&folder, "tree", "a.tar");
    assert_eq!(code, 1);
    let names: Vec<&str> = said
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["/init", "/usr/local/bin/smolvm-guest-agent"]);
    let mut json = folder.smolctl(&["image", "diff", "--json", "tree", "a.tar"]);
    let json: serde_json::Value = serde_json::from_str(&outcome(&mut json).1).unwrap();
    assert_eq!(json[0]["path"], "/init");
    assert_eq!(json[0]["change"], "words");
    assert!(json[0]["words"]["size"].is_array());
}

#[test]
fn disks_are_not_looked_into_and_that_is_said() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    for output in ["x.tar", "x.ext4"] {
        assert_eq!(outcome(&mut image_inject(&folder, &tree, output)).0, 0);
    }
    let wanted = "x.ext4 is a disk (ext4 or an older kind), which is not looked into; name the folder or archive";
    for (first, second) in [("x.tar", "x.ext4"), ("x.ext4", "x.ext4")] {
        let (code, said, sentence) = diff(&folder, first, second);
        assert_eq!((code, said.as_str()), (2, ""), "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
    }
    let disk = folder.path("x.ext4");
    let (code, _, sentence) = outcome(&mut image_inject(&folder, &disk, "y.tar"));
    assert_eq!(code, 1);
    assert!(sentence.contains(wanted), "{sentence}");
}

#[test]
fn what_cannot_be_compared_ends_with_2() {
    let folder = folder_with_image();
    folder.write("text", b"no archive");
    fs::create_dir(folder.path("broken")).unwrap();
    folder.write("broken/manifest.json", b"{}");
    let whole = fs::read(folder.path("one/initramfs.cpio.gz")).unwrap();
    folder.write("cut", &whole[..whole.len() / 2]);
    for (other, wanted) in [
        ("missing", "cannot read the image"),
        (
            "text",
            "one is an image folder and text is none: name two of the same kind",
        ),
        ("broken", "its manifest is broken"),
    ] {
        let (code, said, sentence) = diff(&folder, "one", other);
        assert_eq!((code, said.as_str()), (2, ""), "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    }
    for other in ["text", "cut", "missing"] {
        let (code, said, _) = diff(&folder, "one/initramfs.cpio.gz", other);
        assert_eq!((code, said.as_str()), (2, ""), "{other}");
    }
}
