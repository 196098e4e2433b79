//! A tar archive as a tree.
//!
//! Owns finding out how the archive is packed (by its content, not by its name), unpacking it once to
//! a temporary file without a name, and the meaning of its members. Files' bytes stay in that file. What
//! unpacks xz keeps a whole block of it in memory, and most archives have one block.

use super::ImageError;
use super::content::FileContent;
use super::regular;
use super::root::{Content, DeviceNumber, RootEntry};
use super::tar_members::{Member, Members};
use super::tree::{TreeBuilder, keeps_attribute};
use super::tree_path::clean;
use crate::cancel::Cancel;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tar::EntryType;

/// The largest archive that is unpacked, in bytes: a few of its own can become very many.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024 * 1024;
const GZIP: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\0";
/// Ways of packing that are known and not unpacked.
const OTHERS: [(&[u8], &str); 3] = [
    (b"\x28\xb5\x2f\xfd", "zstd -d"),
    (b"BZh", "bunzip2"),
    (b"\x04\x22\x4d\x18", "lz4 -d"),
];

/// Reads the archive.
///
/// # Errors
/// [`ImageError::Read`], [`ImageError::Tree`], [`ImageError::Cancelled`]; [`ImageError::Write`] for the
/// temporary file.
pub(super) fn read(path: &Path, cancel: &Cancel) -> Result<TreeBuilder, ImageError> {
    let archive = Arc::new(open(path, cancel)?);
    let refused = |reason: String| ImageError::Tree {
        path: path.to_owned(),
        reason,
    };
    let mut members = Members::new(&archive).map_err(|error| refused(error.to_string()))?;
    let mut builder = TreeBuilder::default();
    let mut is_empty = true;
    loop {
        let member = match members.next() {
            Ok(Some(member)) => member,
            Ok(None) | Err(_) if is_empty && is_disk(&archive) => {
                return Err(refused(
                    "is a disk (ext4 or an older kind), which is not looked into; name the folder or archive \
                     that it was made from, or for a comparison the image folder that it belongs to"
                        .to_owned(),
                ));
            }
            Ok(None) => break,
            Err(reason) => return Err(refused(reason)),
        };
        if cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        add(&mut builder, &archive, member).map_err(refused)?;
        is_empty = false;
    }
    match is_empty {
        true => Err(refused("is an empty archive".to_owned())),
        false => Ok(builder),
    }
}

/// Whether it has the mark of an ext2, ext3 or ext4 file system (`s_magic`).
fn is_disk(file: &File) -> bool {
    let mut mark = [0; 2];
    file.read_exact_at(&mut mark, 1024 + 56).is_ok() && mark == [0x53, 0xEF]
}

fn add(builder: &mut TreeBuilder, archive: &Arc<File>, member: Member) -> Result<(), String> {
    let path = clean(&member.name)?;
    if member.is_sparse {
        return Err(format!(
            "has {path} with its holes left out; make the archive without --sparse"
        ));
    }
    let content = match member.header.entry_type() {
        EntryType::Link => return add_link(builder, &path, &member),
        EntryType::Directory => Content::Directory,
        // Before ustar, a directory was a file whose name ends so.
        EntryType::Regular if member.name.ends_with(b"/") => Content::Directory,
        EntryType::Regular | EntryType::Continuous => Content::File(FileContent::Part {
            file: Arc::clone(archive),
            offset: member.offset,
            length: member.length,
        }),
        EntryType::Symlink => Content::Link(
            String::from_utf8(member.link.clone())
                .map_err(|_| format!("has {path}, a link whose target is no UTF-8"))?,
        ),
        EntryType::Char => Content::CharacterDevice(number(&path, &member)?),
        EntryType::Block => Content::BlockDevice(number(&path, &member)?),
        EntryType::Fifo => Content::Pipe,
        other => {
            return Err(format!(
                "has {path} of the kind '{}', which no file system has",
                other.as_byte().escape_ascii()
            ));
        }
    };
    let broken = |_| format!("has a broken header for {path}");
    let mode = member.header.mode().map_err(broken)? & 0o7777;
    let is_link = matches!(content, Content::Link(_));
    let entry = RootEntry {
        // Linux has no other mode for links.
        mode: if is_link { 0o777 } else { mode },
        uid: owner(&path, member.uid)?,
        gid: owner(&path, member.gid)?,
        attributes: attributes(builder, &path, member.attributes),
        content,
    };
    builder.put(&path, entry).map(drop)
}

