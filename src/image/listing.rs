//! The entries of a root as text, one line of words each: what two roots are compared by.
//!
//! Owns the words (`kind=file mode=0755 owner=0:0 size=3 sha256=…`), the inventory of an image, which is
//! such a text, and reading an initramfs into them. No word holds a blank, whatever a link's target or an attribute holds.

use super::manifest::FileSum;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use crate::cancel::Cancel;
use crate::checksum::sum_of;
use crate::printable::printable;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// How many entries an initramfs may have.
const MAX_INITRAMFS_ENTRIES: usize = 1_000_000;
/// The longest target of a link in an initramfs, in bytes.
const MAX_TARGET_BYTES: u64 = 64 * 1024;
const MODE_KIND: u32 = 0o170_000;

/// What stands at each path.
pub type Listing = BTreeMap<String, String>;

/// The listing of a root.
///
/// # Errors
/// Where a file can no longer be read, and where it was cancelled.
pub fn of_root(root: &Root<'_>, cancel: &Cancel) -> io::Result<Listing> {
    let lines = root.iter().map(|(path, entry)| {
        let line = of_entry(entry, cancel).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{} in it cannot be read ({error})", printable(path)),
            )
        })?;
        Ok((path.clone(), line))
    });
    lines.collect()
}

/// What is said of an entry.
///
/// # Errors
/// Where a file can no longer be read, and where it was cancelled.
fn of_entry(entry: &RootEntry<'_>, cancel: &Cancel) -> io::Result<String> {
    let (kind, more) = match &entry.content {
        Content::Directory => ("directory", String::new()),
        Content::CharacterDevice(number) => ("character-device", device(*number)),
        Content::BlockDevice(number) => ("block-device", device(*number)),
        Content::Pipe => ("pipe", String::new()),
        Content::Link(target) => ("link", format!(" target={}", word(target))),
        Content::HardLink(original) => ("hard-link", format!(" target={}", word(original))),
        Content::File(content) => (
            "file",
            sum(&FileSum::of_reader(cancel.reader(content.reader()?))?),
        ),
    };
    let mut line = words(kind, entry.mode, entry.uid, entry.gid) + &more;
    for (name, value) in &entry.attributes {
        let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        // The first '=' of a word ends its key.
        line.push_str(&format!(" {}={value}", word(name).replace('=', "\\u{3d}")));
    }
    Ok(line)
}

/// The listing of a `newc` cpio archive.
///
/// # Errors
/// The reader's, and where it gives no such archive, or more than one: a kernel unpacks one after another,
/// but where the second begins, and how it is packed, is a matter of its own.
pub fn of_initramfs(mut archive: impl Read) -> io::Result<Listing> {
    let mut listing = Listing::new();
    while listing.len() < MAX_INITRAMFS_ENTRIES {
        let mut reader = cpio::newc::Reader::new(archive)?;
        let entry = reader.entry().clone();
        if entry.is_trailer() {
            if entry.file_size() > 0 {
                return Err(io::Error::other(
                    "its end says that content follows, which no archive's does; it is cut or damaged",
                ));
            }
            return check_is_end(reader.finish()?).map(|()| listing);
        }
        let number = DeviceNumber {
            major: entry.rdev_major(),
            minor: entry.rdev_minor(),
        };
        let (kind, more) = match entry.mode() & MODE_KIND {
            0o040_000 => ("directory", String::new()),
            0o020_000 => ("character-device", device(number)),
            0o060_000 => ("block-device", device(number)),
            0o010_000 => ("pipe", String::new()),
            0o120_000 => {
                let mut target = Vec::new();
                reader
                    .by_ref()
                    .take(MAX_TARGET_BYTES)
                    .read_to_end(&mut target)?;
                let target = String::from_utf8_lossy(&target).into_owned();
                ("link", format!(" target={}", word(&target)))
            }
            _ => ("file", sum(&FileSum::of_reader(&mut reader)?)),
        };
        let line = words(kind, entry.mode() & !MODE_KIND, entry.uid(), entry.gid()) + &more;
        // `find . | cpio -o` gives the names a dot.
        let name = entry
            .name()
            .trim_start_matches("./")
            .trim_start_matches('/');
        let name = if name == "." { "" } else { name };
        listing.insert(format!("/{name}"), line);
        archive = reader.finish()?;
    }
    Err(io::Error::other(format!(
        "it has more than {MAX_INITRAMFS_ENTRIES} entries"
    )))
}

/// Reads on to the end, over nothing but zeros.
fn check_is_end(mut rest: impl Read) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = rest.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(io::Error::other(
                "another archive stands behind its first one, as in those with microcode; take it apart and \
                 compare the parts",
            ));
        }
    }
}

/// A listing as a text: a path, a tab and its words, a line each. Paths are written as words are.
pub(super) fn text_of(listing: &Listing) -> String {
    let mut text = String::new();
    for (path, line) in listing {
        text.push_str(&format!("{}\t{line}\n", word(path)));
    }
    text
}

/// The listing in such a text.
///
/// # Errors
/// Where a line has no tab.
pub(super) fn parse(text: &str) -> io::Result<Listing> {
    let lines = text.lines().map(|line| {
        let (path, words) = line.split_once('\t').ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no inventory: a line has no tab",
            )
        })?;
        Ok((path.to_owned(), words.to_owned()))
    });
    lines.collect()
}

/// A UUID that follows from what a listing says alone (RFC 9562, version 8).
pub(super) fn uuid_of(listing: &Listing) -> String {
    let digest = sum_of(text_of(listing)).0;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    parts.join("-")
}

