//! From a layout and inputs to the list of entries.
//!
//! Owns which bytes stand at which path of an image that is built from a layout; all of it belongs to
//! user and group 0.

use super::ImageError;
use super::content::FileContent;
use super::layout::{Input, Layout, Node};
use super::modules::Module;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use std::borrow::Cow;

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
            Node::Device { major, minor } => Content::CharacterDevice(DeviceNumber {
                major: *major,
                minor: *minor,
            }),
            Node::Link { target } => Content::Link(target.clone()),
            Node::File { source } => file(layout.source(source)?),
            Node::Input(Input::Busybox) => file(busybox.into()),
            Node::Input(Input::Agent) => file(agent.into()),
        };
        root.insert(path.clone(), RootEntry::of_root(entry.mode, content));
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
