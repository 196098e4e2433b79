//! Errors of the operating system in the words that hosts in the field know.
//!
//! Owns the form of Python's `str(OSError)`: `[Errno 2] No such file or directory: '/x'`.

use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::text::shown;
use std::io;

/// An error without a path.
pub(crate) fn sentence(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let text = text
                .strip_suffix(&format!(" (os error {number})"))
                .unwrap_or(&text);
            format!("[Errno {number}] {text}")
        }
        None => text,
    }
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