/// What is said of a file by its content alone.
pub(super) fn of_sum(content: &FileSum) -> String {
    format!("kind=file{}", sum(content))
}

/// A text as one word.
pub(super) fn word(text: &str) -> String {
    let mut word = String::new();
    for character in text.chars() {
        match character {
            '\\' => word.push_str("\\\\"),
            _ if character.is_whitespace() || character.is_control() => {
                word.extend(character.escape_unicode());
            }
            _ => word.push(character),
        }
    }
    word
}

fn words(kind: &str, mode: u32, uid: u32, gid: u32) -> String {
    format!("kind={kind} mode={mode:04o} owner={uid}:{gid}")
}

fn sum(content: &FileSum) -> String {
    format!(" size={} sha256={}", content.size, content.sha256)
}

fn device(number: DeviceNumber) -> String {
    format!(" device={}:{}", number.major, number.minor)
}

#[cfg(test)]
mod tests {
    use super::super::archive::initramfs;
    use super::super::content::FileContent;
    use super::*;

    #[test]
    fn root_and_its_initramfs_have_the_same_listing() {
        let number = DeviceNumber { major: 5, minor: 1 };
        let entry = |mode, content| RootEntry::of_root(mode, content);
        let root = Root::from([
            ("/d".to_owned(), entry(0o1777, Content::Directory)),
            (
                "/d/f".to_owned(),
                entry(0o600, Content::File(FileContent::Bytes(b"abc"[..].into()))),
            ),
            ("/l".to_owned(), entry(0o777, Content::Link("a b\\".into()))),
            (
                "/c".to_owned(),
                entry(0o600, Content::CharacterDevice(number)),
            ),
        ]);
        let listing = of_root(&root, &Cancel::new().unwrap()).unwrap();
        assert_eq!(
            listing["/d/f"],
            "kind=file mode=0600 owner=0:0 size=3 \
             sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            listing["/l"],
            "kind=link mode=0777 owner=0:0 target=a\\u{20}b\\\\"
        );
        let packed = initramfs(&root).unwrap();
        let archive = flate2::read::GzDecoder::new(packed.as_slice());
        assert_eq!(of_initramfs(archive).unwrap(), listing);
        let archive = flate2::read::GzDecoder::new(&packed[..packed.len() / 2]);
        assert!(of_initramfs(archive).is_err());
    }

    #[test]
    fn names_with_a_dot_are_the_same_and_a_second_archive_is_refused() {
        let archive_of = |name: &str| {
            let file = cpio::newc::Builder::new(name).mode(0o100_644);
            let mut writer = file.write(Vec::new(), 1);
            io::Write::write_all(&mut writer, b"x").unwrap();
            cpio::newc::trailer(writer.finish().unwrap()).unwrap()
        };
        let mut archive = archive_of("./a");
        let listing = of_initramfs(archive.as_slice()).unwrap();
        assert_eq!(listing.keys().collect::<Vec<_>>(), ["/a"]);
        assert_eq!(of_initramfs(archive_of("a").as_slice()).unwrap(), listing);
        archive.resize(archive.len().next_multiple_of(512), 0);
        assert_eq!(of_initramfs(archive.as_slice()).unwrap(), listing);
        archive.extend(archive_of("b"));
        let error = of_initramfs(archive.as_slice()).unwrap_err().to_string();
        assert!(error.contains("another archive stands behind"), "{error}");
    }

    #[test]
    fn archive_whose_end_promises_content_is_refused() {
        let mut archive = cpio::newc::trailer(Vec::new()).unwrap();
        assert!(of_initramfs(archive.as_slice()).unwrap().is_empty());
        // The size's last digit.
        archive[61] = b'8';
        for cut in [0, 8] {
            archive.resize(archive.len() + cut, 0);
            let error = of_initramfs(archive.as_slice()).unwrap_err().to_string();
            assert!(error.contains("content follows"), "{error}");
        }
    }

    #[test]
    fn attribute_with_an_equals_sign_in_its_name_is_told_from_others() {
        let line_of = |name: &str| {
            let mut entry = RootEntry::of_root(0o600, Content::Pipe);
            entry.attributes.insert(name.to_owned(), vec![1]);
            of_entry(&entry, &Cancel::new().unwrap()).unwrap()
        };
        assert!(line_of("user.a").ends_with(" user.a=01"));
        assert!(line_of("user.a=b").ends_with(" user.a\\u{3d}b=01"));
    }

    #[test]
    fn text_of_a_listing_is_read_back() {
        let listing = Listing::from([
            (
                "/a b".to_owned(),
                "kind=pipe mode=0600 owner=0:0".to_owned(),
            ),
            (
                "/c".to_owned(),
                "kind=directory mode=0755 owner=0:0".to_owned(),
            ),
        ]);
        let text = text_of(&listing);
        assert!(text.starts_with("/a\\u{20}b\tkind=pipe mode=0600 owner=0:0\n"));
        assert_eq!(parse(&text).unwrap().len(), 2);
        assert!(parse("/a kind=pipe\n").is_err());
    }

    #[test]
    fn uuid_follows_from_the_content_and_has_its_version() {
        let of = |words: &str| uuid_of(&Listing::from([("/d".to_owned(), words.to_owned())]));
        assert_eq!(of("mode=0755"), of("mode=0755"));
        assert_ne!(of("mode=0755"), of("mode=0700"));
        let uuid = of("mode=0755");
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"));
        assert!("89ab".contains(&uuid[19..20]));
    }
}
