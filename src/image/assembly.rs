//! From a layout and inputs to the list of entries.
//!
//! Owns which bytes stand at which path of an image that is built from a layout; all of it belongs to
//! user and group 0.

use super::ImageError;
use super::content::FileContent;
use super::layout::{Input, Layout, Node};
use super::modules::Module;
use super::packages::{Needs, Packages};
use super::placing::place;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use std::borrow::Cow;

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
    Ok(root)
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
