//! One side of `smolctl cp` as typed: `-`, a path here, or `TARGET:PATH`.
//!
//! Owns where a word's target ends and its path begins. As with scp(1), a path here that has a colon is written
//! with a slash before it, as in `./a:b`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Standard input or output.
    Standard,
    /// A path here.
    Local(PathBuf),
    /// A path in a guest.
    Remote {
        /// The guest, as it is typed elsewhere.
        target: OsString,
        /// The path.
        path: OsString,
    },
}

impl Operand {
    /// Reads a word.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(crate) fn parse(word: &OsStr) -> Result<Self, String> {
        let bytes = word.as_bytes();
        if bytes.is_empty() {
            return Err("an empty word is neither a path here nor TARGET:PATH".to_owned());
        }
        if bytes == b"-" {
            return Ok(Self::Standard);
        }
        let Some(colon) = colon_of(bytes) else {
            return Ok(Self::Local(PathBuf::from(word)));
        };
        let shown = word.to_string_lossy();
        let Some(split) = colon else {
            return Err(format!(
                "'{shown}' names a guest and no path in it; write {shown}:/PATH"
            ));
        };
        let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let (target, path) = (owned(&bytes[..split]), owned(&bytes[split + 1..]));
        if path.is_empty() {
            return Err(format!(
                "the path in the guest is empty; write {shown}/PATH"
            ));
        }
        Ok(Self::Remote { target, path })
    }
}

/// Where the colon before a guest's path is: `None` for a path here, `Some(None)` for a guest without one.
fn colon_of(word: &[u8]) -> Option<Option<usize>> {
    let colon_from = |start: usize| {
        let found = word[start..].iter().position(|&byte| byte == b':');
        found.map(|at| start + at)
    };
    for kind in ["uds:", "unix:"] {
        if word.starts_with(kind.as_bytes()) {
            // The socket's own path may have colons, and an absolute path in the guest tells which one is meant.
            let start = kind.len();
            let absolute = word[start..].windows(2).position(|pair| pair == b":/");
            let last = word[start..].iter().rposition(|&byte| byte == b':');
            return Some(absolute.or(last).map(|at| start + at));
        }
    }
    if word.starts_with(b"cid:") {
        return Some(colon_from("cid:".len()));
    }
    let colon = colon_from(0)?;
    let is_here = word[..colon].contains(&b'/');
    (!is_here).then_some(Some(colon))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(target: &str, path: &str) -> Result<Operand, String> {
        let (target, path) = (target.into(), path.into());
        Ok(Operand::Remote { target, path })
    }

    #[test]
    fn words_are_told_apart() {
        let local = |path: &str| Ok(Operand::Local(path.into()));
        for (word, wanted) in [
            ("-", Ok(Operand::Standard)),
            ("a", local("a")),
            ("/a:b", local("/a:b")),
            ("./a:b", local("./a:b")),
            ("a/b:c", local("a/b:c")),
            ("vm1:/etc", remote("vm1", "/etc")),
            ("vm1:etc", remote("vm1", "etc")),
            ("vm1:/a:b", remote("vm1", "/a:b")),
            ("cid:3:/etc", remote("cid:3", "/etc")),
            ("uds:/run/v.sock:/etc", remote("uds:/run/v.sock", "/etc")),
            ("uds:/a:b/v:/etc/x:/y", remote("uds:/a:b/v", "/etc/x:/y")),
            ("unix:a.sock:b", remote("unix:a.sock", "b")),
        ] {
            assert_eq!(Operand::parse(word.as_ref()), wanted, "{word}");
        }
    }

    #[test]
    fn guests_without_a_path_are_refused() {
        for word in ["", "vm1:", "cid:3", "cid:3:", "uds:/run/v.sock", "unix:/a:"] {
            assert!(Operand::parse(word.as_ref()).is_err(), "{word}");
        }
    }
}
