//! What the agent tells on standard error: one line a failure.
//!
//! Never an environment, a file's content or a command's output or text: callers pass sentences of
//! ours, paths and error numbers. A standard error that is gone is no reason to fail.

use std::fmt::Display;
use std::io::Write as _;

/// Writes one line about a failure.
pub(crate) fn failure(what: &dyn Display) {
    line(what);
}

/// Writes one line about the agent's life: listening, stopping.
pub(crate) fn notice(what: &dyn Display) {
    line(what);
}

/// One `write` a line, so that lines of several threads do not mix.
fn line(what: &dyn Display) {
    let text = format!(
        "smolvm-guest-agent: {}\n",
        what.to_string().replace(['\n', '\r'], " ")
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints what was asked for (`--help`, `--version`) to standard output.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
