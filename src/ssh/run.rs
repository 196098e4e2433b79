//! `run` over ssh: a command in the guest, its output streamed, its end told as the agent would.
//!
//! The time limit is kept by this side, from the command's start: a word on the script's standard input kills the
//! command's group. What outlives the command's leader and keeps its output open keeps the call open, too, and is
//! out of reach of a kill then.

use super::dialogue::Dialogue;
use super::marks::MarkedStream;
use super::process::Event;
use super::script::{self, unsendable};
use super::{CONNECT_LIMIT, SshChannel, SshError};
use crate::channel::{Command, Outcome};
use crate::deadline::Deadline;
use smolvm_protocol::request::{RunRequest, Shell, Timeout};
use std::io::{self, Write};
use std::time::Duration;

/// How long the guest may take to say that it has killed a command.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A shell's status of a command that signal N killed is so much more than N.
const SIGNAL_BASE: i32 = 128;
const LAST_SIGNAL: i32 = 64;

impl SshChannel {
    /// Runs a command and hands its output on as it comes.
    ///
    /// A status of 129 to 192 counts as a signal's, since a shell tells no difference.
    ///
    /// # Errors
    /// [`SshError`]; [`SshError::Write`] where a sink fails.
    pub fn run(
        &self,
        command: &Command,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Outcome, SshError> {
        let deadline = Deadline::after_optional(command.deadline);
        let variables = variables_of(&command.request)?;
        let mut words: Vec<&[u8]> = vec![&command.request.command];
        words.extend(variables.iter().map(Vec::as_slice));
        let mut words = script::words(&words)?;
        let kind: &[u8] = match command.request.shell {
            Shell::Login => b"login",
            Shell::Raw => b"raw",
        };
        let dialogue = Dialogue::begin(self, script::RUN, &[kind], deadline)?;
        words.extend([b"\n", &dialogue.mark.bytes()[..], b"\n"].concat());
        let mut run = Run {
            stdout: MarkedStream::with_beginning(&dialogue.mark),
            dialogue,
            limit: command.request.timeout,
            was_killed: false,
        };
        let outcome = match run.hand_over(&words, deadline) {
            Ok(()) => run.stream(stdout, stderr, deadline),
            Err(error) => Err(error),
        };
        match outcome {
            Err(_) if self.cancel.is_cancelled() => Err(SshError::Cancelled),
            outcome => outcome,
        }
    }
}

fn variables_of(request: &RunRequest) -> Result<Vec<Vec<u8>>, SshError> {
    let variable = |(name, value): &(Vec<u8>, Vec<u8>)| {
        if name.is_empty() || name.contains(&b'=') {
            return Err(unsendable("a variable's name is empty or has '=' in it"));
        }
        Ok([name, &b"="[..], value].concat())
    };
    request.environment.iter().map(variable).collect()
}

struct Run {
    dialogue: Dialogue,
    stdout: MarkedStream,
    limit: Option<Timeout>,
    was_killed: bool,
}

impl Run {
    /// Gives the script command line and variables, by the way that no list of processes shows.
    fn hand_over(&mut self, words: &[u8], deadline: Deadline) -> Result<(), SshError> {
        let deadline = deadline.or_earlier(Deadline::after(CONNECT_LIMIT));
        let mut written = 0;
        while written < words.len() {
            match self.dialogue.process.next(true, deadline)? {
                Event::Writable => written += self.dialogue.process.write(&words[written..]),
                // There is no command yet that could say anything.
                Event::Stdout(bytes) => self
                    .stdout
                    .take(bytes, &mut |_| Ok(()))
                    .map_err(sink_error("standard output"))?,
                Event::Stderr(bytes) => {
                    let bytes = bytes.to_vec();
                    self.dialogue.hear(&bytes);
                }
                Event::End => break,
            }
        }
        Ok(())
    }

    fn stream(
        mut self,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Outcome, SshError> {
        let mut to_stdout = |bytes: &[u8]| stdout.write_all(bytes).and_then(|()| stdout.flush());
        let mut to_stderr = |bytes: &[u8]| stderr.write_all(bytes).and_then(|()| stderr.flush());
        to_stderr(&self.dialogue.take_said()).map_err(sink_error("standard error"))?;
        let mut limit = Deadline::after_optional(self.limit.and_then(Timeout::duration));
        loop {
            let wait_until = deadline.or_earlier(limit);
            match self.dialogue.process.next(false, wait_until) {
                Ok(Event::Stdout(bytes)) => self
                    .stdout
                    .take(bytes, &mut to_stdout)
                    .map_err(sink_error("standard output"))?,
                Ok(Event::Stderr(bytes)) => self
                    .dialogue
                    .stderr
                    .take(bytes, &mut to_stderr)
                    .map_err(sink_error("standard error"))?,
                Ok(Event::Writable) => {}
                Ok(Event::End) => break,
                Err(SshError::TimedOut) if !deadline.has_passed() && !self.was_killed => {
                    self.dialogue.process.write(b"kill\n");
                    self.was_killed = true;
                    limit = Deadline::after(KILL_LIMIT);
                }
                Err(error) => return Err(error),
            }
        }
        self.stdout
            .end(&mut to_stdout)
            .map_err(sink_error("standard output"))?;
        self.dialogue
            .stderr
            .end(&mut to_stderr)
            .map_err(sink_error("standard error"))?;
        self.outcome()
    }

    fn outcome(mut self) -> Result<Outcome, SshError> {
        if !self.dialogue.process.finish()? {
            return Err(self.dialogue.ended_early());
        }
        let status = match self.dialogue.stderr.last() {
            Some("refused") => {
                let sentence = "it has no setsid, which a command over ssh needs; install util-linux or busybox there";
                return Err(SshError::Refused {
                    sentence: sentence.to_owned(),
                });
            }
            // Of eight bits, as any command's; nothing else is a script's of ours.
            word => word.and_then(|word| word.parse::<u8>().ok()).map(i32::from),
        };
        match (status, self.limit) {
            (Some(_), Some(limit)) if self.was_killed => Ok(Outcome::TimedOut(limit.seconds())),
            (Some(status), _) => Ok(outcome_of(status)),
            (None, _) => Err(self.dialogue.ended_early()),
        }
    }
}

fn outcome_of(status: i32) -> Outcome {
    match status - SIGNAL_BASE {
        signal @ 1..=LAST_SIGNAL => Outcome::Killed(signal),
        _ => Outcome::Exited(status),
    }
}

fn sink_error(name: &str) -> impl FnOnce(io::Error) -> SshError {
    let what = name.to_owned();
    move |source| SshError::Write { what, source }
}
