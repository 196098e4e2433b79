//! The members of a tar archive, one after another, with all that their extension headers say.
//!
//! Owns the way through the archive: ustar, GNU's long names, and pax records by their lengths, so
//! that an attribute's value may be any bytes. Refuses archives that end early: one that was cut off
//! between two members looks whole but for its end mark.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tar::{EntryType, Header};

const BLOCK_BYTES: u64 = 512;
/// The longest extension header that is read: names, owners and attributes of one member.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;
/// What pax calls an extended attribute.
const PAX_ATTRIBUTE: &str = "SCHILY.xattr.";

/// The key of an extended attribute's record. An equals sign would end it; GNU tar's way out is kept to.
pub(super) fn attribute_key(name: &str) -> String {
    let name = name.replace('%', "%25").replace('=', "%3D");
    format!("{PAX_ATTRIBUTE}{name}")
}

/// One member.
pub(super) struct Member {
    /// Its header; what pax records say instead is in the other fields.
    pub(super) header: Header,
    /// Its name as it stands there.
    pub(super) name: Vec<u8>,
    /// What it links to, as it stands there.
    pub(super) link: Vec<u8>,
    /// Its owner's number.
    pub(super) uid: u64,
    /// Its group's number.
    pub(super) gid: u64,
    /// Every extended attribute.
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
    /// Whether holes were left out of its bytes.
    pub(super) is_sparse: bool,
    /// Where its bytes begin in the archive.
    pub(super) offset: u64,
    /// How many there are.
    pub(super) length: u64,
}

