//! Why an image cannot be made or used: one sentence each, with what to do.

use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::printable::printable;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why an image cannot be made or used.
#[derive(Debug)]
pub enum ImageError {
    /// A file or folder cannot be read.
    Read {
        /// What it is for, as a noun.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    Write {
        /// Where it should go.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of the layout says nothing that can be done.
    Layout {
        /// The line's number from 1; 0 where it is about the whole.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An input is not what it has to be.
    Unsuitable {
        /// What it is for, as a noun.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong, as the end of a sentence that begins with the input.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A tree of others' files cannot be taken as it is.
    Tree {
        /// The folder or archive.
        path: PathBuf,
        /// What is wrong and what to do, as the end of a sentence that begins with the tree.
        reason: String,
    },
    /// The caller asked for something that cannot be, whatever the files hold.
    WrongCall {
        /// What, and what to ask for instead.
        reason: String,
    },
    /// A module that the layout needs is missing.
    ModuleMissing {
        /// Its name.
        module: String,
        /// The folder that was searched.
        folder: PathBuf,
        /// The kernel's architecture.
        arch: Arch,
    },
    /// A program that makes file systems is not installed.
    ToolMissing {
        /// Its name.
        program: &'static str,
    },
    /// A program that makes file systems has failed.
    Tool {
        /// Its name.
        program: &'static str,
        /// What it said.
        reason: String,
    },
    /// The files do not fit on the disk.
    DiskTooSmall {
        /// The disk's size.
        size_mib: u32,
    },
    /// The layout has programs of packages, and no folder of them was given.
    PackagesMissing,
    /// The output folder holds something else than an image of ours.
    NotAnImage {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder holds an image of ours and something else.
    HoldsMore {
        /// The folder.
        path: PathBuf,
        /// What else it holds.
        name: OsString,
    },
    /// An image folder does not match its manifest.
    Mismatch {
        /// The image folder.
        path: PathBuf,
        /// What does not match.
        reason: String,
    },
    /// The caller gave up.
    Cancelled,
}

impl ImageError {
    /// The error, unless the caller gave up meanwhile: then it comes from that.
    pub(super) fn unless(self, cancel: &Cancel) -> Self {
        match cancel.is_cancelled() {
            true => Self::Cancelled,
            false => self,
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { what, path, .. } => {
                write!(formatter, "cannot read the {what} {}", shown(path))
            }
            Self::Write { path, .. } => write!(formatter, "cannot write {}", shown(path)),
            Self::Layout { line: 0, reason } => write!(formatter, "layout: {}", printable(reason)),
            Self::Layout { line, reason } => write!(formatter, "layout, line {line}: {}", printable(reason)),
            Self::Unsuitable {
                what,
                path,
                reason,
                remedy,
            } => write!(
                formatter,
                "the {what} {} {}; {remedy}",
                shown(path),
                printable(reason)
            ),
            Self::Tree { path, reason } => {
                write!(
                    formatter,
                    "the tree {} {}",
                    shown(path),
                    printable(reason)
                )
            }
            Self::WrongCall { reason } => formatter.write_str(reason),
            Self::ModuleMissing {
                module,
                folder,
                arch,
            } => write!(
                formatter,
                "{} has no {module}, neither as a module nor built in; take a kernel that has it, such \
                 as scripts/fetch-kernel.sh {arch} 6.12 fetches",
                shown(folder)
            ),
            Self::ToolMissing { program } => write!(
                formatter,
                "{program} is not installed, and makes the root's disk; install e2fsprogs"
            ),
            Self::Tool { program, reason } => write!(
                formatter,
                "{program} could not make the root's disk: {}",
                printable(reason)
            ),
            Self::DiskTooSmall { size_mib } => write!(
                formatter,
                "the root's files do not fit on a disk of {size_mib} MiB; make it larger with --disk-size"
            ),
            Self::PackagesMissing => formatter.write_str(
                "this layout takes programs or trees from a folder of packages; name it with --packages \
                 (scripts/fetch-ssh-packages.sh x86_64, or aarch64, fetches that of the ssh image)",
            ),
            Self::NotAnImage { path } => write!(
                formatter,
                "{} is there already and is no image of ours; name another folder or remove it",
                shown(path)
            ),
            Self::HoldsMore { path, name } => write!(
                formatter,
                "{} holds {name:?} beside an older image, which would be lost; name another folder or \
                 move it away",
                shown(path)
            ),
            Self::Mismatch { path, reason } => write!(
                formatter,
                "{} is no usable image: {}; build it again with smolctl image build",
                shown(path),
                printable(reason)
            ),
            Self::Cancelled => formatter.write_str("interrupted"),
        }
    }
}

/// A path, which whoever made a tree may have chosen.
fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_of_others_cannot_steer_the_terminal() {
        let path = PathBuf::from("/a\x1b[2J\nb");
        let reason = "needs \x1b]0;x\x07".to_owned();
        let said = [
            ImageError::Read {
                what: "tree",
                path: path.clone(),
                source: io::ErrorKind::NotFound.into(),
            },
            ImageError::Unsuitable {
                what: "kernel",
                path: path.clone(),
                reason: reason.clone(),
                remedy: "none".to_owned(),
            },
            ImageError::Layout { line: 0, reason },
            ImageError::NotAnImage { path },
        ];
        for error in said.map(|error| error.to_string()) {
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }
}
