//! As much of ELF as an image needs: 64-bit, little-endian; machine, interpreter, one section.
//!
//! Owns no bytes and trusts no offset: whatever the file says is checked against its length, so that
//! a truncated file is an error here and not a guest that does not boot.

use crate::arch::Arch;
use std::fmt;

const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const SEGMENT_INTERPRETER: u32 = 3;
const SECTION_NO_BITS: u32 = 8;
const DYNAMIC_NEEDED: u64 = 1;

/// Why bytes are no ELF file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// The magic number is missing.
    NotElf,
    /// It is ELF, but 32-bit or big-endian.
    OtherClass,
    /// A header points behind the end of the file.
    Truncated,
}

impl fmt::Display for ElfError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotElf => "is no ELF file",
            Self::OtherClass => "is no 64-bit little-endian ELF file",
            Self::Truncated => "is a truncated ELF file",
        })
    }
}

impl std::error::Error for ElfError {}

/// An ELF file's bytes, its headers known to lie within them.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'file> {
    bytes: &'file [u8],
}

impl<'file> Elf<'file> {
    /// Looks at a file's bytes.
    ///
    /// # Errors
    /// [`ElfError`] where they are no 64-bit little-endian ELF file, or end too early.
    pub fn parse(bytes: &'file [u8]) -> Result<Self, ElfError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        if bytes.get(4..6) != Some(&[2, 1]) {
            return Err(ElfError::OtherClass);
        }
        let elf = Self { bytes };
        elf.slice(0, 64)?;
        for segment in elf.segments()? {
            elf.slice(u64_at(segment, 8), u64_at(segment, 32))?;
        }
        for section in elf.sections()? {
            elf.section_bytes(section)?;
        }
        Ok(elf)
    }

    /// The machine's name where it is one of ours.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        let machine = u16_at(self.bytes, 18);
        [Arch::X86_64, Arch::Aarch64]
            .into_iter()
            .find(|arch| arch.elf_machine() == machine)
    }

    /// Whether it is a program: an executable, position-independent or not, with an entry point.
    #[must_use]
    pub fn is_program(self) -> bool {
        matches!(u16_at(self.bytes, 16), TYPE_EXECUTABLE | TYPE_SHARED)
            && u64_at(self.bytes, 24) != 0
    }

    /// The dynamic loader that a program asks for; `None` where it is static.
    #[must_use]
    pub fn interpreter(self) -> Option<String> {
        let segment = self
            .segments()
            .ok()?
            .find(|segment| u32_at(segment, 0) == SEGMENT_INTERPRETER)?;
        let path = self.slice(u64_at(segment, 8), u64_at(segment, 32)).ok()?;
        let end = path.iter().position(|&byte| byte == 0);
        Some(String::from_utf8_lossy(&path[..end.unwrap_or(path.len())]).into_owned())
    }

    /// The content of the section `name`.
    #[must_use]
    pub fn section(self, name: &str) -> Option<&'file [u8]> {
        let names_index = usize::from(u16_at(self.bytes, 62));
        let names = self.section_bytes(self.sections().ok()?.nth(names_index)?);
        let names = names.ok()?;
        let section = self.sections().ok()?.find(|section| {
            names
                .get(u32_at(section, 0) as usize..)
                .and_then(|rest| rest.split(|&byte| byte == 0).next())
                == Some(name.as_bytes())
        })?;
        self.section_bytes(section).ok()
    }

    /// The libraries that it asks the dynamic loader for, in its order (`DT_NEEDED`).
    #[must_use]
    pub fn needed(self) -> Vec<String> {
        let names = self.section(".dynstr").unwrap_or_default();
        let name_at = |offset: u64| {
            let rest = names.get(usize::try_from(offset).ok()?..)?;
            let name = rest.split(|&byte| byte == 0).next()?;
            Some(String::from_utf8_lossy(name).into_owned())
        };
        let dynamic = self.section(".dynamic").unwrap_or_default();
        dynamic
            .chunks_exact(16)
            .filter(|entry| u64_at(entry, 0) == DYNAMIC_NEEDED)
            .filter_map(|entry| name_at(u64_at(entry, 8)))
            .collect()
    }

    fn segments(self) -> Result<std::slice::ChunksExact<'file, u8>, ElfError> {
        self.table(u64_at(self.bytes, 32), u16_at(self.bytes, 56), 56)
    }

    fn sections(self) -> Result<std::slice::ChunksExact<'file, u8>, ElfError> {
        self.table(u64_at(self.bytes, 40), u16_at(self.bytes, 60), 64)
    }

    fn section_bytes(self, section: &[u8]) -> Result<&'file [u8], ElfError> {
        if u32_at(section, 4) == SECTION_NO_BITS {
            return Ok(&[]);
        }
        self.slice(u64_at(section, 24), u64_at(section, 32))
    }

    fn table(
        self,
        offset: u64,
        count: u16,
        entry_bytes: usize,
    ) -> Result<std::slice::ChunksExact<'file, u8>, ElfError> {
        let length = usize::from(count) * entry_bytes;
        Ok(self.slice(offset, length as u64)?.chunks_exact(entry_bytes))
    }

    fn slice(self, offset: u64, length: u64) -> Result<&'file [u8], ElfError> {
        let end = offset.checked_add(length).ok_or(ElfError::Truncated)?;
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        range
            .and_then(|(start, end)| self.bytes.get(start..end))
            .ok_or(ElfError::Truncated)
    }
}

