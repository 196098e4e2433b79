//! A tree of files that others made, as a [`Root`].
//!
//! Owns what both readers share: limits, which names and attributes are kept, what a later entry of
//! the same path does, hard links (the first name by bytes is the file, whatever came first). The
//! root directory itself is always 0755 and root's, since its mode says where somebody unpacked the
//! tree. Refuses layers: whiteouts are no files. What is left out is counted and told.

use super::placing::{ancestors, directory, place_of};
use super::root::{Content, DeviceNumber, Root, RootEntry};
use super::tree_path::{Place, follow, join, split};
use super::{ImageError, tree_archive, tree_folder};
use crate::cancel::Cancel;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How many entries a tree may have.
const MAX_ENTRIES: usize = 4_000_000;
/// The longest target of a symbolic link, in bytes (PATH_MAX less its end).
const MAX_TARGET_BYTES: usize = 4095;
/// How many bytes the attributes of one entry may have in all, names included.
const MAX_ATTRIBUTES_BYTES: usize = 64 * 1024;
/// How many kinds of things that were left out are told apart, and what the others are called.
const MAX_KINDS_LEFT_OUT: usize = 16;
const OTHER_KINDS: &str = "other attributes";

/// A tree that was read, and what was left out of it.
#[derive(Debug)]
pub struct Tree {
    /// Its entries; files stay where they are.
    pub root: Root<'static>,
    /// What was left out, a sentence each.
    pub notes: Vec<String>,
}

impl Tree {
    /// Reads a folder or an archive.
    ///
    /// # Errors
    /// [`ImageError::Read`] and [`ImageError::Tree`]; [`ImageError::Write`] where an archive cannot be
    /// unpacked into a temporary file.
    pub fn read(path: &Path, cancel: &Cancel) -> Result<Self, ImageError> {
        let metadata = std::fs::metadata(path).map_err(|source| ImageError::Read {
            what: "tree",
            path: path.to_owned(),
            source,
        })?;
        let builder = match metadata.is_dir() {
            true => tree_folder::read(path, cancel)?,
            false => tree_archive::read(path, cancel)?,
        };
        Ok(builder.finish())
    }
}

/// A tree while it is read.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    /// Hard links are paths of the same one.
    inodes: Vec<RootEntry<'static>>,
    paths: BTreeMap<String, usize>,
    /// By what it is: how many, and the first one by its path's bytes.
    left_out: BTreeMap<String, (usize, String)>,
}

impl TreeBuilder {
    /// Puts an entry at a path; directories on the way may be links. What stood there is replaced, except
    /// that a directory keeps what it holds. The number is for [`TreeBuilder::name`].
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the tree.
    pub(super) fn put(&mut self, path: &str, entry: RootEntry<'static>) -> Result<usize, String> {
        check(path, &entry)?;
        self.inodes.push(entry);
        let inode = self.inodes.len() - 1;
        self.name(path, inode)?;
        Ok(inode)
    }

    /// Gives an entry one more name.
    ///
    /// # Errors
    /// The same.
    pub(super) fn name(&mut self, path: &str, inode: usize) -> Result<(), String> {
        let Some((directory, name)) = split(path) else {
            return match self.inodes[inode].content {
                Content::Directory => Ok(()),
                _ => Err("has something else than a directory as its root".to_owned()),
            };
        };
        let directory = follow(|path| self.place(path), directory)?;
        self.make_directories(&directory)?;
        let path = join(&directory, name);
        let is_directory = matches!(self.inodes[inode].content, Content::Directory);
        if !is_directory && self.has_children(&path) {
            return Err(format!(
                "has {path} first as a directory that holds something and then as something else"
            ));
        }
        if self.paths.len() >= MAX_ENTRIES {
            return Err(format!("has more than {MAX_ENTRIES} entries"));
        }
        self.paths.insert(path, inode);
        Ok(())
    }

    /// The entry at a path, links on the way followed, the last one not.
    pub(super) fn inode(&self, path: &str) -> Option<usize> {
        let (directory, name) = split(path)?;
        let directory = follow(|path| self.place(path), directory).ok()?;
        self.paths.get(&join(&directory, name)).copied()
    }

