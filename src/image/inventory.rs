//! What a root holds, as a text to read and to compare: a line a path.
//!
//! Owns the description of an entry: everything that a writer makes of it, and nothing else. Two roots
//! with the same inventory give the same bytes, so an identity for the root is derived from it.

use super::content::FileContent;
use super::root::{Content, Root, RootEntry};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;

/// A root's inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    text: String,
}

impl Inventory {
    /// Describes a root; reads every file in it once.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of(root: &Root<'_>) -> io::Result<Self> {
        let mut text = String::new();
        for (path, entry) in root {
            let content = content_of(&entry.content)?;
            let RootEntry { mode, uid, gid, .. } = entry;
            let path = escaped(path);
            let _ = write!(text, "{path}\t{mode:04o} {uid}:{gid} {content}");
            for (name, value) in &entry.attributes {
                let _ = write!(text, " {}={}", escaped(name), hexadecimal(value));
            }
            text.push('\n');
        }
        Ok(Self { text })
    }

    /// The text: `PATH`, a tab, `MODE UID:GID KIND DETAILS` and extended attributes in hexadecimal, in
    /// the order of the paths. Blanks and what is not printable are escaped in paths.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A UUID that follows from the content alone (RFC 9562, version 8).
    #[must_use]
    pub fn uuid(&self) -> String {
        let digest = Sha256::digest(&self.text);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0F | 0x80;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let digits = hexadecimal(&bytes);
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
        parts.join("-")
    }
}

fn content_of(content: &Content<'_>) -> io::Result<String> {
    Ok(match content {
        Content::Directory => "directory".to_owned(),
        Content::CharacterDevice(number) => {
            format!("character-device {}:{}", number.major, number.minor)
        }
        Content::BlockDevice(number) => format!("block-device {}:{}", number.major, number.minor),
        Content::Pipe => "pipe".to_owned(),
        Content::Link(target) => format!("link {}", escaped(target)),
        Content::HardLink(original) => format!("hard-link {}", escaped(original)),
        Content::File(content) => format!("file {} {}", content.length(), sha256_of(content)?),
    })
}

fn sha256_of(content: &FileContent<'_>) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut content.reader()?, &mut digest)?;
    Ok(hexadecimal(&digest.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            ' ' => escaped.push_str("\\x20"),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_a_line_with_all_that_a_writer_makes_of_it() {
        let file = Content::File(FileContent::Bytes(b"abc"[..].into()));
        let mut capable = RootEntry::of_root(0o755, file);
        (capable.uid, capable.gid) = (1, 2);
        capable
            .attributes
            .insert("security.capability".to_owned(), vec![1, 0xAB]);
        let root = Root::from([
            ("/a b".to_owned(), capable),
            (
                "/l".to_owned(),
                RootEntry::of_root(0o777, Content::Link("x\ny".to_owned())),
            ),
        ]);
        let inventory = Inventory::of(&root).unwrap();
        assert_eq!(
            inventory.text(),
            "/a\\x20b\t0755 1:2 file 3 \
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad \
             security.capability=01ab\n\
             /l\t0777 0:0 link x\\ny\n"
        );
    }

    #[test]
    fn uuid_follows_from_the_content_and_has_its_version() {
        let uuid = |mode| {
            let root = Root::from([(
                "/d".to_owned(),
                RootEntry::of_root(mode, Content::Directory),
            )]);
            Inventory::of(&root).unwrap().uuid()
        };
        assert_eq!(uuid(0o755), uuid(0o755));
        assert_ne!(uuid(0o755), uuid(0o700));
        let uuid = uuid(0o755);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"));
        assert!("89ab".contains(&uuid[19..20]));
    }
}
