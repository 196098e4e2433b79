//! From a layout and inputs to the list of entries.
//!
//! Owns which bytes stand at which path of an image that is built from a layout; all of it belongs to
//! user and group 0.

use super::ImageError;
use super::content::FileContent;
use super::layout::{Input, Layout, Node};
use super::modules::Module;
use super::packages::{Needs, Packages};
use super::placing::{follow_in, place, place_of};
use super::root::{Content, DeviceNumber, Root, RootEntry};
use super::tree_path::Place;
use crate::cancel::Cancel;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The files that every root is given.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'input> {
    /// The static busybox.
    pub busybox: &'input [u8],
    /// The static guest agent.
    pub agent: &'input [u8],
    /// Where the layout's other programs come from.
    pub packages: Option<&'input Packages>,
}

/// Makes the list of what a layout names; modules are apart from it ([`add_modules`]).
///
/// # Errors
/// [`ImageError::Read`] and [`ImageError::Unsuitable`] for files beside the layout and of packages,
/// [`ImageError::PackagesMissing`], [`ImageError::Layout`] where two things want the same path.
pub fn assemble<'input>(
    layout: &Layout,
    programs: &Programs<'input>,
    cancel: &Cancel,
) -> Result<Root<'input>, ImageError> {
    let mut root = Root::new();
    let mut needs = Needs::new();
    for (path, entry) in &layout.entries {
        let content = match &entry.node {
            Node::Directory => Content::Directory,
            Node::Device { major, minor } => Content::CharacterDevice(DeviceNumber {
                major: *major,
                minor: *minor,
            }),
            Node::Link { target } => Content::Link(target.clone()),
            Node::File(source) => file(source.read()?),
            Node::Input(Input::Busybox) => file(programs.busybox.into()),
            Node::Input(Input::Agent) => file(programs.agent.into()),
            Node::Program { source } => {
                let packages = programs.packages.ok_or(ImageError::PackagesMissing)?;
                file(packages.program(source, &mut needs)?.into())
            }
        };
        root.insert(path.clone(), RootEntry::of_root(entry.mode, content));
    }
    for (path, library) in needs {
        let entry = RootEntry::of_root(0o755, file(library.into()));
        place(&mut root, &path, entry).map_err(|reason| ImageError::Layout {
            line: 0,
            reason: format!("{reason} and a program needs that"),
        })?;
    }
    for source in &layout.trees {
        let packages = programs.packages.ok_or(ImageError::PackagesMissing)?;
        let tree = packages.tree(source, cancel)?;
        merge(&mut root, tree).map_err(|reason| ImageError::Layout {
            line: 0,
            reason: format!("the root {reason}, and the tree {source} something else"),
        })?;
    }
    Ok(root)
}

/// Puts all of a tree into a root, in place of what stands there; a directory that is there already
/// stays as it is, by whichever links it is reached.
fn merge<'input>(root: &mut Root<'input>, tree: Root<'input>) -> Result<(), String> {
    // Where a tree's file went: a link on the way may have led elsewhere.
    let mut placed: BTreeMap<String, String> = BTreeMap::new();
    for (path, mut entry) in tree {
        match &entry.content {
            Content::Directory => {
                let there = follow_in(root, &path)?;
                match place_of(&there, root.get(&there)) {
                    Place::Directory => continue,
                    Place::Missing => {}
                    _ => return Err(format!("has {there}, which is no directory")),
                }
            }
            // The file's first name has to be the first by its bytes, which a link on the way can
            // change: a file of its own is the same to whoever reads it.
            Content::HardLink(original) if placed.get(original) != Some(original) => {
                if let Some(file) = placed.get(original).and_then(|there| root.get(there)) {
                    entry = file.clone();
                }
            }
            _ => {}
        }
        let first = match &entry.content {
            Content::HardLink(original) => Some(original.clone()),
            _ => None,
        };
        let there = place(root, &path, entry)?;
        // So it is for a second name that a link has led before the first.
        if let Some(file) = first
            .filter(|first| *first > there)
            .and_then(|first| root.get(&first))
            .cloned()
        {
            root.insert(there.clone(), file);
        }
        placed.insert(path, there);
    }
    Ok(())
}