    /// Counts something that is not kept.
    pub(super) fn leave_out(&mut self, what: &str, path: &str) {
        let is_told = self.left_out.len() < MAX_KINDS_LEFT_OUT || self.left_out.contains_key(what);
        let what = if is_told { what } else { OTHER_KINDS };
        let counted = self.left_out.entry(what.to_owned());
        let (count, first) = counted.or_insert_with(|| (0, path.to_owned()));
        *count += 1;
        // Folders are read in no order.
        if path < first.as_str() {
            path.clone_into(first);
        }
    }

    /// The tree.
    pub(super) fn finish(self) -> Tree {
        let mut root = Root::new();
        let mut names: HashMap<usize, String> = HashMap::new();
        for (path, inode) in self.paths {
            let mut entry = self.inodes[inode].clone();
            if matches!(entry.content, Content::File(_)) {
                match names.get(&inode) {
                    Some(first) => entry.content = Content::HardLink(first.clone()),
                    None => drop(names.insert(inode, path.clone())),
                }
            }
            root.insert(path, entry);
        }
        let notes = self.left_out.into_iter().map(|(what, (count, first))| {
            let more = match count {
                1 => String::new(),
                _ => format!(" and {} more", count - 1),
            };
            format!("left out: {what} ({first}{more})")
        });
        Tree {
            root,
            notes: notes.collect(),
        }
    }

    fn place(&self, path: &str) -> Place<'_> {
        let inode = self.paths.get(path);
        place_of(path, inode.map(|&inode| &self.inodes[inode]))
    }

    fn has_children(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        let next = self.paths.range(inside.clone()..).next();
        next.is_some_and(|(next, _)| next.starts_with(&inside))
    }

    fn make_directories(&mut self, path: &str) -> Result<(), String> {
        for above in ancestors(path) {
            match self.place(above) {
                Place::Directory => {}
                Place::Missing => {
                    self.inodes.push(directory());
                    self.paths.insert(above.to_owned(), self.inodes.len() - 1);
                }
                Place::Link(_) | Place::Other => {
                    return Err(format!("has files in {above}, which is no directory"));
                }
            }
        }
        Ok(())
    }
}

/// Whether an extended attribute belongs to the tree, and not to the machine that the tree is on
/// (security.selinux) or to a file system (trusted.overlay, POSIX lists in a form of its own).
pub(super) fn keeps_attribute(name: &str) -> bool {
    name == "security.capability" || name.starts_with("user.")
}

