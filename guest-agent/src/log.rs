//! What the agent, and process 1, tell on standard error: one line a failure.
//!
//! Never an environment, a file's content or a command's output or text: callers pass sentences of
//! ours, paths and error numbers. A standard error that is gone is no reason to fail, and one that
//! nobody reads (a stopped terminal, a stalled supervisor) no reason to wait: the line is lost. Hosts
//! wait for what is told of the agent's life, and process 1's lines are all that a guest which cannot
//! be reached says: a console that is busy gets a moment for those.

use crate::sys::file;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this is process 1, whose lines begin with another name.
static IS_INIT: AtomicBool = AtomicBool::new(false);

/// Begins lines with `smolvm-init`.
pub(crate) fn speak_as_init() {
    IS_INIT.store(true, Ordering::Relaxed);
}

/// How long a busy console may take to have room for a line.
const BUSY_CONSOLE_MILLISECONDS: i32 = 1000;

/// The longest line: what a pipe that says it is writable takes at once (`pipe(7)`, `PIPE_BUF`).
const MAX_LINE_BYTES: usize = 4096;

/// Writes one line about a failure.
pub(crate) fn failure(what: &dyn Display) {
    line(what, IS_INIT.load(Ordering::Relaxed));
}

/// Writes one line about the agent's life: listening, stopping.
pub(crate) fn notice(what: &dyn Display) {
    line(what, true);
}

/// One `write` a line, so that lines of several threads do not mix.
fn line(what: &dyn Display, patiently: bool) {
    // Thousands of refusals a second.
    if cfg!(feature = "fuzzing") {
        return;
    }
    let name = match IS_INIT.load(Ordering::Relaxed) {
        true => "smolvm-init",
        false => "smolvm-guest-agent",
    };
    let mut text = format!("{name}: {what}")
        .replace(['\n', '\r'], " ")
        .into_bytes();
    text.truncate(MAX_LINE_BYTES - 1);
    text.push(b'\n');
    let mut stderr = std::io::stderr().lock();
    let patience = if patiently {
        BUSY_CONSOLE_MILLISECONDS
    } else {
        0
    };
    if file::takes_bytes(&stderr, patience) {
        let _ = stderr.write_all(&text);
    }
}

/// Has panics told by one line with their place, and never by a backtrace.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            failure(&format_args!("failed unexpectedly at {place}"));
        }
    }));
}

/// Prints what was asked for (`--help`, `--version`) to standard output.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
