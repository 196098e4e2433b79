//! Errors of the operating system in the words that hosts in the field know.
//!
//! Owns the form of Python's `str(OSError)`: `[Errno 2] No such file or directory: '/x'`.

use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::text::shown;
use std::io;

/// Words of the GNU C library, which the agents of the field mostly had, where musl has others: for
/// the errors that files and processes can give.
const WORDS: [(i32, &str); 9] = [
    (libc::EIO, "Input/output error"),
    (libc::ENOMEM, "Cannot allocate memory"),
    (libc::EXDEV, "Invalid cross-device link"),
    (libc::EMFILE, "Too many open files"),
    (libc::ENAMETOOLONG, "File name too long"),
    (libc::ELOOP, "Too many levels of symbolic links"),
    (libc::EOVERFLOW, "Value too large for defined data type"),
    (libc::EOPNOTSUPP, "Operation not supported"),
    (libc::EDQUOT, "Disk quota exceeded"),
];

/// An error without a path.
pub(crate) fn sentence(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(number) = error.raw_os_error() else {
        return text;
    };
    let words = match WORDS.iter().find(|(known, _)| *known == number) {
        Some((_, words)) => words,
        None => text
            .strip_suffix(&format!(" (os error {number})"))
            .unwrap_or(&text),
    };
    format!("[Errno {number}] {words}")
}

/// An error about `path`.
pub(crate) fn sentence_about(error: &io::Error, path: &[u8]) -> String {
    format!("{}: {}", sentence(error), quoted(&shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_python_prints_them() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(sentence(&error), "[Errno 2] No such file or directory");
        assert_eq!(
            sentence_about(&error, b"/it's\xff"),
            "[Errno 2] No such file or directory: \"/it's\u{fffd}\""
        );
    }
}