/// The members of an archive.
pub(super) struct Members<'archive> {
    archive: &'archive File,
    length: u64,
    position: u64,
    /// What a global header said about all members after it.
    shared: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What extension headers said about the member after them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'archive> Members<'archive> {
    /// Begins at the archive's first block.
    pub(super) fn new(archive: &'archive File) -> io::Result<Self> {
        Ok(Self {
            archive,
            length: archive.metadata()?.len(),
            position: 0,
            shared: BTreeMap::new(),
        })
    }

    /// The next member; `None` at the end mark.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>, String> {
        let mut extensions = Extensions {
            records: self.shared.clone(),
            ..Extensions::default()
        };
        while let Some(header) = self.header()? {
            let kind = header.entry_type();
            let length = match kind {
                // GNU tar leaves the size of the file there, and no bytes.
                EntryType::Link => 0,
                EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink => size(&header)?,
                _ => extensions.number(b"size").unwrap_or(Ok(size(&header)?))?,
            };
            let offset = self.position;
            self.skip(length, || shown(&header.path_bytes()))?;
            match kind {
                EntryType::XHeader => extensions
                    .records
                    .extend(pax(&self.extension(offset, length)?)?),
                EntryType::GNULongName => extensions.name = Some(self.text(offset, length)?),
                EntryType::GNULongLink => extensions.link = Some(self.text(offset, length)?),
                EntryType::XGlobalHeader => {
                    let records = pax(&self.extension(offset, length)?)?;
                    self.shared.extend(records.clone());
                    extensions.records.extend(records);
                }
                _ => return extensions.member(header, offset, length).map(Some),
            }
        }
        Ok(None)
    }

    fn header(&mut self) -> Result<Option<Header>, String> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        if self.position + BLOCK_BYTES > self.length {
            return Err(cut_off(self.position));
        }
        self.read(block, self.position)?;
        if block.iter().all(|byte| *byte == 0) {
            return self.check_end_mark().map(|()| None);
        }
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        let wanted = header.cksum().ok();
        if wanted != Some(sum - own + 8 * u32::from(b' ')) {
            return Err(match self.position {
                0 => "is no tar archive".to_owned(),
                at => format!("is a broken archive (no header at byte {at})"),
            });
        }
        self.position += BLOCK_BYTES;
        Ok(Some(header))
    }

    /// The end mark has two blocks of zeros, or ends the archive. One alone is a hole in it.
    fn check_end_mark(&self) -> Result<(), String> {
        let second = self.position + BLOCK_BYTES;
        if second + BLOCK_BYTES > self.length {
            return Ok(());
        }
        let mut block = [0; BLOCK_BYTES as usize];
        self.read(&mut block, second)?;
        match block.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(format!(
                "is a broken archive (nothing but zeros at byte {}, and more after them); make it again",
                self.position
            )),
        }
    }

    /// Steps over a member's bytes.
    fn skip(&mut self, length: u64, name: impl Fn() -> String) -> Result<(), String> {
        let padded = length.checked_next_multiple_of(BLOCK_BYTES);
        let end = padded.and_then(|padded| self.position.checked_add(padded));
        match end {
            Some(end) if end <= self.length => self.position = end,
            _ => return Err(format!("is cut off within {}; make it again", name())),
        }
        Ok(())
    }

    fn extension(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        if length > MAX_EXTENSION_BYTES {
            return Err(format!(
                "has an extension header of more than {MAX_EXTENSION_BYTES} bytes"
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn text(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let mut text = self.extension(offset, length)?;
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), String> {
        self.archive
            .read_exact_at(buffer, offset)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => cut_off(offset),
                _ => format!("cannot be read ({error})"),
            })
    }
}

impl Extensions {
    fn number(&self, key: &[u8]) -> Option<Result<u64, String>> {
        // An empty value takes a global one back (POSIX.1-2001, pax, "pax Extended Header").
        let value = self.records.get(key).filter(|value| !value.is_empty())?;
        let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        Some(number.ok_or_else(|| format!("has a broken record '{}'", key.escape_ascii())))
    }

    fn member(mut self, header: Header, offset: u64, length: u64) -> Result<Member, String> {
        let mut take = |key: &[u8]| self.records.remove(key).filter(|value| !value.is_empty());
        let name = take(b"path").or(self.name.take());
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = take(b"linkpath").or(self.link.take()).unwrap_or_else(|| {
            let link = header.link_name_bytes();
            link.map(|link| link.into_owned()).unwrap_or_default()
        });
        let broken = |_| format!("has a broken header for {}", shown(&name));
        let uid = self.number(b"uid");
        let uid = uid.unwrap_or_else(|| header.uid().map_err(broken))?;
        let gid = self.number(b"gid");
        let gid = gid.unwrap_or_else(|| header.gid().map_err(broken))?;
        let is_sparse = header.entry_type() == EntryType::GNUSparse
            || self
                .records
                .keys()
                .any(|key| key.starts_with(b"GNU.sparse."));
        let records = self.records.into_iter().filter_map(|(key, value)| {
            let key = String::from_utf8(key).ok()?;
            let name = key.strip_prefix(PAX_ATTRIBUTE)?;
            Some((name.replace("%3D", "=").replace("%25", "%"), value))
        });
        Ok(Member {
            uid,
            gid,
            attributes: records.collect(),
            is_sparse,
            name,
            link,
            header,
            offset,
            length,
        })
    }
}

/// `LENGTH KEY=VALUE\n` records (pax in POSIX.1-2001).
fn pax(mut bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let (record, rest) = split_record(bytes).ok_or("has a broken extension header")?;
        let equals = record.iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or("has a broken extension header")?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = rest;
    }
    Ok(records)
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
    let record = bytes.get(blank + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &bytes[length..]))
}

fn size(header: &Header) -> Result<u64, String> {
    let size = header.entry_size();
    size.map_err(|_| format!("has a broken header for {}", shown(&header.path_bytes())))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn cut_off(position: u64) -> String {
    format!("is cut off after {position} bytes, before its end mark; make it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_by_length_whatever_bytes_they_hold() {
        let records = pax(b"12 path=a\nb\n9 k=\n=\n\xff\n12 other=\n\n\n").unwrap();
        assert_eq!(records[&b"path"[..]], b"a\nb");
        assert_eq!(records[&b"k"[..]], b"\n=\n\xff");
        for broken in [&b"9 path=a"[..], b"x", b"999 a=b\n", b"6 abc\n", b"1 a=b\n"] {
            assert!(pax(broken).is_err(), "{}", broken.escape_ascii());
        }
    }
}
