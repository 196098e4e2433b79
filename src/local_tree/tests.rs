//! Trees that are read and written again, and what a writer refuses.

use super::{Begun, TreeReader, TreeWriter, WriteError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use smolvm_protocol::tree::{Entry, Kind};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Copies as the two ends of a connection would.
fn copy(from: &Path, to: &Path, name: Option<&str>) -> Result<Vec<Vec<u8>>, WriteError> {
    let mut reader = TreeReader::new(from);
    let mut writer = TreeWriter::new(to, name.map(OsStr::new))?;
    while let Some((entry, content)) = reader.next().unwrap() {
        let Begun::File(mut file) = writer.begin(&entry)? else {
            continue;
        };
        let mut bytes = Vec::new();
        content.unwrap().read_to_end(&mut bytes).unwrap();
        file.write(&bytes)?;
        file.finish()?;
    }
    writer.finish()?;
    Ok(reader.into_skipped())
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn directory(path: &str) -> Entry {
    entry(path, Kind::Directory { mode: Some(0o755) })
}

fn file(path: &str) -> Entry {
    let (mode, size) = (Some(0o4755), None);
    entry(path, Kind::File { mode, size })
}

fn link(path: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(path, Kind::Symlink { target })
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = path.as_bytes().to_vec();
    Entry { path, kind }
}

#[test]
fn tree_arrives_with_its_modes_and_links_and_without_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir_all(from.join("closed/deep")).unwrap();
    fs::write(from.join("closed/deep/a"), b"abc").unwrap();
    fs::write(from.join("run"), b"#!").unwrap();
    set_mode(&from.join("run"), 0o4751);
    symlink("nowhere/../x", from.join("link")).unwrap();
    mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    set_mode(&from.join("closed/deep"), 0o1777);
    set_mode(&from.join("closed"), 0o555);
    let to = folder.path().join("to");
    assert_eq!(
        copy(&from, &to, Some("unused")).unwrap(),
        [b"pipe".to_vec()]
    );
    assert_eq!(fs::read(to.join("closed/deep/a")).unwrap(), b"abc");
    assert_eq!(
        fs::read_link(to.join("link")).unwrap(),
        Path::new("nowhere/../x")
    );
    assert_eq!(mode_of(&to.join("run")), 0o751);
    assert_eq!(mode_of(&to.join("closed")), 0o555);
    assert_eq!(mode_of(&to.join("closed/deep")), 0o1777);
    assert!(!to.join("pipe").exists());
    set_mode(&from.join("closed"), 0o755);
    set_mode(&to.join("closed"), 0o755);
}

#[test]
fn root_goes_into_a_directory_that_is_there_by_its_name_or_merges_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a"), b"new").unwrap();
    fs::create_dir(&to).unwrap();
    set_mode(&to, 0o711);
    fs::write(to.join("kept"), b"").unwrap();
    copy(&from, &to, Some("named")).unwrap();
    copy(&from, &to, None).unwrap();
    copy(&from.join("a"), &to, Some("file")).unwrap();
    for path in ["named/a", "a", "kept", "file"] {
        assert!(to.join(path).is_file(), "{path}");
    }
    assert_eq!(mode_of(&to), 0o711);
    assert!(matches!(
        copy(&from.join("a"), &to, None),
        Err(WriteError::System(_))
    ));
    assert!(copy(&from, &folder.path().join("none/x"), None).is_err());
}

#[test]
fn link_as_root_is_the_link_unless_a_slash_follows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/a"), b"").unwrap();
    symlink("real", at("link")).unwrap();
    copy(&at("link"), &at("one"), None).unwrap();
    assert_eq!(fs::read_link(at("one")).unwrap(), Path::new("real"));
    copy(&at("link/"), &at("two"), None).unwrap();
    assert!(at("two/a").is_file());
}

#[test]
fn nothing_leaves_the_root_whatever_entries_say() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    symlink(&outside, root.join("there")).unwrap();
    let outside_text = outside.to_str().unwrap();
    for hostile in [
        vec![directory("."), file("../x")],
        vec![directory("."), file("/x")],
        vec![directory("."), directory("a"), file("a/../../x")],
        vec![directory("."), link("a", outside_text), file("a/x")],
        vec![directory("."), link("b", outside_text), directory("b")],
        vec![directory("."), directory("there")],
        vec![directory("."), file("there/x")],
        vec![file("x")],
        vec![file("."), file("x")],
    ] {
        let mut writer = TreeWriter::new(&root, None).unwrap();
        let all = hostile
            .iter()
            .try_for_each(|entry| writer.begin(entry).map(drop));
        assert!(all.is_err(), "{hostile:?}");
        writer.finish().unwrap();
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn file_replaces_a_link_and_never_what_it_points_at() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("victim"), b"old").unwrap();
    fs::create_dir(at("root")).unwrap();
    symlink(at("victim"), at("root/a")).unwrap();
    let mut writer = TreeWriter::new(&at("root"), None).unwrap();
    writer.begin(&directory(".")).unwrap();
    let Ok(Begun::File(mut new)) = writer.begin(&file("a")) else {
        panic!("a file is to follow");
    };
    new.write(b"new").unwrap();
    new.finish().unwrap();
    assert_eq!(fs::read(at("victim")).unwrap(), b"old");
    assert_eq!(fs::read(at("root/a")).unwrap(), b"new");
    assert_eq!(mode_of(&at("root/a")), 0o755);
}

