//! `get_file` over ssh: mode and size on a line, then the file to its real end, and a last line that says that this
//! was all.

use super::dialogue::Dialogue;
use super::marks::MarkedStream;
use super::process::Event;
use super::put::stalled;
use super::{SshChannel, SshError, script};
use crate::channel::{Fetched, STALL_LIMIT};
use crate::deadline::Deadline;
use std::io::{self, Write};

impl SshChannel {
    /// Fetches the file `path`, which need not be UTF-8, into a writer.
    ///
    /// # Errors
    /// [`SshError`]; the writer may then have a part of the file. The time that the writer takes is not cut short.
    pub fn get_file(
        &self,
        path: &[u8],
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, SshError> {
        match self.download(path, sink, deadline) {
            Err(_) if self.cancel.is_cancelled() => Err(SshError::Cancelled),
            outcome => outcome,
        }
    }

    fn download(
        &self,
        path: &[u8],
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, SshError> {
        if path.is_empty() {
            let sentence = "missing 'path'".to_owned();
            return Err(SshError::Refused { sentence });
        }
        let mut dialogue = Dialogue::begin(self, script::GET, &[path], deadline)?;
        let mut stdout = MarkedStream::with_end(&dialogue.mark);
        let mut bytes = 0;
        let mut count_and_write = |piece: &[u8]| -> io::Result<()> {
            bytes += piece.len() as u64;
            sink.write_all(piece)
        };
        // What else is said is no progress: a peer that never stops saying it must not hold the call.
        let mut stall = Deadline::after(STALL_LIMIT);
        loop {
            match dialogue.process.next(false, deadline.or_earlier(stall)) {
                Ok(Event::Stdout(piece)) => {
                    stdout
                        .take(piece, &mut count_and_write)
                        .map_err(write_error)?;
                    stall = Deadline::after(STALL_LIMIT);
                }
                Ok(Event::Stderr(piece)) => {
                    let piece = piece.to_vec();
                    dialogue.hear(&piece);
                }
                Ok(Event::Writable) => {}
                Ok(Event::End) => break,
                Err(error) => return Err(stalled(error, deadline)),
            }
        }
        stdout.end(&mut count_and_write).map_err(write_error)?;
        dialogue.served()?;
        sink.flush().map_err(write_error)?;
        // ssh may have ended well, and the guest too, before all of the file was here.
        match (stdout.first().and_then(mode_of), stdout.last()) {
            (Some(mode), Some(_)) => Ok(Fetched { mode, bytes }),
            _ => Err(dialogue.ended_early()),
        }
    }
}

/// The mode in a file's header, `MODE SIZE`.
fn mode_of(header: &str) -> Option<u32> {
    let (mode, _) = header.split_once(' ')?;
    u32::from_str_radix(mode, 8).ok()
}

fn write_error(source: io::Error) -> SshError {
    SshError::Write {
        what: "the fetched file".to_owned(),
        source,
    }
}
