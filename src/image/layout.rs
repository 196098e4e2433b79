//! The layout: which entries the root of an image has, as data in `images/<variant>/layout`.
//!
//! Owns the format, one entry a line; refuses whatever it does not know, so that a misspelt line is
//! an error and not a file that is missing in the guest. The layout names files that stand beside
//! it; the built-in ones ([`Variant`]) bring them along.
//!
//! ```text
//! include VARIANT                        every line of a built-in layout
//! disk    MIB                            the root is a disk of that size; the initramfs only leads to it
//! dir     PATH MODE
//! node    PATH MODE MAJOR MINOR          a character device
//! link    PATH TARGET
//! links   DIR TARGET NAME...             a link to TARGET for each name
//! file    PATH MODE SOURCE               SOURCE stands beside the layout
//! input   PATH MODE busybox|agent        a file given to the builder
//! program PATH MODE SOURCE               SOURCE in the packages' folder, with the libraries it needs
//! tree    SOURCE                         all of a folder or tar archive in the packages' folder; its files come in
//!                                        place of what stands at their paths
//! modules DIR LIST                       modules go to DIR, their load order to the file LIST
//! module  required|optional NAME
//! ```

use super::root::DeviceNumber;
use super::variant::Variant;
use super::{ImageError, regular};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest layout that is read.
const MAX_LAYOUT_BYTES: u64 = 1024 * 1024;
/// The largest file beside a layout that is read.
const MAX_SOURCE_BYTES: u64 = 64 * 1024 * 1024;

/// How large a disk can be, in MiB: below, nothing of use fits; above, a manifest's sums take minutes.
pub const DISK_MIB: std::ops::RangeInclusive<u32> = 16..=65_536;

/// Files that the builder is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The static busybox.
    Busybox,
    /// The guest agent.
    Agent,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A character device.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A symbolic link.
    Link {
        /// What it says.
        target: String,
    },
    /// A file that stands beside the layout.
    File(Source),
    /// A file given to the builder.
    Input(Input),
    /// A program of the packages' folder, which brings its loader and libraries along.
    Program {
        /// Its absolute path within the folder.
        source: String,
    },
}

/// Where a file that stands beside a layout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built into this program, as its layout is.
    BuiltIn(&'static str),
    /// On this machine.
    Path(PathBuf),
}

impl Source {
    /// Its bytes.
    ///
    /// # Errors
    /// [`ImageError::Read`].
    pub fn read(&self) -> Result<Cow<'static, [u8]>, ImageError> {
        match self {
            Self::BuiltIn(content) => Ok(Cow::Borrowed(content.as_bytes())),
            Self::Path(path) => regular::read(path, MAX_SOURCE_BYTES)
                .map(Cow::Owned)
                .map_err(|source| ImageError::Read {
                    what: "layout's file",
                    path: path.clone(),
                    source,
                }),
        }
    }
}

/// A path's node and permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutEntry {
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    /// What stands there.
    pub node: Node,
}

/// A kernel module that the guest should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedModule {
    /// Its name, with underscores.
    pub name: String,
    /// Whether an image without it is refused.
    pub required: bool,
}

/// A parsed layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Entries by absolute path, sorted by its bytes: a directory comes before what it holds.
    pub entries: BTreeMap<String, LayoutEntry>,
    /// Modules, in the order in which they are wanted.
    pub modules: Vec<WantedModule>,
    /// The directory that holds the modules.
    pub modules_dir: String,
    /// The file that lists them in load order.
    pub modules_list: String,
    /// Trees of the packages' folder that are put into the root, in this order.
    pub trees: Vec<String>,
    /// The size of the disk that the root is, in MiB; `None` where the initramfs is the root.
    pub disk_mib: Option<u32>,
    origin: Origin,
}

/// Where a layout comes from, and so the files that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    BuiltIn(Variant),
    Folder(PathBuf),
}

/// The variant of images from a layout that is not built in: where its file lies is no part of the
/// image.
const OTHER_VARIANT: &str = "custom";

impl Layout {
    /// A layout that is built into this program.
    ///
    /// # Errors
    /// [`ImageError::Layout`]; a test keeps that from happening.
    pub fn built_in(variant: Variant) -> Result<Self, ImageError> {
        Self::parse(variant.layout(), Origin::BuiltIn(variant))
    }

