//! Putting something at a path of a root that is there.
//!
//! Owns the way to that path, through directories and links or made anew, and what becomes of what stood
//! there: the file goes on under its other names.

use super::root::{Content, Root, RootEntry};
use super::tree_path::{Place, follow, join, split};

const DIRECTORY_MODE: u32 = 0o755;

/// A directory that a tree does not have, or that is needed for the agent.
pub(super) fn directory() -> RootEntry<'static> {
    RootEntry::of_root(DIRECTORY_MODE, Content::Directory)
}

/// What stands at a path, as far as the way through it needs it; the root is a directory, whatever is said of it.
pub(super) fn place_of<'tree>(path: &str, entry: Option<&'tree RootEntry<'_>>) -> Place<'tree> {
    match entry.map(|entry| &entry.content) {
        Some(Content::Directory) => Place::Directory,
        Some(Content::Link(target)) => Place::Link(target),
        Some(_) => Place::Other,
        None if path == "/" => Place::Directory,
        None => Place::Missing,
    }
}

/// A path's directories from the root's first one down, and itself.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    let ends = ends.chain(std::iter::once(path.len()));
    ends.map(|end| &path[..end])
        .filter(|above| !above.is_empty() && *above != "/")
}

/// Where a path leads in a root, every link followed.
///
/// # Errors
/// As [`follow`].
pub(super) fn follow_in(root: &Root<'_>, path: &str) -> Result<String, String> {
    follow(|path| place_of(path, root.get(path)), path)
}

/// Puts an entry at a path of a root in place of what stands there, directories on the way being made
/// or followed, and says at which path in the end.
///
/// # Errors
/// Where a directory stands there, or the way is none; as the end of a sentence that begins with the
/// tree.
pub(super) fn place<'input>(
    root: &mut Root<'input>,
    path: &str,
    entry: RootEntry<'input>,
) -> Result<String, String> {
    let (directory_path, name) = split(path).unwrap_or(("/", ""));
    let above = follow_in(root, directory_path)?;
    for path in ancestors(&above) {
        match place_of(path, root.get(path)) {
            Place::Directory => {}
            Place::Missing => drop(root.insert(path.to_owned(), directory())),
            Place::Link(_) | Place::Other => {
                return Err(format!("has {path}, which is no directory"));
            }
        }
    }
    let path = join(&above, name);
    if let Some(Content::Directory) = root.get(&path).map(|entry| &entry.content) {
        return Err(format!("has a directory at {path}"));
    }
    if let Some(old) = root.insert(path.clone(), entry) {
        keep_other_names(root, &path, old);
    }
    Ok(path)
}

/// The file that stood at `path` goes on under the first of its other names.
fn keep_other_names<'input>(root: &mut Root<'input>, path: &str, old: RootEntry<'input>) {
    let Content::File(_) = old.content else {
        return;
    };
    let is_other_name =
        |entry: &RootEntry<'_>| matches!(&entry.content, Content::HardLink(to) if to == path);
    let others = root.iter_mut().filter(|(_, entry)| is_other_name(entry));
    let mut first: Option<String> = None;
    for (name, entry) in others {
        match &first {
            None => {
                entry.content = old.content.clone();
                first = Some(name.clone());
            }
            Some(first) => entry.content = Content::HardLink(first.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::FileContent;
    use super::super::tree::{TreeBuilder, tests::shown};
    use super::*;

    fn file(bytes: &'static [u8]) -> RootEntry<'static> {
        RootEntry::of_root(0o644, Content::File(FileContent::Bytes(bytes.into())))
    }

    fn link(target: &str) -> RootEntry<'static> {
        RootEntry::of_root(0o777, Content::Link(target.to_owned()))
    }

    #[test]
    fn what_is_placed_makes_its_directories_and_leaves_a_files_other_names() {
        let mut builder = TreeBuilder::default();
        let inode = builder.put("/usr/local/bin/agent", file(b"old")).unwrap();
        builder.name("/x", inode).unwrap();
        builder.name("/y", inode).unwrap();
        let mut root = builder.finish().root;
        assert_eq!(
            place(&mut root, "/usr/local/bin/agent", file(b"new")).unwrap(),
            "/usr/local/bin/agent"
        );
        assert_eq!(
            shown(&root)[3..],
            ["/usr/local/bin/agent: new", "/x: old", "/y = /x"]
        );
        root.insert("/opt".into(), link("/x"));
        assert!(place(&mut root, "/opt/f", file(b"")).is_err());
        assert!(place(&mut root, "/usr/local", file(b"")).is_err());
    }
}