fn add_link(builder: &mut TreeBuilder, path: &str, member: &Member) -> Result<(), String> {
    let original = clean(&member.link)?;
    match builder.inode(&original) {
        Some(inode) if original != path => builder.name(path, inode),
        Some(_) => Ok(()),
        None => Err(format!(
            "has {path} as a link to {original}, which it does not have"
        )),
    }
}

fn attributes(
    builder: &mut TreeBuilder,
    path: &str,
    all: BTreeMap<String, Vec<u8>>,
) -> BTreeMap<String, Vec<u8>> {
    let (kept, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(name, _)| keeps_attribute(name));
    for name in others.keys() {
        builder.leave_out(&format!("the attribute {name}"), path);
    }
    kept
}

fn number(path: &str, member: &Member) -> Result<DeviceNumber, String> {
    let major = member.header.device_major().ok().flatten();
    let minor = member.header.device_minor().ok().flatten();
    match (major, minor) {
        (Some(major), Some(minor)) => Ok(DeviceNumber { major, minor }),
        _ => Err(format!("has {path}, a device without a number")),
    }
}

fn owner(path: &str, number: u64) -> Result<u32, String> {
    // The greatest of 32 bits means "no owner" to chown(2), and is none.
    u32::try_from(number)
        .ok()
        .filter(|owner| *owner != u32::MAX)
        .ok_or_else(|| format!("has {path}, whose owner {number} is too large"))
}

/// The archive itself, or a temporary file with what is packed in it.
fn open(path: &Path, cancel: &Cancel) -> Result<File, ImageError> {
    let read_error = |source| ImageError::Read {
        what: "tree",
        path: path.to_owned(),
        source,
    };
    let mut file = regular::open(path).map_err(read_error)?;
    let mut magic = Vec::new();
    let count = XZ.len() as u64;
    (&file)
        .take(count)
        .read_to_end(&mut magic)
        .map_err(read_error)?;
    file.rewind().map_err(read_error)?;
    let refused = |reason: String| ImageError::Tree {
        path: path.to_owned(),
        reason,
    };
    if let Some((_, command)) = OTHERS.iter().find(|(other, _)| magic.starts_with(other)) {
        return Err(refused(format!(
            "is packed in a way that is not known here; unpack it with {command}"
        )));
    }
    let packed = BufReader::new(file);
    if magic.starts_with(GZIP) {
        return unpacked(cancel, refused, |output| {
            io::copy(&mut flate2::bufread::MultiGzDecoder::new(packed), output)
                .map(drop)
                .map_err(|error| error.to_string())
        });
    }
    if magic.starts_with(XZ) {
        return unpacked(cancel, refused, |output| {
            lzma_rs::xz_decompress(&mut { packed }, output).map_err(|error| error.to_string())
        });
    }
    Ok(packed.into_inner())
}

/// A temporary file as large as it may be, which knows why writing to it failed.
struct Unpacked<'run> {
    file: BufWriter<File>,
    left: u64,
    cancel: &'run Cancel,
    failure: Option<ImageError>,
}

impl Write for Unpacked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failed = if self.cancel.is_cancelled() {
            ImageError::Cancelled
        } else if bytes.len() as u64 > self.left {
            temporary(io::Error::other(format!(
                "the archive holds more than {MAX_UNPACKED_BYTES} bytes"
            )))
        } else {
            match self.file.write(bytes) {
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) => temporary(error),
            }
        };
        self.failure = Some(failed);
        Err(io::Error::other("cannot be written"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn unpacked(
    cancel: &Cancel,
    refused: impl Fn(String) -> ImageError,
    unpack: impl FnOnce(&mut Unpacked<'_>) -> Result<(), String>,
) -> Result<File, ImageError> {
    let mut output = Unpacked {
        file: BufWriter::new(tempfile::tempfile().map_err(temporary)?),
        left: MAX_UNPACKED_BYTES,
        cancel,
        failure: None,
    };
    let done = unpack(&mut output);
    if let Some(failure) = output.failure {
        return Err(failure);
    }
    done.map_err(|error| {
        refused(format!(
            "cannot be unpacked ({error}); make or fetch it again"
        ))
    })?;
    output
        .file
        .into_inner()
        .map_err(|error| temporary(error.into_error()))
}

fn temporary(source: io::Error) -> ImageError {
    ImageError::Write {
        path: std::env::temp_dir(),
        source: io::Error::other(format!(
            "{source}; set TMPDIR to a folder with room for the unpacked archive"
        )),
    }
}
