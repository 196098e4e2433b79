//! Trees of a guest's files for tests: as a folder and as tar archives, with an agent to put in.
//!
//! Owns what such a tree has at least (a program that tells its architecture), and an `/init` of the
//! shape that published images have.

use crate::folder::{Folder, elf, set_mode};
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tar::{EntryType, Header};

/// An `/init` that starts the Python agent where python3 is there.
pub(crate) const PYTHON_INIT: &str = "\
#!/bin/sh
mount -t proc proc /proc
# python3 runs the agent; without it there is none.
if command -v python3 >/dev/null 2>&1 && [ -f /usr/local/bin/smolvm-guest-agent ]; then
    python3 /usr/local/bin/smolvm-guest-agent >/var/log/agent.log 2>&1 &
    echo \"agent: number $!\"
else
    echo \"agent: none (python3 or agent missing)\"
fi
exec /usr/sbin/sshd -De
";

/// The same with the binary.
pub(crate) const BINARY_INIT: &str = "\
#!/bin/sh
mount -t proc proc /proc
# python3 runs the agent; without it there is none.
if [ -x /usr/local/bin/smolvm-guest-agent ]; then
    /usr/local/bin/smolvm-guest-agent >/var/log/agent.log 2>&1 &
    echo \"agent: number $!\"
else
    echo \"agent: none (agent missing)\"
fi
exec /usr/sbin/sshd -De
";

/// Writes the agent, and a tree whose files are made in the given order.
pub(crate) fn write_tree(folder: &Folder, tree: &str, is_reversed: bool) -> PathBuf {
    folder.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.3\n"));
    let mut files = vec![
        ("bin/busybox", 0o755, elf(62, 1, b"busybox")),
        ("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n".to_vec()),
        ("etc/shadow", 0o600, b"root:*\n".to_vec()),
        ("init", 0o755, PYTHON_INIT.into()),
        ("root/.profile", 0o4711, Vec::new()),
        (
            "usr/local/bin/smolvm-guest-agent",
            0o755,
            b"#!/usr/bin/env python3\n".to_vec(),
        ),
        ("usr/share/ä b", 0o644, b"x".to_vec()),
    ];
    if is_reversed {
        files.reverse();
    }
    for (name, mode, bytes) in files {
        let path = folder.write(&format!("{tree}/{name}"), &bytes);
        set_mode(path, mode);
    }
    let tree = folder.path(tree);
    symlink("busybox", tree.join("bin/sh")).unwrap();
    fs::hard_link(tree.join("etc/passwd"), tree.join("bin/accounts")).unwrap();
    for directory in [
        "bin",
        "etc",
        "root",
        "usr",
        "usr/local",
        "usr/local/bin",
        "usr/share",
    ] {
        fs::set_permissions(tree.join(directory), Permissions::from_mode(0o755)).unwrap();
    }
    tree
}

/// `smolctl image inject` of the agent in the folder.
pub(crate) fn image_inject(folder: &Folder, tree: &Path, output: &str) -> Command {
    let mut command = folder.smolctl(&["image", "inject"]);
    command.arg("--root").arg(tree);
    command.arg("--agent").arg(folder.path("agent"));
    command.arg("-o").arg(folder.path(output));
    command
}

/// An entry of an archive: its name as it stands there, its kind, and a file's bytes or a link's target.
pub(crate) type TarEntry<'a> = (&'a str, EntryType, &'a [u8]);

/// A tar archive without its end mark.
pub(crate) fn tar_blocks(entries: &[TarEntry<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, bytes) in entries {
        let mut header = Header::new_ustar();
        let raw = header.as_ustar_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_size(0);
        let has_bytes = matches!(
            kind,
            EntryType::Regular
                | EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink
        );
        if has_bytes {
            header.set_size(bytes.len() as u64);
        } else if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name_literal(bytes).unwrap();
        } else if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(5).unwrap();
            header.set_device_minor(1).unwrap();
        }
        header.set_cksum();
        archive.extend(header.as_bytes());
        if has_bytes {
            archive.extend(*bytes);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
    }
    archive
}

/// A whole tar archive.
pub(crate) fn tar_archive(entries: &[TarEntry<'_>]) -> Vec<u8> {
    let mut archive = tar_blocks(entries);
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// What stands in an archive: name, kind, mode, owner, and link, device number or bytes, a line each.
pub(crate) fn tar_lines(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!(header.username_bytes(), Some(&b""[..]));
        if let Some(target) = entry.link_name_bytes() {
            bytes = target.into_owned();
        }
        if matches!(header.entry_type(), EntryType::Char | EntryType::Block) {
            let number = [header.device_major(), header.device_minor()];
            let [major, minor] = number.map(|number| number.unwrap().unwrap());
            bytes = format!("{major}:{minor}").into_bytes();
        }
        lines.push(format!(
            "{} {:?} {:o} {}:{} {}",
            String::from_utf8_lossy(&entry.path_bytes()),
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            bytes.escape_ascii(),
        ));
    }
    lines
}
