//! How a thread is started: one function, since each closure that std is given is 2 KB of code.

use std::io;
use std::thread::Builder;

/// Starts a thread that nobody waits for.
///
/// # Errors
/// There is none to be had.
pub(crate) fn start(
    name: &str,
    stack_bytes: usize,
    work: Box<dyn FnOnce() + Send>,
) -> io::Result<()> {
    let builder = Builder::new().name(name.to_owned());
    builder.stack_size(stack_bytes).spawn(work).map(drop)
}
