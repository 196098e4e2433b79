//! Programs that tests write and have executed.

use std::path::Path;
use std::process::Command;

/// Writes an executable script, by another process: where this one had it open itself, a child that another test starts
/// meanwhile would have it open, too, and nobody could execute it (ETXTBSY in execve(2)).
pub(crate) fn write_program(path: &Path, script: &str) {
    let writing = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"])
        .args([path.as_os_str(), script.as_ref()])
        .status()
        .expect("a test's machine has a shell");
    assert!(writing.success(), "{} is written", path.display());
}
