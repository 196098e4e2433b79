//! A folder to write into, beside one that nothing may touch.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    Other,
}

/// Everything below a folder, by its path within it.
pub(crate) type Nodes = BTreeMap<PathBuf, Node>;

/// How the names of files that are not there yet begin.
pub(crate) const TEMPORARY: [&str; 2] = [".smolvm-put-", ".smolvm-get-"];

/// What stands outside, and its mode: a file's is no upload's.
const OUTSIDE: [(&str, u32); 3] = [("", 0o700), ("dir", 0o700), ("sentinel", 0o604)];

/// `root`, with a file, a folder and links out of it; `outside`, where those lead.
pub(crate) struct Scratch {
    folder: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let scratch = Self { folder };
        let (root, outside) = (scratch.root(), scratch.outside());
        for directory in [&root, &outside, &root.join("dir"), &outside.join("dir")] {
            fs::create_dir(directory).expect("the folder is new");
        }
        for (file, content) in [
            (root.join("file"), "old"),
            (outside.join("sentinel"), "sentinel"),
        ] {
            fs::write(file, content).expect("the folder is new");
        }
        for (link, target) in [
            ("link", "../outside"),
            ("dir/up", "../../outside"),
            ("file-link", "../outside/sentinel"),
            ("dangling", "../outside/new"),
        ] {
            symlink(target, root.join(link)).expect("the folder is new");
        }
        for (path, mode) in OUTSIDE {
            let path = outside.join(path);
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        }
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.path().join("outside")
    }

    /// Checks that nothing was written anywhere but below the root, and no temporary name is left there.
    pub(crate) fn check(&self, copies: &[&str]) {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .expect("it is there")
            .map(|entry| entry.expect("it is there").file_name())
            .filter(|name| !copies.iter().any(|copy| name == copy))
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["outside", "root"],
            "something was written beside the root"
        );
        // Before the directories' are reset, to the same.
        for (path, mode) in OUTSIDE {
            let found = fs::symlink_metadata(self.outside().join(path)).expect("it is there");
            assert_eq!(
                found.mode() & 0o7777,
                mode,
                "the mode of something outside was changed"
            );
        }
        let outside = nodes(&self.outside());
        let expected = [
            (PathBuf::from("dir"), Node::Directory),
            (PathBuf::from("sentinel"), Node::File(b"sentinel".to_vec())),
        ];
        assert_eq!(
            outside,
            Nodes::from(expected),
            "something was written outside"
        );
        for path in nodes(self.path()).into_keys() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_temporary = TEMPORARY.iter().any(|prefix| name.starts_with(prefix));
            assert!(!is_temporary, "{} is left", path.display());
        }
    }
}

/// Everything below a folder. Its directories become ones that can be read.
pub(crate) fn nodes(folder: &Path) -> Nodes {
    let mut nodes = Nodes::new();
    collect(folder, Path::new(""), &mut nodes);
    nodes
}

fn collect(folder: &Path, within: &Path, nodes: &mut Nodes) {
    let at = folder.join(within);
    fs::set_permissions(&at, Permissions::from_mode(0o700)).expect("it is ours");
    for entry in fs::read_dir(&at).expect("it can be read") {
        let path = within.join(entry.expect("it is there").file_name());
        let at = folder.join(&path);
        let found = fs::symlink_metadata(&at).expect("it is there");
        let node = if found.is_dir() {
            collect(folder, &path, nodes);
            Node::Directory
        } else if found.is_symlink() {
            Node::Link(fs::read_link(&at).expect("it is a link"))
        } else if found.is_file() {
            if found.mode() & 0o400 == 0 {
                fs::set_permissions(&at, Permissions::from_mode(0o600)).expect("it is ours");
            }
            Node::File(fs::read(&at).expect("it can be read"))
        } else {
            Node::Other
        };
        nodes.insert(path, node);
    }
}