/// Adds the modules and the list of their load order.
///
/// # Errors
/// [`ImageError::Layout`] where the layout and the modules want the same path.
pub fn add_modules<'input>(
    root: &mut Root<'input>,
    layout: &Layout,
    modules: &'input [Module],
) -> Result<(), ImageError> {
    let mut list = String::new();
    for module in modules {
        list.push_str(&format!("{}.ko\n", module.name));
        let path = format!("{}/{}.ko", layout.modules_dir, module.name);
        add_file(root, path, module.content.as_slice().into())?;
    }
    let list = Cow::Owned(list.into_bytes());
    add_file(root, layout.modules_list.clone(), list)
}

fn add_file<'input>(
    root: &mut Root<'input>,
    path: String,
    content: Cow<'input, [u8]>,
) -> Result<(), ImageError> {
    let entry = RootEntry::of_root(0o644, file(content));
    match root.insert(path.clone(), entry) {
        None => Ok(()),
        Some(_) => Err(ImageError::Layout {
            line: 0,
            reason: format!("{path} is needed for the modules"),
        }),
    }
}

fn file(bytes: Cow<'_, [u8]>) -> Content<'_> {
    Content::File(FileContent::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::tree::{TreeBuilder, tests::shown};
    use super::*;

    fn bytes(bytes: &'static [u8]) -> RootEntry<'static> {
        RootEntry::of_root(0o644, file(bytes.into()))
    }

    fn link(target: &str) -> RootEntry<'static> {
        RootEntry::of_root(0o777, Content::Link(target.to_owned()))
    }

    fn tree(entries: &[(&str, RootEntry<'static>)]) -> Root<'static> {
        let mut builder = TreeBuilder::default();
        for (path, entry) in entries {
            builder.put(path, entry.clone()).unwrap();
        }
        builder.finish().root
    }

    #[test]
    fn files_of_a_tree_replace_those_of_the_root_and_its_directories_stay() {
        let mut root = tree(&[("/bin/sh", bytes(b"old")), ("/usr/bin", link("../bin"))]);
        let tmp = RootEntry::of_root(0o1777, Content::Directory);
        root.insert("/tmp".into(), tmp);
        let added = tree(&[
            ("/tmp/a", bytes(b"a")),
            ("/usr/bin/sh", bytes(b"new")),
            ("/srv/b", bytes(b"b")),
        ]);
        merge(&mut root, added).unwrap();
        assert_eq!(root["/tmp"].mode, 0o1777);
        assert_eq!(
            shown(&root),
            [
                "/bin/",
                "/bin/sh: new",
                "/srv/",
                "/srv/b: b",
                "/tmp/",
                "/tmp/a: a",
                "/usr/",
                "/usr/bin -> ../bin"
            ]
        );
    }

    #[test]
    fn file_with_two_names_keeps_both_also_where_a_link_leads_elsewhere() {
        let mut builder = TreeBuilder::default();
        let inode = builder.put("/a/f", bytes(b"f")).unwrap();
        builder.name("/b", inode).unwrap();
        let inode = builder.put("/c", bytes(b"c")).unwrap();
        builder.name("/d", inode).unwrap();
        let mut root = tree(&[("/a", link("z")), ("/z/x", bytes(b"x"))]);
        merge(&mut root, builder.finish().root).unwrap();
        assert_eq!(
            shown(&root),
            [
                "/a -> z", "/b: f", "/c: c", "/d = /c", "/z/", "/z/f: f", "/z/x: x"
            ]
        );
    }

    #[test]
    fn second_name_that_a_link_leads_before_the_first_is_a_file_of_its_own() {
        let mut builder = TreeBuilder::default();
        let inode = builder.put("/opt/f", bytes(b"f")).unwrap();
        builder.name("/usr/bin/f", inode).unwrap();
        let mut root = tree(&[("/bin/x", bytes(b"x")), ("/usr/bin", link("../bin"))]);
        merge(&mut root, builder.finish().root).unwrap();
        assert_eq!(
            shown(&root),
            [
                "/bin/",
                "/bin/f: f",
                "/bin/x: x",
                "/opt/",
                "/opt/f: f",
                "/usr/",
                "/usr/bin -> ../bin"
            ]
        );
    }

    #[test]
    fn tree_with_a_file_for_a_directory_is_refused() {
        let mut root = tree(&[("/bin/sh", bytes(b"old"))]);
        assert!(merge(&mut root, tree(&[("/bin", bytes(b"x"))])).is_err());
        assert!(merge(&mut root, tree(&[("/bin/sh/x", bytes(b"x"))])).is_err());
    }
}
