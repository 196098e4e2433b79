//! Errors of the operating system in the words that hosts in the field know.
//!
//! Owns the form of Python's `str(OSError)`: `[Errno 2] No such file or directory: '/x'`.

use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::text::{shown, word};
use std::io;

/// Words of the GNU C library, which the agents of the field mostly had, where musl has others: for
/// the errors that files, processes and sockets can give.
const WORDS: [(i32, &str); 15] = [
    (libc::EIO, "Input/output error"),
    (libc::ENOMEM, "Cannot allocate memory"),
    (libc::EXDEV, "Invalid cross-device link"),
    (libc::EMFILE, "Too many open files"),
    (libc::ENAMETOOLONG, "File name too long"),
    (libc::ELOOP, "Too many levels of symbolic links"),
    (libc::EOVERFLOW, "Value too large for defined data type"),
    (libc::EOPNOTSUPP, "Operation not supported"),
    (libc::EDQUOT, "Disk quota exceeded"),
    (libc::ENOTTY, "Inappropriate ioctl for device"),
    (libc::EPROTOTYPE, "Protocol wrong type for socket"),
    (libc::EADDRNOTAVAIL, "Cannot assign requested address"),
    (libc::ENETUNREACH, "Network is unreachable"),
    (libc::ETIMEDOUT, "Connection timed out"),
    (libc::EHOSTUNREACH, "No route to host"),
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

/// Linux's errors from 1 on, in order; the same on all of our architectures.
const NAMES: &str = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT \
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS \
    EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP";

/// An error's name; `None` where it is none of the first forty, which programs that do not start rarely meet.
pub(crate) fn name(errno: i32) -> Option<&'static str> {
    word(NAMES, usize::try_from(errno).ok()?)
}

/// Whether an error of a look at a path tells what stands there; others tell only that nobody could look.
pub(crate) fn is_of_path(error: &io::Error) -> bool {
    let of_path = [
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EACCES,
        libc::ELOOP,
        libc::ENAMETOOLONG,
    ];
    // Without a number it is about a NUL byte.
    error
        .raw_os_error()
        .is_none_or(|number| of_path.contains(&number))
}

/// An error about `path`.
pub(crate) fn sentence_about(error: &io::Error, path: &[u8]) -> String {
    format!("{}: {}", sentence(error), quoted(&shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_by_their_numbers() {
        for (errno, expected) in [
            (libc::EPERM, Some("EPERM")),
            (libc::ENOENT, Some("ENOENT")),
            (libc::EAGAIN, Some("EAGAIN")),
            (libc::ENOTDIR, Some("ENOTDIR")),
            (libc::ETXTBSY, Some("ETXTBSY")),
            (libc::ENAMETOOLONG, Some("ENAMETOOLONG")),
            (libc::ELOOP, Some("ELOOP")),
            (libc::ELOOP + 1, None),
            (0, None),
            (-1, None),
        ] {
            assert_eq!(name(errno), expected);
        }
    }

    #[test]
    fn errors_read_as_python_prints_them() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(sentence(&error), "[Errno 2] No such file or directory");
        assert_eq!(
            sentence_about(&error, b"/it's\xff"),
            "[Errno 2] No such file or directory: \"/it's\u{fffd}\""
        );
        let error = io::Error::from_raw_os_error(libc::ENETUNREACH);
        assert_eq!(sentence(&error), "[Errno 101] Network is unreachable");
    }
}