    /// A layout from a file; the files that it names stand beside it.
    ///
    /// # Errors
    /// [`ImageError::Read`] and [`ImageError::Layout`].
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let text =
            regular::read_text(path, MAX_LAYOUT_BYTES).map_err(|source| ImageError::Read {
                what: "layout",
                path: path.to_owned(),
                source,
            })?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, Origin::Folder(folder.to_owned()))
    }

    /// The variant of the images that this layout makes, as their manifests name it.
    #[must_use]
    pub fn variant(&self) -> &'static str {
        match &self.origin {
            Origin::BuiltIn(variant) => variant.name(),
            Origin::Folder(_) => OTHER_VARIANT,
        }
    }

    /// Whether something in it comes out of the packages' folder.
    #[must_use]
    pub fn has_programs(&self) -> bool {
        let mut nodes = self.entries.values().map(|entry| &entry.node);
        !self.trees.is_empty() || nodes.any(|node| matches!(node, Node::Program { .. }))
    }

    fn parse(text: &str, origin: Origin) -> Result<Self, ImageError> {
        let mut layout = Self {
            entries: BTreeMap::new(),
            modules: Vec::new(),
            modules_dir: String::new(),
            modules_list: String::new(),
            trees: Vec::new(),
            disk_mib: None,
            origin,
        };
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            layout.add(&words).map_err(|reason| ImageError::Layout {
                line: index + 1,
                reason,
            })?;
        }
        layout.check()?;
        Ok(layout)
    }

    /// Takes over every line of a built-in layout. Those include none that includes them.
    fn include(&mut self, name: &str) -> Result<(), String> {
        let variant: Variant = name.parse()?;
        let included = Self::built_in(variant).map_err(|error| error.to_string())?;
        for (path, entry) in included.entries {
            self.insert(&path, entry.mode, entry.node)?;
        }
        self.modules.extend(included.modules);
        self.modules_dir = included.modules_dir;
        self.modules_list = included.modules_list;
        self.trees.extend(included.trees);
        self.disk_mib = included.disk_mib;
        Ok(())
    }

    fn source(&self, name: &str) -> Result<Source, String> {
        if name.contains('/') {
            return Err(format!("'{name}' does not stand beside the layout"));
        }
        match &self.origin {
            Origin::Folder(folder) => Ok(Source::Path(folder.join(name))),
            Origin::BuiltIn(variant) => variant
                .file(name)
                .map(Source::BuiltIn)
                .ok_or_else(|| format!("no file '{name}' is built in")),
        }
    }

    fn add(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["include", name] => self.include(name),
            ["disk", size] => {
                let size = parse_number(size)?;
                check_disk_mib(size)?;
                self.disk_mib = Some(size);
                Ok(())
            }
            ["dir", path, mode] => self.insert(path, parse_mode(mode)?, Node::Directory),
            ["node", path, mode, major, minor] => {
                let (major, minor) = (parse_number(major)?, parse_number(minor)?);
                if !(DeviceNumber { major, minor }).is_possible() {
                    return Err(format!(
                        "Linux has no device with the number {major}:{minor}"
                    ));
                }
                self.insert(path, parse_mode(mode)?, Node::Device { major, minor })
            }
            ["link", path, target] => self.insert_link(path, target),
            ["links", dir, target, ref names @ ..] => names
                .iter()
                .try_for_each(|name| self.insert_link(&format!("{dir}/{name}"), target)),
            ["file", path, mode, source] => {
                let source = self.source(source)?;
                self.insert(path, parse_mode(mode)?, Node::File(source))
            }
            ["program", path, mode, source] => {
                let source = check_path(source)?.to_owned();
                self.insert(path, parse_mode(mode)?, Node::Program { source })
            }
            ["tree", source] => {
                self.trees.push(check_path(source)?.to_owned());
                Ok(())
            }
            ["input", path, mode, input] => {
                let input = match input {
                    "busybox" => Input::Busybox,
                    "agent" => Input::Agent,
                    _ => return Err(format!("unknown input '{input}'")),
                };
                self.insert(path, parse_mode(mode)?, Node::Input(input))
            }
            ["modules", dir, list] => {
                self.modules_dir = check_path(dir)?.to_owned();
                self.modules_list = check_path(list)?.to_owned();
                Ok(())
            }
            ["module", need @ ("required" | "optional"), name] => {
                self.modules.push(WantedModule {
                    name: name.replace('-', "_"),
                    required: need == "required",
                });
                Ok(())
            }
            _ => Err(format!("'{}' is no entry", words.join(" "))),
        }
    }

    fn insert(&mut self, path: &str, mode: u32, node: Node) -> Result<(), String> {
        let path = check_path(path)?;
        let entry = LayoutEntry { mode, node };
        match self.entries.insert(path.to_owned(), entry) {
            None => Ok(()),
            Some(_) => Err(format!("{path} stands here twice")),
        }
    }

    fn insert_link(&mut self, path: &str, target: &str) -> Result<(), String> {
        let target = target.to_owned();
        self.insert(path, 0o777, Node::Link { target })
    }

    /// Every path's directory is an entry, too.
    fn check(&self) -> Result<(), ImageError> {
        if self.modules_dir.is_empty() {
            return Err(whole("no 'modules' line says where modules go".to_owned()));
        }
        let extra = [&self.modules_list];
        for path in self.entries.keys().chain(extra) {
            let parent = &path[..path.rfind('/').unwrap_or(0)];
            let node = self.entries.get(parent).map(|entry| &entry.node);
            if !parent.is_empty() && node != Some(&Node::Directory) {
                return Err(whole(format!("{path} stands in no directory")));
            }
        }
        match self.entries.get(&self.modules_dir).map(|entry| &entry.node) {
            Some(Node::Directory) => Ok(()),
            _ => Err(whole(format!("{} is no directory", self.modules_dir))),
        }
    }
}

