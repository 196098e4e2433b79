//! A root as a tar archive whose bytes follow from its entries alone.
//!
//! Owns the form: ustar with numbers for owners, no names of users, all times 0, entries in the order
//! of their paths; a pax header only before an entry that ustar cannot say (a long or not plain ASCII
//! name, a large number, an attribute).

use super::content::FileContent;
use super::root::{Content, DeviceNumber, Root, RootEntry};
use super::tar_members::attribute_key;
use crate::cancel::Cancel;
use crate::printable::printable;
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

const BLOCK_BYTES: usize = 512;
/// The largest numbers that ustar's fields of eight and twelve octal digits hold.
const MAX_USTAR_OWNER: u32 = 0o777_7777;
const MAX_USTAR_BYTES: u64 = 0o777_7777_7777;
const MAX_USTAR_LINK_BYTES: usize = 100;
/// How much of a file is in memory while it is copied.
const COPY_BYTES: usize = 256 * 1024;

/// Writes the archive, its end mark included.
///
/// # Errors
/// The sink's, those of files that can no longer be read, and `Interrupted` where it was cancelled.
pub(super) fn write(root: &Root<'_>, sink: &mut impl Write, cancel: &Cancel) -> io::Result<()> {
    for (path, entry) in root {
        let name = match (path.trim_start_matches('/'), &entry.content) {
            ("", _) => "./".to_owned(),
            (name, Content::Directory) => format!("{name}/"),
            (name, _) => name.to_owned(),
        };
        write_headers(&name, entry, sink)?;
        if let Content::File(content) = &entry.content {
            copy(path, content, sink, cancel)?;
            sink.write_all(padding(content.length()))?;
        }
    }
    sink.write_all(&[0; 2 * BLOCK_BYTES])
}

/// Copies a file's bytes.
///
/// # Errors
/// As [`write`].
pub(super) fn copy(
    path: &str,
    content: &FileContent<'_>,
    sink: &mut impl Write,
    cancel: &Cancel,
) -> io::Result<()> {
    let unreadable = |error| {
        let path = printable(path);
        io::Error::other(format!("{path} of the tree cannot be read ({error})"))
    };
    let mut reader = content.reader().map_err(unreadable)?;
    let mut buffer = vec![
        0;
        COPY_BYTES
            .min(usize::try_from(content.length()).unwrap_or(COPY_BYTES))
            .max(1)
    ];
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match reader.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(()),
            count => sink.write_all(&buffer[..count])?,
        }
    }
}

fn write_headers(name: &str, entry: &RootEntry<'_>, sink: &mut impl Write) -> io::Result<()> {
    let mut records = Records::default();
    let mut header = plain_header();
    header.set_mode(entry.mode);
    let uid = records.number("uid", entry.uid, MAX_USTAR_OWNER);
    let gid = records.number("gid", entry.gid, MAX_USTAR_OWNER);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    if !set_name(&mut header, name) {
        records.add("path", name.as_bytes());
    }
    let link = match &entry.content {
        Content::Link(target) => Some(target.as_str()),
        Content::HardLink(original) => Some(original.trim_start_matches('/')),
        _ => None,
    };
    if let Some(link) = link {
        match link.is_ascii() && link.len() <= MAX_USTAR_LINK_BYTES {
            true => header.set_link_name_literal(link)?,
            false => records.add("linkpath", link.as_bytes()),
        }
    }
    header.set_entry_type(kind(&entry.content));
    if let Content::CharacterDevice(number) | Content::BlockDevice(number) = &entry.content {
        set_device(&mut header, *number)?;
    }
    if let Content::File(content) = &entry.content {
        match content.length() {
            length if length <= MAX_USTAR_BYTES => header.set_size(length),
            length => records.add("size", length.to_string().as_bytes()),
        }
    }
    // Other names of a file have what the file has.
    if !matches!(entry.content, Content::HardLink(_)) {
        for (name, value) in &entry.attributes {
            records.add(&attribute_key(name), value);
        }
    }
    records.write(sink)?;
    header.set_cksum();
    sink.write_all(header.as_bytes())
}

fn plain_header() -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn kind(content: &Content<'_>) -> EntryType {
    match content {
        Content::Directory => EntryType::Directory,
        Content::CharacterDevice(_) => EntryType::Char,
        Content::BlockDevice(_) => EntryType::Block,
        Content::Pipe => EntryType::Fifo,
        Content::Link(_) => EntryType::Symlink,
        Content::HardLink(_) => EntryType::Link,
        Content::File(_) => EntryType::Regular,
    }
}

fn set_device(header: &mut Header, number: DeviceNumber) -> io::Result<()> {
    header.set_device_major(number.major)?;
    header.set_device_minor(number.minor)
}

/// Puts a name into the header, in two parts where it has to; says whether it fits. Where it does not,
/// its beginning stands there for programs that know no pax.
fn set_name(header: &mut Header, name: &str) -> bool {
    let Some(ustar) = header.as_ustar_mut() else {
        return false;
    };
    let bytes = name.as_bytes();
    let whole = ustar.name.len();
    let parts = if bytes.len() <= whole {
        Some((&b""[..], bytes))
    } else {
        // The first place that leaves a short enough end; the slash itself is in neither part.
        let from = bytes.len() - whole - 1;
        let slash = bytes[from..bytes.len() - 1]
            .iter()
            .position(|byte| *byte == b'/');
        slash
            .map(|at| (&bytes[..from + at], &bytes[from + at + 1..]))
            .filter(|(prefix, _)| !prefix.is_empty() && prefix.len() <= ustar.prefix.len())
    };
    let (prefix, end) = parts.unwrap_or((b"", &bytes[..whole.min(bytes.len())]));
    ustar.prefix[..prefix.len()].copy_from_slice(prefix);
    ustar.name[..end.len()].copy_from_slice(end);
    parts.is_some() && name.is_ascii()
}

/// The records of one pax header.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// The number for the header's own field; a record where that is too small.
    fn number(&mut self, key: &str, number: u32, largest: u32) -> u32 {
        if number <= largest {
            return number;
        }
        self.add(key, number.to_string().as_bytes());
        0
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        // A record's length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.bytes.extend(format!("{length} {key}=").bytes());
        self.bytes.extend(value);
        self.bytes.push(b'\n');
    }

    fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let mut header = plain_header();
        set_name(&mut header, "PaxHeaders");
        header.set_entry_type(EntryType::XHeader);
        header.set_size(self.bytes.len() as u64);
        header.set_cksum();
        sink.write_all(header.as_bytes())?;
        sink.write_all(&self.bytes)?;
        sink.write_all(padding(self.bytes.len() as u64))
    }
}

/// Zeros up to the next block.
fn padding(length: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let over = (length % BLOCK_BYTES as u64) as usize;
    &ZEROS[..(BLOCK_BYTES - over) % BLOCK_BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_names_that_ustar_holds_need_no_extension_header() {
        let named = |directory: usize, name: usize| {
            let path = format!("/{}/{}", "d".repeat(directory), "n".repeat(name));
            let root = Root::from([(path, RootEntry::of_root(0o600, Content::Pipe))]);
            let mut archive = Vec::new();
            write(&root, &mut archive, &Cancel::new().unwrap()).unwrap();
            archive.len() / BLOCK_BYTES
        };
        assert_eq!(named(155, 100), 1 + 2);
        assert_eq!(named(156, 100), 3 + 2);
        assert_eq!(named(155, 101), 3 + 2);
    }
}