/// Little-endian numbers at an offset that the caller knows to be inside.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with one segment and one named section of the same content, for this and other tests.
    pub(crate) fn sample(
        machine: u16,
        segment_kind: u32,
        section: &str,
        content: &[u8],
    ) -> Vec<u8> {
        file_of(machine, segment_kind, &[(section, content)])
    }

    /// A program or library for x86_64 with that loader and those libraries.
    pub(crate) fn dynamic(loader: Option<&str>, libraries: &[&str]) -> Vec<u8> {
        let (mut names, mut entries) = (vec![0], Vec::new());
        for library in libraries {
            for number in [DYNAMIC_NEEDED, names.len() as u64] {
                entries.extend(number.to_le_bytes());
            }
            names.extend(library.bytes());
            names.push(0);
        }
        let (kind, loader) = match loader {
            Some(loader) => (SEGMENT_INTERPRETER, loader),
            None => (1, ""),
        };
        let sections: [(&str, &[u8]); 3] = [
            (".interp", loader.as_bytes()),
            (".dynstr", &names),
            (".dynamic", &entries),
        ];
        file_of(62, kind, &sections)
    }

    /// A file with named sections, and one segment that is the first of them.
    fn file_of(machine: u16, segment_kind: u32, sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = vec![0];
        // Name, place and length of each.
        let mut table = Vec::new();
        for (name, _) in sections {
            table.push((names.len(), 0, 0));
            names.extend(name.bytes());
            names.push(0);
        }
        let mut content = names.clone();
        for (row, (_, bytes)) in table.iter_mut().zip(sections) {
            (row.1, row.2) = (64 + 56 + content.len(), bytes.len());
            content.extend(*bytes);
        }
        let first = table[0];
        table.insert(0, (0, 64 + 56, names.len()));
        let mut file = Vec::new();
        file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend(2u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        for number in [0x40_0000u64, 64, 64 + 56 + content.len() as u64] {
            file.extend(number.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for number in [64u16, 56, 1, 64, table.len() as u16, 0] {
            file.extend(number.to_le_bytes());
        }
        file.extend(segment_kind.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        for number in [first.1 as u64, 0, 0, first.2 as u64, 0, 0] {
            file.extend(number.to_le_bytes());
        }
        file.extend(content);
        for (name, at, length) in table {
            file.extend((name as u32).to_le_bytes());
            file.extend(1u32.to_le_bytes());
            for number in [0u64, 0, at as u64, length as u64, 0, 0, 0] {
                file.extend(number.to_le_bytes());
            }
        }
        file
    }

    #[test]
    fn needed_libraries_are_told_in_order() {
        let file = dynamic(Some("/lib/ld.so"), &["libz.so.1", "libc.so.6"]);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.needed(), ["libz.so.1", "libc.so.6"]);
        assert_eq!(elf.interpreter().as_deref(), Some("/lib/ld.so"));
        let file = sample(62, 1, ".text", b"x");
        assert!(Elf::parse(&file).unwrap().needed().is_empty());
    }

    #[test]
    fn machine_interpreter_and_section_are_found() {
        let file = sample(183, 3, ".modinfo", b"/lib/ld.so\0");
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.arch(), Some(Arch::Aarch64));
        assert!(elf.is_program());
        assert_eq!(elf.interpreter().as_deref(), Some("/lib/ld.so"));
        assert_eq!(elf.section(".modinfo"), Some(&b"/lib/ld.so\0"[..]));
        assert_eq!(elf.section(".text"), None);
    }

    #[test]
    fn file_cut_anywhere_is_an_error_and_no_panic() {
        let file = sample(62, 1, ".modinfo", b"depends=\0");
        assert_eq!(Elf::parse(&file).unwrap().interpreter(), None);
        for length in 0..file.len() {
            assert!(Elf::parse(&file[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn scripts_and_32_bit_files_are_refused() {
        assert_eq!(Elf::parse(b"#!/bin/sh\n").unwrap_err(), ElfError::NotElf);
        assert_eq!(
            Elf::parse(b"\x7fELF\x01\x01").unwrap_err(),
            ElfError::OtherClass
        );
    }
}
