//! `put_file` over ssh: a reader of known size into a temporary file beside the target, which then takes its name.

use super::dialogue::Dialogue;
use super::process::Event;
use super::script::{self, last_component};
use super::{SshChannel, SshError};
use crate::channel::STALL_LIMIT;
use crate::deadline::Deadline;
use smolvm_protocol::request::Destination;
use std::io::{self, Read};

const CHUNK_BYTES: usize = 64 * 1024;

impl SshChannel {
    /// Stores `size` bytes of `source` in the guest. What `source` has beyond them is not read.
    ///
    /// # Errors
    /// [`SshError`]; the target in the guest is then as it was. [`SshError::Read`] where `source` fails or ends
    /// early. The time that `source` takes is not cut short.
    pub fn put_file(
        &self,
        source: &mut dyn Read,
        size: u64,
        destination: &Destination,
        deadline: Deadline,
    ) -> Result<(), SshError> {
        if destination.path.is_empty() {
            let sentence = "missing 'path'".to_owned();
            return Err(SshError::Refused { sentence });
        }
        let mode = destination.mode.map(|mode| format!("{mode:o}"));
        let size_word = size.to_string();
        let arguments: [&[u8]; 4] = [
            &destination.path,
            last_component(destination.name.as_deref().unwrap_or_default()),
            mode.as_deref().unwrap_or_default().as_bytes(),
            size_word.as_bytes(),
        ];
        let mut dialogue = Dialogue::begin(self, script::PUT, &arguments, deadline)?;
        send(&mut dialogue, source, size, deadline)?;
        dialogue.process.close_stdin();
        let limit = deadline.or_earlier(Deadline::after(STALL_LIMIT));
        dialogue
            .last_words(limit)
            .map_err(|error| stalled(error, deadline))
    }
}

/// Sends the bytes, as far as the script takes them.
fn send(
    dialogue: &mut Dialogue,
    source: &mut dyn Read,
    size: u64,
    deadline: Deadline,
) -> Result<(), SshError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut pending = 0..0;
    let mut remaining = size;
    // What is said is no progress: a peer that never stops saying it must not hold the call.
    let mut stall = Deadline::after(STALL_LIMIT);
    while remaining > 0 || !pending.is_empty() {
        if pending.is_empty() {
            let wanted = usize::try_from(remaining).map_or(CHUNK_BYTES, |r| r.min(CHUNK_BYTES));
            let count = read_some(source, &mut chunk[..wanted])?;
            pending = 0..count;
            remaining -= count as u64;
            // The source may have taken its time.
            stall = Deadline::after(STALL_LIMIT);
        }
        match dialogue.process.next(true, deadline.or_earlier(stall)) {
            Ok(Event::Writable) => {
                pending.start += dialogue.process.write(&chunk[pending.clone()]);
                stall = Deadline::after(STALL_LIMIT);
            }
            Ok(Event::Stderr(bytes)) => {
                let bytes = bytes.to_vec();
                dialogue.hear(&bytes);
                // It has said all that it has to say.
                if dialogue.stderr.last().is_some() {
                    return Ok(());
                }
            }
            Ok(Event::Stdout(_)) => {}
            Ok(Event::End) => return Ok(()),
            Err(error) => return Err(stalled(error, deadline)),
        }
    }
    Ok(())
}

/// A time-out before the call's own deadline is a stall.
pub(super) fn stalled(error: SshError, deadline: Deadline) -> SshError {
    match error {
        SshError::TimedOut if !deadline.has_passed() => SshError::Stalled,
        error => error,
    }
}

fn read_some(source: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, SshError> {
    let read_error = |source| SshError::Read {
        what: "the file to send".to_owned(),
        source,
    };
    loop {
        match source.read(buffer) {
            Ok(0) => {
                let short = "it became shorter while it was sent";
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, short);
                return Err(read_error(error));
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
    }
}
