//! A regular file's bytes: in memory, in a file of this machine, or in a part of one.
//!
//! Owns reading them once more for each writer, so that a root of gigabytes is never in memory whole.

use super::regular;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a regular file's bytes are.
#[derive(Clone, Debug)]
pub enum FileContent<'input> {
    /// In memory.
    Bytes(Cow<'input, [u8]>),
    /// A file of this machine, as long as it was when it was looked at.
    Path {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// A part of an opened file, an archive for instance.
    Part {
        /// The whole.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
}

impl FileContent<'_> {
    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Path { length, .. } | Self::Part { length, .. } => *length,
        }
    }

    /// A reader from its beginning, which gives [`FileContent::length`] bytes or an error.
    ///
    /// # Errors
    /// Where the file is no longer there, or no regular file any more.
    pub fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        let length = self.length();
        let source: Box<dyn Read + '_> = match self {
            Self::Bytes(bytes) => Box::new(bytes.as_ref()),
            Self::Path { path, .. } => Box::new(regular::open(path)?),
            Self::Part { file, offset, .. } => Box::new(PartReader {
                file,
                position: *offset,
            }),
        };
        Ok(Box::new(Exactly {
            source,
            left: length,
        }))
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// As [`FileContent::reader`], and where it is shorter than it was.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        if let Self::Bytes(bytes) = self {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

struct PartReader<'file> {
    file: &'file File,
    position: u64,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Ends after a number of bytes, and tells where the source ends before that: a file that shrinks
/// while it is packed must not shift what comes after it.
struct Exactly<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = buffer.len().min(limit);
        if length == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..length])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it has become shorter while it was read",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_from_memory_a_file_and_a_part_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"..hello..").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let part = FileContent::Part {
            file,
            offset: 2,
            length: 5,
        };
        std::fs::write(folder.path().join("g"), b"hello").unwrap();
        let whole = FileContent::Path {
            path: folder.path().join("g"),
            length: 5,
        };
        for content in [FileContent::Bytes(b"hello"[..].into()), part, whole] {
            assert_eq!(content.length(), 5);
            assert_eq!(content.bytes().unwrap().as_ref(), b"hello");
        }
    }

    #[test]
    fn file_that_has_become_shorter_is_an_error_and_one_that_has_grown_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"12345").unwrap();
        let of_length = |length| FileContent::Path {
            path: path.clone(),
            length,
        };
        assert_eq!(of_length(3).bytes().unwrap().as_ref(), b"123");
        let error = of_length(6).bytes().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