#[test]
fn unfinished_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TreeWriter::new(folder.path(), None).unwrap();
    writer.begin(&directory(".")).unwrap();
    let Ok(Begun::File(mut new)) = writer.begin(&file("a")) else {
        panic!("a file is to follow");
    };
    new.write(b"part").unwrap();
    drop(new);
    writer.finish().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn name_of_the_root_is_one_component_and_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("a/to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("f"), b"").unwrap();
    fs::create_dir_all(&to).unwrap();
    for name in ["..", ".", "x/.."] {
        let refused = copy(&from, &to, Some(name));
        assert!(matches!(refused, Err(WriteError::System(_))), "{name}");
    }
    copy(&from, &to, Some("../../escape")).unwrap();
    copy(&from, &to, Some("")).unwrap();
    assert!(to.join("escape/f").is_file() && to.join("f").is_file());
    assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn pipe_or_link_to_one_is_not_replaced_by_a_root() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("from"), b"").unwrap();
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("pipe", at("link")).unwrap();
    for name in ["pipe", "link"] {
        let refused = copy(&at("from"), &at(name), None);
        assert!(matches!(refused, Err(WriteError::System(_))), "{name}");
    }
    assert!(fs::read_link(at("link")).is_ok());
    let kind = fs::metadata(at("pipe")).unwrap().file_type();
    assert!(!kind.is_file());
}

#[test]
fn file_is_no_root_where_a_directory_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("from"), b"").unwrap();
    for to in ["none/", "none/."] {
        let refused = copy(&folder.path().join("from"), &folder.path().join(to), None);
        assert!(matches!(refused, Err(WriteError::System(_))), "{to}");
    }
    assert!(!folder.path().join("none").exists());
}

#[test]
fn what_cannot_be_read_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    let error = TreeReader::new(&missing).next().unwrap_err();
    assert_eq!(error.path, missing);
    assert!(
        !error.source.to_string().contains("none"),
        "{}",
        error.source
    );
}

#[test]
fn what_goes_while_the_tree_is_read_counts_as_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "d"] {
        fs::write(at(name), b"").unwrap();
    }
    fs::create_dir(at("c")).unwrap();
    let mut reader = TreeReader::new(folder.path());
    let mut next = || reader.next().unwrap().map(|(entry, _)| entry.path);
    assert_eq!(next().unwrap(), b".");
    assert_eq!(next().unwrap(), b"a");
    fs::remove_file(at("b")).unwrap();
    assert_eq!(next().unwrap(), b"c");
    fs::remove_dir(at("c")).unwrap();
    assert_eq!(next().unwrap(), b"d");
    assert_eq!(next(), None);
}

#[test]
fn rights_that_a_mode_would_lend_stay_here_and_16_of_what_is_skipped_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), b"").unwrap();
    set_mode(&at("file"), 0o6751);
    set_mode(folder.path(), 0o3755);
    for number in 0..17 {
        let pipe = at(&format!("pipe{number}"));
        mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    }
    let mut reader = TreeReader::new(folder.path());
    let mut next = || reader.next().unwrap().map(|(entry, _)| entry.kind);
    assert_eq!(next(), Some(Kind::Directory { mode: Some(0o1755) }));
    let (mode, size) = (Some(0o751), Some(0));
    assert_eq!(next(), Some(Kind::File { mode, size }));
    assert_eq!(next(), None);
    assert_eq!(reader.into_skipped().len(), 16);
}

#[test]
fn modes_are_the_owners_alone_until_others_are_told_and_kept_where_a_directory_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let mut writer = TreeWriter::new(&root, None).unwrap();
    let lending = Kind::Directory { mode: Some(0o6755) };
    writer.begin(&entry(".", lending)).unwrap();
    let (mode, size) = (None, None);
    let Ok(Begun::File(new)) = writer.begin(&entry("a", Kind::File { mode, size })) else {
        panic!("a file is to follow");
    };
    new.finish().unwrap();
    writer.begin(&entry("b", Kind::Directory { mode })).unwrap();
    assert_eq!(mode_of(&root), 0o700);
    writer.finish().unwrap();
    assert_eq!(mode_of(&root), 0o755);
    assert_eq!(mode_of(&root.join("a")), 0o600);
    assert_eq!(mode_of(&root.join("b")), 0o700);
    let mut writer = TreeWriter::new(&root, None).unwrap();
    writer.begin(&directory(".")).unwrap();
    writer.begin(&directory("b")).unwrap();
    writer.finish().unwrap();
    assert_eq!(mode_of(&root.join("b")), 0o700);
}
