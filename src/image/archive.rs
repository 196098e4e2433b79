//! A root as a compressed cpio archive, as the kernel unpacks it at boot.
//!
//! Owns the archive's order, inode numbers, owners and times, all of which follow from the list of
//! entries alone; the compressed form carries neither a name nor a time.

use super::ImageError;
use super::root::{Content, Root, RootEntry};
use flate2::{Compression, GzBuilder};
use std::borrow::Cow;
use std::io::{self, Write};

const KIND_DIRECTORY: u32 = 0o040_000;
const KIND_CHARACTER_DEVICE: u32 = 0o020_000;
const KIND_BLOCK_DEVICE: u32 = 0o060_000;
const KIND_PIPE: u32 = 0o010_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_LINK: u32 = 0o120_000;

/// The root as `newc` cpio (Documentation/driver-api/early-userspace/buffer-format.rst), gzipped.
///
/// # Errors
/// [`ImageError::Layout`] where a file is larger than the 4 GiB that the format can say.
pub fn initramfs(root: &Root<'_>) -> Result<Vec<u8>, ImageError> {
    write_archive(root)
        .and_then(|archive| compress(&archive))
        .map_err(|error| ImageError::Layout {
            line: 0,
            reason: format!("does not fit into a cpio archive: {error}"),
        })
}

fn write_archive(root: &Root<'_>) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (inode, (path, entry)) in (1..).zip(root) {
        archive = write_entry(archive, inode, path, root, entry)?;
    }
    cpio::newc::trailer(archive)
}

fn write_entry(
    archive: Vec<u8>,
    inode: u32,
    path: &str,
    root: &Root<'_>,
    entry: &RootEntry<'_>,
) -> io::Result<Vec<u8>> {
    let (kind, content) = match &entry.content {
        Content::Directory => (KIND_DIRECTORY, None),
        Content::CharacterDevice(_) => (KIND_CHARACTER_DEVICE, None),
        Content::BlockDevice(_) => (KIND_BLOCK_DEVICE, None),
        Content::Pipe => (KIND_PIPE, None),
        Content::Link(target) => (KIND_LINK, Some(target.as_bytes().into())),
        Content::File(content) => (KIND_FILE, Some(content.bytes()?)),
        Content::HardLink(original) => (KIND_FILE, Some(bytes_of(root, original)?)),
    };
    let bytes: Cow<'_, [u8]> = content.unwrap_or_default();
    let mut builder = cpio::newc::Builder::new(path.trim_start_matches('/'))
        .ino(inode)
        .mode(kind | entry.mode)
        .uid(entry.uid)
        .gid(entry.gid)
        .nlink(if kind == KIND_DIRECTORY { 2 } else { 1 });
    if let Content::CharacterDevice(number) | Content::BlockDevice(number) = entry.content {
        builder = builder.rdev_major(number.major).rdev_minor(number.minor);
    }
    let length = u32::try_from(bytes.len())
        .map_err(|_| io::Error::other(format!("{path} is larger than 4 GiB")))?;
    let mut writer = builder.write(archive, length);
    writer.write_all(&bytes)?;
    writer.finish()
}

/// The format's hard links are a riddle of order and counts, and one file too many in memory: the
/// other names become files of their own.
fn bytes_of<'root>(root: &'root Root<'_>, path: &str) -> io::Result<Cow<'root, [u8]>> {
    match root.get(path).map(|entry| &entry.content) {
        Some(Content::File(content)) => content.bytes(),
        _ => Err(io::Error::other(format!("{path} is no file to link to"))),
    }
}

fn compress(archive: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    encoder.write_all(archive)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::super::content::FileContent;
    use super::super::root::DeviceNumber;
    use super::*;
    use std::io::Read;

    fn entry(mode: u32, content: Content<'static>) -> RootEntry<'static> {
        RootEntry::of_root(mode, content)
    }

    #[test]
    fn archive_has_every_entry_in_order_with_its_owner_and_no_time() {
        let root = Root::from([
            (
                "/d/f".into(),
                entry(0o755, Content::File(FileContent::Bytes(b"abc"[..].into()))),
            ),
            (
                "/d".into(),
                RootEntry {
                    uid: 7,
                    gid: 8,
                    ..entry(0o1777, Content::Directory)
                },
            ),
            ("/d/l".into(), entry(0o777, Content::Link("f".into()))),
            (
                "/d/z".into(),
                entry(0o755, Content::HardLink("/d/f".into())),
            ),
            (
                "/d/c".into(),
                entry(
                    0o600,
                    Content::CharacterDevice(DeviceNumber { major: 5, minor: 1 }),
                ),
            ),
        ]);
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(initramfs(&root).unwrap().as_slice())
            .read_to_end(&mut archive)
            .unwrap();
        let mut rest = archive.as_slice();
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            let shown = reader.entry().clone();
            reader.read_to_string(&mut content).unwrap();
            assert_eq!(shown.mtime(), 0);
            seen.push(format!(
                "{} {} {:o} {}/{} {}:{} {content}",
                shown.ino(),
                shown.name(),
                shown.mode(),
                shown.uid(),
                shown.gid(),
                shown.rdev_major(),
                shown.rdev_minor()
            ));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            seen,
            [
                "1 d 41777 7/8 0:0 ",
                "2 d/c 20600 0/0 5:1 ",
                "3 d/f 100755 0/0 0:0 abc",
                "4 d/l 120777 0/0 0:0 f",
                "5 d/z 100755 0/0 0:0 abc"
            ]
        );
    }
}
