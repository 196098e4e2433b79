//! One script in the guest that serves a request: its beginning, its words on standard error, its end.
//!
//! Owns what every request has in common, and the errors that its end can mean.

use super::marks::MarkedStream;
use super::process::{BUFFER_BYTES, Event, SshProcess};
use super::script::{Mark, command_line};
use super::{CONNECT_LIMIT, SshChannel, SshError};
use crate::deadline::Deadline;
use std::io;

/// So much of what a script says is kept: what one read can bring, so that nothing is lost that follows its first
/// line at once.
const MAX_SAID_BYTES: usize = BUFFER_BYTES;
/// What a script's last line says where it has served the request.
const SERVED: &str = "0";

/// One script that runs.
pub(super) struct Dialogue {
    pub(super) process: SshProcess,
    pub(super) mark: Mark,
    pub(super) stderr: MarkedStream,
    destination: String,
    said: Vec<u8>,
}

impl Dialogue {
    /// Starts a script and waits until it has begun.
    ///
    /// # Errors
    /// [`SshError`].
    pub(super) fn begin(
        channel: &SshChannel,
        script: &str,
        arguments: &[&[u8]],
        deadline: Deadline,
    ) -> Result<Self, SshError> {
        let mark = Mark::new().map_err(|source| SshError::Read {
            what: "random bytes".to_owned(),
            source,
        })?;
        let line = command_line(script, &mark, arguments)?;
        let begin_by = deadline.or_earlier(Deadline::after(CONNECT_LIMIT));
        let process = SshProcess::start(channel, &line, begin_by)?;
        let stderr = MarkedStream::with_end(&mark);
        let mut dialogue = Self {
            process,
            mark,
            stderr,
            destination: channel.destination.to_string(),
            said: Vec::new(),
        };
        while dialogue.stderr.first().is_none() {
            match dialogue.process.next(false, begin_by) {
                Ok(Event::Stderr(bytes)) => {
                    let bytes = bytes.to_vec();
                    dialogue.hear(&bytes);
                }
                Ok(Event::End) => return Err(dialogue.ended_early()),
                Ok(Event::Stdout(_) | Event::Writable) => {}
                Err(SshError::TimedOut) if !deadline.has_passed() => {
                    return Err(dialogue
                        .unreachable(format!("no answer within {} s", CONNECT_LIMIT.as_secs())));
                }
                Err(error) => return Err(error),
            }
        }
        dialogue.process.set_begun();
        Ok(dialogue)
    }

    /// What has come on standard error already, where that is a command's.
    pub(super) fn take_said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    /// Takes what came on standard error, where that is the script's alone.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let said = &mut self.said;
        let mut keep = |bytes: &[u8]| -> io::Result<()> {
            let room = MAX_SAID_BYTES.saturating_sub(said.len());
            said.extend_from_slice(&bytes[..bytes.len().min(room)]);
            Ok(())
        };
        let _ = self.stderr.take(bytes, &mut keep);
    }

    /// Waits for the end of a script that has no more to give.
    pub(super) fn last_words(mut self, deadline: Deadline) -> Result<(), SshError> {
        loop {
            match self.process.next(false, deadline)? {
                Event::Stderr(bytes) => {
                    let bytes = bytes.to_vec();
                    self.hear(&bytes);
                }
                Event::End => return self.served(),
                Event::Stdout(_) | Event::Writable => {}
            }
        }
    }

    /// What the end of ssh means for the request.
    pub(super) fn served(&mut self) -> Result<(), SshError> {
        let is_success = self.process.finish()?;
        match self.stderr.last() {
            Some(SERVED) if is_success => Ok(()),
            Some(word) if is_success && word != SERVED => {
                let said = String::from_utf8_lossy(&self.said).trim().to_owned();
                let sentence = match said.is_empty() {
                    true => "no reason given".to_owned(),
                    false => said,
                };
                Err(SshError::Refused { sentence })
            }
            _ => Err(self.ended_early()),
        }
    }

    /// Why ssh ended without the script's last line.
    pub(super) fn ended_early(&mut self) -> SshError {
        if let Err(error) = self.process.finish() {
            return error;
        }
        let own = self.process.own_words();
        let has_begun = self.stderr.first().is_some();
        let guests = match has_begun {
            true => String::from_utf8_lossy(&self.said).trim().to_owned(),
            false => self.stderr.noise(),
        };
        let mut words = [own, guests].into_iter();
        let sentence = words
            .find(|words| !words.is_empty())
            .unwrap_or_else(|| "ssh gave no reason".to_owned());
        if has_begun {
            return SshError::Broken {
                destination: self.destination.clone(),
                sentence,
            };
        }
        self.unreachable(sentence)
    }

    fn unreachable(&self, sentence: String) -> SshError {
        SshError::Connect {
            destination: self.destination.clone(),
            sentence,
        }
    }
}
