//! From layout and inputs to the sorted list of entries that every writer takes.
//!
//! Owns which bytes stand at which path. Owners are 0 and times are the epoch's beginning by
//! construction: an entry has no field for them.

use super::ImageError;
use super::layout::{Input, Layout, Node};
use super::modules::Module;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What stands at a path of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'input> {
    /// A directory.
    Directory,
    /// A character device.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A symbolic link with its target.
    Link(String),
    /// A regular file's bytes.
    File(Cow<'input, [u8]>),
}

/// One entry of the root, owned by user and group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootEntry<'input> {
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    /// What stands there.
    pub content: Content<'input>,
}

/// Entries by absolute path, sorted by its bytes: a directory comes before what it holds.
pub type Root<'input> = BTreeMap<String, RootEntry<'input>>;

/// Makes the list.
///
/// # Errors
/// [`ImageError::Read`] and [`ImageError::Layout`] for files beside the layout, the latter also where
/// the layout and the modules want the same path.
pub fn assemble<'input>(
    layout: &Layout,
    busybox: &'input [u8],
    agent: &'input [u8],
    modules: &'input [Module],
) -> Result<Root<'input>, ImageError> {
    let mut root = Root::new();
    for (path, entry) in &layout.entries {
        let content = match &entry.node {
            Node::Directory => Content::Directory,
            Node::Device { major, minor } => Content::Device {
                major: *major,
                minor: *minor,
            },
            Node::Link { target } => Content::Link(target.clone()),
            Node::File { source } => Content::File(layout.source(source)?),
            Node::Input(Input::Busybox) => Content::File(busybox.into()),
            Node::Input(Input::Agent) => Content::File(agent.into()),
        };
        let mode = entry.mode;
        root.insert(path.clone(), RootEntry { mode, content });
    }
    let mut list = String::new();
    for module in modules {
        list.push_str(&format!("{}.ko\n", module.name));
        let path = format!("{}/{}.ko", layout.modules_dir, module.name);
        add_file(&mut root, path, module.content.as_slice().into())?;
    }
    let list = Cow::Owned(list.into_bytes());
    add_file(&mut root, layout.modules_list.clone(), list)?;
    Ok(root)
}

fn add_file<'input>(
    root: &mut Root<'input>,
    path: String,
    content: Cow<'input, [u8]>,
) -> Result<(), ImageError> {
    let entry = RootEntry {
        mode: 0o644,
        content: Content::File(content),
    };
    match root.insert(path.clone(), entry) {
        None => Ok(()),
        Some(_) => Err(ImageError::Layout {
            line: 0,
            reason: format!("{path} is needed for the modules"),
        }),
    }
}
