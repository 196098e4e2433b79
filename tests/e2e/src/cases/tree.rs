//! Trees of files: there and back, over whatever kind of vsock the guest is reached by.

use crate::guest::{Checked, Guest, same};
use smolvm_host::channel::{ChannelError, Copied};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// More than travel in one write.
const SMALL_FILES: u64 = 300;
/// More than one frame.
const LARGE_BYTES: usize = 200_000;

pub(crate) fn there_and_back(guest: &Guest) -> Checked {
    let folder = tempfile::tempdir().map_err(text)?;
    let (sent, fetched) = (folder.path().join("sent"), folder.path().join("fetched"));
    make(&sent).map_err(text)?;
    let channel = guest.channel()?;
    let deadline = guest.deadline();
    let put = channel
        .put_tree(&sent, b"/tmp", Some(b"tree"), deadline, &mut |_| ())
        .map_err(|error| error.to_string())?;
    let count = SMALL_FILES + 7;
    let bytes = 2 * SMALL_FILES + LARGE_BYTES as u64;
    same("what was sent", &(put.entries, put.bytes), &(count, bytes))?;
    same(
        "modes in the guest",
        &guest.text("cd /tmp/tree && stat -c %a . closed closed/run")?,
        &"755\n555\n751".to_owned(),
    )?;
    guest.text("mkfifo /tmp/tree/pipe")?;
    let got = channel
        .get_tree(b"/tmp/tree", &fetched, None, deadline, &mut |_| ())
        .map_err(|error| error.to_string())?;
    let wanted = Copied {
        skipped: vec![b"pipe".to_vec()],
        ..put
    };
    same("what came back", &got, &wanted)?;
    let compared = compare(&sent, &fetched);
    for tree in [&sent, &fetched] {
        // So that whoever runs this can remove it.
        let _ = fs::set_permissions(tree.join("closed"), Permissions::from_mode(0o755));
    }
    compared?;
    guest.text("rm -r /tmp/tree").map(drop)
}

/// A tree leads nowhere but below its root, whatever links stand in the guest.
pub(crate) fn link_in_the_way(guest: &Guest) -> Checked {
    let folder = tempfile::tempdir().map_err(text)?;
    let sent = folder.path().join("sent");
    fs::create_dir_all(sent.join("a")).map_err(text)?;
    fs::write(sent.join("a/file"), b"new").map_err(text)?;
    guest.text("mkdir -p /tmp/tree /tmp/outside && ln -s /tmp/outside /tmp/tree/a")?;
    let refused =
        guest
            .channel()?
            .put_tree(&sent, b"/tmp/tree", None, guest.deadline(), &mut |_| ());
    let left = guest.text("ls -A /tmp/outside")?;
    guest.text("rm -r /tmp/tree /tmp/outside")?;
    match refused {
        Err(ChannelError::Refused { .. }) => {}
        other => return Err(format!("{other:?} where it should be refused")),
    }
    same("what was written outside", &left, &String::new())
}

fn make(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("many"))?;
    fs::create_dir(root.join("closed"))?;
    for number in 0..SMALL_FILES {
        fs::write(root.join(format!("many/{number}")), b"x\n")?;
    }
    fs::write(root.join("large"), vec![7; LARGE_BYTES])?;
    fs::write(root.join(OsStr::from_bytes(b"no utf-8 \xff")), b"")?;
    fs::write(root.join("closed/run"), b"")?;
    symlink("../nowhere", root.join("link"))?;
    for (path, mode) in [("closed/run", 0o751), ("closed", 0o555), (".", 0o755)] {
        fs::set_permissions(root.join(path), Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A path's mode, and its content or the link's text.
type Listed = (u32, Vec<u8>);

/// Every path below `root`.
fn listing(root: &Path) -> io::Result<BTreeMap<Vec<u8>, Listed>> {
    let mut listing = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            let content = if metadata.is_symlink() {
                fs::read_link(&path)?.into_os_string().as_bytes().to_vec()
            } else if metadata.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path)?
            };
            let below = path.strip_prefix(root).unwrap_or(&path);
            let name = below.as_os_str().as_bytes().to_vec();
            listing.insert(name, (metadata.permissions().mode(), content));
        }
    }
    Ok(listing)
}

fn compare(one: &Path, other: &Path) -> Checked {
    let (one, other) = (listing(one).map_err(text)?, listing(other).map_err(text)?);
    let names = |listing: &BTreeMap<Vec<u8>, Listed>| listing.keys().cloned().collect::<Vec<_>>();
    same("names", &names(&other), &names(&one))?;
    for (name, entry) in &one {
        if other[name] != *entry {
            return Err(format!("{} differs", String::from_utf8_lossy(name)));
        }
    }
    Ok(())
}

fn text(error: io::Error) -> String {
    error.to_string()
}
