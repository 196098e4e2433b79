//! One stream of a guest: what a script says to the host in it, and what is the command's or the file's.
//!
//! Owns the parts of such a stream. Whatever comes before the first marked line is noise (a shell's start-up files
//! talk), and is kept for a sentence only. Memory stays bounded by a mark's length, a word's and the noise's.

use super::script::Mark;
use std::io;

/// So much of what was said before the first mark is kept.
const MAX_NOISE_BYTES: usize = 1024;
/// A marked line has at most so many bytes after its mark.
const MAX_WORDS_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    /// Within a marked line, the last one or not.
    Line {
        is_last: bool,
    },
    Content,
    After,
}

/// One stream, read so far.
#[derive(Debug)]
pub(super) struct MarkedStream {
    mark: Vec<u8>,
    has_end: bool,
    place: Place,
    held: Vec<u8>,
    noise: Vec<u8>,
    first: Option<String>,
    last: Option<String>,
}

impl MarkedStream {
    /// A stream whose content lasts to its end.
    pub(super) fn with_beginning(mark: &Mark) -> Self {
        Self {
            mark: mark.bytes(),
            has_end: false,
            place: Place::Before,
            held: Vec::new(),
            noise: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// A stream whose content ends with a marked line. What somebody else says after that passes for content, too.
    pub(super) fn with_end(mark: &Mark) -> Self {
        Self {
            has_end: true,
            ..Self::with_beginning(mark)
        }
    }

    /// The words of the first marked line; `None` while it has not come.
    pub(super) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The words of the last marked line.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What was said before the first marked line.
    pub(super) fn noise(&self) -> String {
        String::from_utf8_lossy(&self.noise).trim().to_owned()
    }

    /// Takes bytes as they come, and hands on what of them is content.
    ///
    /// # Errors
    /// Those of `sink`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        while self.step(sink)? {}
        Ok(())
    }

    /// The stream has ended: what might have become a mark was none.
    ///
    /// # Errors
    /// Those of `sink`.
    pub(super) fn end(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Before => self.add_noise(&held),
            Place::Content if !held.is_empty() => sink(&held)?,
            Place::Content | Place::Line { .. } | Place::After => {}
        }
        Ok(())
    }

    /// Goes on as far as the held bytes lead; false where more are needed.
    fn step(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        match self.place {
            Place::Before => {
                let (passed, found) = self.up_to_mark();
                self.add_noise(&passed);
                if found {
                    self.place = Place::Line { is_last: false };
                }
                Ok(found)
            }
            Place::Line { is_last } => Ok(self.end_line(is_last)),
            Place::Content if self.has_end => {
                let (passed, found) = self.up_to_mark();
                if found {
                    self.place = Place::Line { is_last: true };
                }
                if !passed.is_empty() {
                    sink(&passed)?;
                }
                Ok(found)
            }
            Place::Content | Place::After => {
                let held = std::mem::take(&mut self.held);
                if !held.is_empty() {
                    sink(&held)?;
                }
                Ok(false)
            }
        }
    }

    fn end_line(&mut self, is_last: bool) -> bool {
        let end = self.held.iter().position(|&byte| byte == b'\n');
        let (end, next) = match end {
            Some(end) => (end, end + 1),
            None if self.held.len() > MAX_WORDS_BYTES => (MAX_WORDS_BYTES, MAX_WORDS_BYTES),
            None => return false,
        };
        let words = String::from_utf8_lossy(&self.held[..end.min(MAX_WORDS_BYTES)])
            .trim()
            .to_owned();
        self.held.drain(..next);
        if is_last {
            self.last = Some(words);
            self.place = Place::After;
        } else {
            self.first = Some(words);
            self.place = Place::Content;
        }
        true
    }

    /// Removes and gives what is before the mark, and the mark; where there is none, what cannot be the beginning
    /// of one.
    fn up_to_mark(&mut self) -> (Vec<u8>, bool) {
        let length = self.mark.len();
        let at = self
            .held
            .windows(length)
            .position(|window| window == self.mark);
        if let Some(at) = at {
            let mut passed: Vec<u8> = self.held.drain(..at + length).collect();
            passed.truncate(at);
            return (passed, true);
        }
        let longest = self.held.len().min(length - 1);
        let kept = (0..=longest)
            .rev()
            .find(|&kept| self.mark.starts_with(&self.held[self.held.len() - kept..]))
            .unwrap_or(0);
        let passed = self.held.drain(..self.held.len() - kept).collect();
        (passed, false)
    }

    fn add_noise(&mut self, bytes: &[u8]) {
        self.noise.extend_from_slice(bytes);
        let surplus = self.noise.len().saturating_sub(MAX_NOISE_BYTES);
        self.noise.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &mut MarkedStream, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut content = Vec::new();
        let mut sink = |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            Ok(())
        };
        for piece in bytes.chunks(piece) {
            stream.take(piece, &mut sink).unwrap();
        }
        stream.end(&mut sink).unwrap();
        content
    }

    fn text(mark: &Mark, template: &str) -> Vec<u8> {
        let mark = String::from_utf8(mark.bytes()).unwrap();
        template.replace("MARK", &mark).into_bytes()
    }

    #[test]
    fn noise_content_and_words_are_told_apart_in_any_split() {
        let mark = Mark::new().unwrap();
        let bytes = text(&mark, "hello\nMARK 644 3\nabc smolvm-ssh-0MARK 137\nlate");
        for piece in 1..bytes.len() {
            let mut stream = MarkedStream::with_end(&mark);
            let content = read(&mut stream, &bytes, piece);
            assert_eq!(content, b"abc smolvm-ssh-0late");
            assert_eq!(
                (stream.first(), stream.last()),
                (Some("644 3"), Some("137"))
            );
            assert_eq!(stream.noise(), "hello");
        }
    }

    #[test]
    fn content_without_an_end_may_have_the_mark() {
        let mark = Mark::new().unwrap();
        let mut stream = MarkedStream::with_beginning(&mark);
        let content = read(&mut stream, &text(&mark, "MARK\nMARK 0\n"), 7);
        assert_eq!(content, text(&mark, "MARK 0\n"));
        assert_eq!((stream.first(), stream.last()), (Some(""), None));
    }

    #[test]
    fn stream_that_never_has_a_mark_is_all_noise_and_kept_in_part() {
        let mut stream = MarkedStream::with_end(&Mark::new().unwrap());
        let content = read(&mut stream, &[b'x'; 5000], 999);
        assert!(content.is_empty());
        assert_eq!(stream.noise(), "x".repeat(MAX_NOISE_BYTES));
        assert_eq!(stream.first(), None);
    }

    #[test]
    fn stream_that_ends_within_what_might_be_a_mark_keeps_it() {
        let mark = Mark::new().unwrap();
        let mut stream = MarkedStream::with_end(&mark);
        let content = read(&mut stream, &text(&mark, "MARK\nabc smolvm-s"), 4);
        assert_eq!(content, b"abc smolvm-s");
    }
}