fn check(path: &str, entry: &RootEntry<'_>) -> Result<(), String> {
    const WHITEOUT: DeviceNumber = DeviceNumber { major: 0, minor: 0 };
    let is_whiteout = split(path).is_some_and(|(_, name)| name.starts_with(".wh."))
        || matches!(entry.content, Content::CharacterDevice(WHITEOUT));
    if is_whiteout {
        return Err(format!(
            "is a layer and no whole tree ({path} is a whiteout): export the container's file system instead"
        ));
    }
    if let Content::Link(target) = &entry.content {
        if target.is_empty() || target.contains('\0') || target.len() > MAX_TARGET_BYTES {
            return Err(format!("has {path}, a link with an impossible target"));
        }
    }
    if let Content::CharacterDevice(number) | Content::BlockDevice(number) = entry.content {
        if !number.is_possible() {
            return Err(format!(
                "has {path}, a device with the number {}:{}, which Linux has none of",
                number.major, number.minor
            ));
        }
    }
    let attributes = entry.attributes.iter();
    let bytes: usize = attributes
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_ATTRIBUTES_BYTES {
        return Err(format!(
            "has {path}, with more than {MAX_ATTRIBUTES_BYTES} bytes of extended attributes"
        ));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::content::FileContent;
    use super::*;

    fn file(bytes: &'static [u8]) -> RootEntry<'static> {
        RootEntry::of_root(0o644, Content::File(FileContent::Bytes(bytes.into())))
    }

    fn link(target: &str) -> RootEntry<'static> {
        RootEntry::of_root(0o777, Content::Link(target.to_owned()))
    }

    pub(crate) fn shown(root: &Root<'_>) -> Vec<String> {
        let entries = root.iter().map(|(path, entry)| match &entry.content {
            Content::Directory => format!("{path}/"),
            Content::Link(target) => format!("{path} -> {target}"),
            Content::HardLink(first) => format!("{path} = {first}"),
            Content::File(content) => {
                let bytes = content.bytes().unwrap();
                format!("{path}: {}", String::from_utf8_lossy(&bytes))
            }
            _ => path.clone(),
        });
        entries.collect()
    }

    #[test]
    fn later_entries_replace_earlier_ones_and_go_through_links() {
        let mut builder = TreeBuilder::default();
        builder.put("/lib", link("usr/lib")).unwrap();
        builder.put("/lib/a", file(b"1")).unwrap();
        builder.put("/usr/lib/a", file(b"2")).unwrap();
        builder.put("/usr", directory()).unwrap();
        assert_eq!(
            shown(&builder.finish().root),
            ["/lib -> usr/lib", "/usr/", "/usr/lib/", "/usr/lib/a: 2"]
        );
    }

    #[test]
    fn first_name_by_bytes_is_the_file_whatever_came_first() {
        let mut builder = TreeBuilder::default();
        let inode = builder.put("/z", file(b"1")).unwrap();
        builder.name("/a", inode).unwrap();
        builder.put("/z", file(b"2")).unwrap();
        builder.name("/b", inode).unwrap();
        assert_eq!(shown(&builder.finish().root), ["/a: 1", "/b = /a", "/z: 2"]);
    }

    #[test]
    fn whiteouts_files_over_full_directories_and_files_under_files_are_refused() {
        let mut builder = TreeBuilder::default();
        let error = builder.put("/etc/.wh.x", file(b"")).unwrap_err();
        assert!(error.contains("is a layer and no whole tree"));
        let none = Content::CharacterDevice(DeviceNumber { major: 0, minor: 0 });
        let error = builder.put("/x", RootEntry::of_root(0, none)).unwrap_err();
        assert!(error.contains("is a layer"));
        builder.put("/d/f", file(b"")).unwrap();
        let error = builder.put("/d", file(b"")).unwrap_err();
        assert!(error.contains("/d first as a directory that holds"));
        let error = builder.put("/d/f/g", file(b"")).unwrap_err();
        assert!(error.contains("/d/f, which is no directory"), "{error}");
        assert!(builder.put("/l", link("")).is_err());
    }

    #[test]
    fn what_is_left_out_is_counted_whatever_its_order_and_kind() {
        let mut builder = TreeBuilder::default();
        for path in ["/b", "/a", "/c"] {
            builder.leave_out("sockets", path);
        }
        for number in 0..MAX_KINDS_LEFT_OUT + 1 {
            builder.leave_out(&format!("the attribute x{number:02}"), "/d");
        }
        let notes = builder.finish().notes;
        assert_eq!(notes[0], "left out: other attributes (/d and 1 more)");
        assert_eq!(notes[1], "left out: sockets (/a and 2 more)");
        assert_eq!(notes.len(), MAX_KINDS_LEFT_OUT + 1);
    }

    #[test]
    fn device_with_a_number_that_linux_does_not_have_is_refused() {
        for (major, minor, is_good) in [
            (4095, 1_048_575, true),
            (4096, 0, false),
            (1, 1 << 20, false),
        ] {
            let device = Content::BlockDevice(DeviceNumber { major, minor });
            let put = TreeBuilder::default().put("/d", RootEntry::of_root(0o600, device));
            assert_eq!(put.is_ok(), is_good, "{major}:{minor}");
        }
    }

    #[test]
    fn only_attributes_of_the_tree_itself_are_kept() {
        for name in ["security.capability", "user.note"] {
            assert!(keeps_attribute(name));
        }
        for name in ["security.selinux", "trusted.overlay.opaque", "userx"] {
            assert!(!keeps_attribute(name));
        }
    }
}
