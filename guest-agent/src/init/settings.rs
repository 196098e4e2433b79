//! What the kernel is told so that users who are not root lay no traps for those who are.
//!
//! Distributions' inits set the same. What a kernel does not know stays as it is; a boot script may set others.

use std::fs;

/// In sticky folders, what is somebody else's is not followed and not opened to write; nobody keeps a file of another's by a name
/// of their own.
const PROTECTED: &str = "fifos hardlinks regular symlinks";

/// Whether anybody may type on the own terminal, which a shell of root's may be on, too (Linux 6.2).
const TYPING: &str = "/proc/sys/dev/tty/legacy_tiocsti";

pub(super) fn set_all() {
    for what in PROTECTED.split_ascii_whitespace() {
        let _ = fs::write(["/proc/sys/fs/protected_", what].concat(), "1");
    }
    let _ = fs::write(TYPING, "0");
}
