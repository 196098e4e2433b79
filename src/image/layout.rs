//! The layout: which entries the root of an image has, as data in `images/<variant>/layout`.
//!
//! Owns the format, one entry a line; refuses whatever it does not know, so that a misspelt line is
//! an error and not a file that is missing in the guest. The layout names files that stand beside
//! it; the built-in one brings them along.
//!
//! ```text
//! dir     PATH MODE
//! node    PATH MODE MAJOR MINOR          a character device
//! link    PATH TARGET
//! links   DIR TARGET NAME...             a link to TARGET for each name
//! file    PATH MODE SOURCE               SOURCE stands beside the layout
//! input   PATH MODE busybox|agent        a file given to the builder
//! modules DIR LIST                       modules go to DIR, their load order to the file LIST
//! module  required|optional NAME
//! ```

use super::{ImageError, regular};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The minimal image's layout and the files that it names.
const MINIMAL: &str = include_str!("../../images/minimal/layout");
const MINIMAL_FILES: [(&str, &str); 5] = [
    ("group", include_str!("../../images/minimal/group")),
    ("hosts", include_str!("../../images/minimal/hosts")),
    ("passwd", include_str!("../../images/minimal/passwd")),
    ("profile", include_str!("../../images/minimal/profile")),
    ("shells", include_str!("../../images/minimal/shells")),
];

/// The largest layout that is read.
const MAX_LAYOUT_BYTES: u64 = 1024 * 1024;
/// The largest file beside a layout that is read.
const MAX_SOURCE_BYTES: u64 = 64 * 1024 * 1024;

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
    File {
        /// Its name there.
        source: String,
    },
    /// A file given to the builder.
    Input(Input),
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
    folder: Option<PathBuf>,
}

/// The variant of images from the built-in layout.
const MINIMAL_VARIANT: &str = "minimal";
/// The variant of images from any other: where its file lies is no part of the image.
const OTHER_VARIANT: &str = "custom";

impl Layout {
    /// The layout of the minimal image, built into this program.
    ///
    /// # Errors
    /// [`ImageError::Layout`]; a test keeps that from happening.
    pub fn minimal() -> Result<Self, ImageError> {
        Self::parse(MINIMAL, None)
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
        Self::parse(&text, Some(folder.to_owned()))
    }

    /// The variant of the images that this layout makes, as their manifests name it.
    #[must_use]
    pub fn variant(&self) -> &'static str {
        match self.folder {
            Some(_) => OTHER_VARIANT,
            None => MINIMAL_VARIANT,
        }
    }

    /// The content of the file `source`, which stands beside the layout.
    ///
    /// # Errors
    /// [`ImageError::Read`], or [`ImageError::Layout`] where the built-in layout has no such file.
    pub fn source(&self, source: &str) -> Result<Cow<'static, [u8]>, ImageError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(source);
            return regular::read(&path, MAX_SOURCE_BYTES)
                .map(Cow::Owned)
                .map_err(|source| ImageError::Read {
                    what: "layout's file",
                    path,
                    source,
                });
        }
        MINIMAL_FILES
            .iter()
            .find(|(name, _)| *name == source)
            .map(|(_, content)| Cow::Borrowed(content.as_bytes()))
            .ok_or_else(|| whole(format!("no file '{source}' is built in")))
    }

    fn parse(text: &str, folder: Option<PathBuf>) -> Result<Self, ImageError> {
        let mut layout = Self {
            entries: BTreeMap::new(),
            modules: Vec::new(),
            modules_dir: String::new(),
            modules_list: String::new(),
            folder,
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

    fn add(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            ["dir", path, mode] => self.insert(path, parse_mode(mode)?, Node::Directory),
            ["node", path, mode, major, minor] => {
                let node = Node::Device {
                    major: parse_number(major)?,
                    minor: parse_number(minor)?,
                };
                self.insert(path, parse_mode(mode)?, node)
            }
            ["link", path, target] => self.insert_link(path, target),
            ["links", dir, target, ref names @ ..] => names
                .iter()
                .try_for_each(|name| self.insert_link(&format!("{dir}/{name}"), target)),
            ["file", path, mode, source] => {
                if source.contains('/') {
                    return Err(format!("'{source}' does not stand beside the layout"));
                }
                let source = source.to_owned();
                self.insert(path, parse_mode(mode)?, Node::File { source })
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

    #[test]
    fn built_in_layout_parses_and_has_all_the_files_it_names() {
        let layout = Layout::minimal().unwrap();
        for entry in layout.entries.values() {
            if let Node::File { source } = &entry.node {
                assert!(!layout.source(source).unwrap().is_empty());
            }
        }
        assert!(layout.entries.contains_key("/init"));
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
        ] {
            let error = Layout::parse(&format!("# one\n{line}\n"), None).unwrap_err();
            assert!(
                matches!(error, ImageError::Layout { line: 2, .. }),
                "{line}"
            );
        }
    }

    #[test]
    fn entry_without_its_directory_is_an_error() {
        let error = Layout::parse("dir /m 0755\nmodules /m /m/l\nlink /b/sh x\n", None);
        assert_eq!(
            error.unwrap_err().to_string(),
            "layout: /b/sh stands in no directory"
        );
    }
}