/// Checks a disk's size.
///
/// # Errors
/// Which sizes there are, as a sentence.
pub(super) fn check_disk_mib(size: u32) -> Result<(), String> {
    match DISK_MIB.contains(&size) {
        true => Ok(()),
        false => Err(format!(
            "a disk has {} to {} MiB, not {size}",
            DISK_MIB.start(),
            DISK_MIB.end()
        )),
    }
}

fn whole(reason: String) -> ImageError {
    ImageError::Layout { line: 0, reason }
}

/// Absolute, without empty parts, `.` and `..`.
fn check_path(path: &str) -> Result<&str, String> {
    let is_plain = |rest: &str| rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match path.strip_prefix('/') {
        Some(rest) if is_plain(rest) => Ok(path),
        _ => Err(format!("'{path}' is no plain absolute path")),
    }
}

fn parse_mode(mode: &str) -> Result<u32, String> {
    u32::from_str_radix(mode, 8)
        .ok()
        .filter(|&mode| mode <= 0o7777)
        .ok_or_else(|| format!("'{mode}' is no octal mode"))
}

fn parse_number(number: &str) -> Result<u32, String> {
    number
        .parse()
        .map_err(|_| format!("'{number}' is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Layout, ImageError> {
        Layout::parse(text, Origin::Folder("/layouts".into()))
    }

    #[test]
    fn built_in_layouts_parse_and_have_all_the_files_they_name() {
        for variant in Variant::ALL {
            let layout = Layout::built_in(variant).unwrap();
            for entry in layout.entries.values() {
                if let Node::File(source) = &entry.node {
                    assert!(!source.read().unwrap().is_empty());
                }
            }
            assert!(layout.entries.contains_key("/init"));
            assert_eq!(layout.disk_mib.is_some(), variant == Variant::Ssh);
        }
    }

    #[test]
    fn included_layout_gives_all_its_lines_and_each_path_once() {
        let layout = parse("include minimal\ndir /srv 0755\n").unwrap();
        let minimal = Layout::built_in(Variant::Minimal).unwrap();
        assert_eq!(layout.entries.len(), minimal.entries.len() + 1);
        assert_eq!(layout.modules, minimal.modules);
        assert_eq!(layout.variant(), "custom");
        let error = parse("include minimal\ndir /etc 0755\n").unwrap_err();
        assert!(error.to_string().contains("/etc stands here twice"));
    }

    #[test]
    fn lines_that_make_no_sense_are_errors_that_name_the_line() {
        for line in [
            "dir /a",
            "dir a 0755",
            "dir /a/../b 0755",
            "dir /a 0955",
            "file /a 0644 ../x",
            "input /a 0644 kernel",
            "module wanted x",
            "dri /a 0755",
            "node /a 0600 4096 1",
            "include maximal",
            "disk 1",
            "disk none",
            "program /a 0755 bin/a",
            "tree a",
            "tree /../a",
        ] {
            let error = parse(&format!("# one\n{line}\n")).unwrap_err();
            assert!(
                matches!(error, ImageError::Layout { line: 2, .. }),
                "{line}"
            );
        }
    }

    #[test]
    fn entry_without_its_directory_is_an_error() {
        let error = parse("dir /m 0755\nmodules /m /m/l\nlink /b/sh x\n");
        assert_eq!(
            error.unwrap_err().to_string(),
            "layout: /b/sh stands in no directory"
        );
    }
}
