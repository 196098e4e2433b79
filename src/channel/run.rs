//! `run`: a command in the guest, its output streamed.
//!
//! Owns the way from a [`Command`] to its [`Outcome`]; what is sent meanwhile is [`Outgoing`]'s. Each piece of output goes to its sink as it
//! comes and is flushed. Whatever makes this side give up (deadline, cancel, a sink that fails)
//! hangs up, so that the agent ends the command.

use super::controls::Controls;
use super::exchange::{Exchange, Message, unexpected};
use super::outgoing::{Input, Outgoing};
use super::{Channel, ChannelError, RUN_PTY};
use crate::deadline::Deadline;
use crate::transport::Absence;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{Request, RunRequest, Timeout, Until};
use smolvm_protocol::response::Usage;
use std::io::Write;
use std::time::Duration;

/// How much longer than the command's own time limit a [`Command::new`] waits: 10 s to connect, 5 s
/// for the agent to reap what it killed, 30 s for its answer and what stands in the way before it, a start
/// that a disk delays among that.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(10 + 5 + 30);

/// A command to run.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The command line, its shell, its variables, and the time limit that the agent keeps.
    pub request: RunRequest,
    /// How long this side waits for the end in all; `None` waits for ever. The time that a sink
    /// takes counts, but is not cut short.
    pub deadline: Option<Duration>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// The agent killed it at its time limit, in seconds.
    TimedOut(f64),
}

/// What the agent told of a command's end besides, as far as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody had its output open still when it exited ([`Until::Exit`]).
    pub output_open: Option<bool>,
    /// The name of the signal that killed it, without `SIG`.
    pub signal: Option<String>,
    /// What it has used.
    pub usage: Option<Usage>,
    /// Why the agent did not carry out signals or sizes of the terminal, the first eight.
    pub refused: Vec<String>,
}

/// Where a command's output goes on this side, and what it is sent.
pub(crate) struct Streams<'run> {
    pub(crate) stdout: &'run mut dyn Write,
    pub(crate) stderr: &'run mut dyn Write,
    pub(crate) input: Option<Input>,
    pub(crate) controls: Option<&'run Controls>,
}

/// How a command ended, and what was told besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// What was told besides.
    pub told: Told,
}

/// The features that an agent needs for a request.
pub(crate) fn features_for(request: &RunRequest) -> impl Iterator<Item = &'static str> {
    [
        (!request.argv.is_empty(), "run_argv"),
        (!request.directory.is_empty(), "run_cwd"),
        (!request.user.is_empty(), "run_user"),
        (request.until != Until::Eof, "run_until_exit"),
        (request.usage, "run_usage"),
        (request.stdin && request.terminal.is_none(), "run_stdin"),
        (request.terminal.is_some(), RUN_PTY),
    ]
    .into_iter()
    .filter_map(|(is_asked, feature)| is_asked.then_some(feature))
}

impl Outcome {
    /// Whether it exited with status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The status that it exited with; `None` where it was killed.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(status) => Some(status),
            Self::Killed(_) | Self::TimedOut(_) => None,
        }
    }

    /// The signal that killed it; at its time limit, that is SIGKILL, 9.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Killed(signal) => Some(signal),
            Self::TimedOut(_) => Some(9),
        }
    }
}

impl Command {
    /// A command as requested. Where it has a time limit, so has this side, [`ANSWER_MARGIN`] later:
    /// an agent that keeps its word is always heard, and one that went silent is not waited for.
    #[must_use]
    pub fn new(request: RunRequest) -> Self {
        let limit = request.timeout.and_then(Timeout::duration);
        Self {
            request,
            deadline: limit.and_then(|limit| limit.checked_add(ANSWER_MARGIN)),
        }
    }
}

impl Channel {
    /// Runs a command and hands its output on as it comes.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Write`] where a sink fails.
    pub fn run(
        &self,
        command: &Command,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Outcome, ChannelError> {
        Ok(self.run_to_end(command, stdout, stderr)?.outcome)
    }

    /// The same, with what the agent tells besides. Other agents do not know what is asked: see
    /// [`super::Pong::serves`]. A command that takes input gets an empty one.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_to_end(
        &self,
        command: &Command,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Ended, ChannelError> {
        let streams = Streams {
            stdout,
            stderr,
            input: None,
            controls: None,
        };
        let deadline = Deadline::after_optional(command.deadline);
        self.run_with(&command.request, streams, deadline)
    }

    /// The same with input, signals and sizes of the terminal.
    pub(crate) fn run_with(
        &self,
        request: &RunRequest,
        streams: Streams<'_>,
        deadline: Deadline,
    ) -> Result<Ended, ChannelError> {
        let first = Request::Run(request.clone());
        let mut exchange = self.begin(&first, Absence::IsAnError, deadline)?;
        let outcome = stream(&mut exchange, request, streams, deadline);
        match outcome {
            Err(_) if self.cancel.is_cancelled() => {
                exchange.hang_up();
                Err(ChannelError::Cancelled)
            }
            Err(
                ChannelError::TimedOut | ChannelError::Read { .. } | ChannelError::Write { .. },
            ) => {
                exchange.hang_up();
                outcome
            }
            outcome => outcome,
        }
    }
}

pub(super) fn stream(
    exchange: &mut Exchange,
    request: &RunRequest,
    streams: Streams<'_>,
    deadline: Deadline,
) -> Result<Ended, ChannelError> {
    let mut outgoing = Outgoing::new(request, streams.input, streams.controls);
    let (stdout, stderr) = (streams.stdout, streams.stderr);
    loop {
        let (name, sink, bytes): (_, &mut dyn Write, _) = match outgoing.next(exchange, deadline)? {
            Message::Control(answer) => return end_of(*answer),
            Message::Bytes(FrameType::STDOUT, bytes) => ("standard output", &mut *stdout, bytes),
            Message::Bytes(FrameType::STDERR, bytes) => ("standard error", &mut *stderr, bytes),
            Message::Bytes(frame_type, _) => return Err(unexpected(frame_type)),
            Message::EndOfFile => return Err(unexpected(FrameType::EOF)),
            Message::Entry(_) | Message::Credit(_) => {
                return Err(unexpected(FrameType::JSON));
            }
        };
        sink.write_all(exchange.bytes(bytes))
            .and_then(|()| sink.flush())
            .map_err(|source| ChannelError::Write {
                what: name.to_owned(),
                source,
            })?;
    }
}

fn end_of(answer: Answer) -> Result<Ended, ChannelError> {
    if !answer.ok {
        return Err(super::exchange::refusal(answer));
    }
    let outcome = outcome_of(&answer)?;
    let told = Told {
        output_open: answer.output_open,
        signal: answer.signal,
        usage: answer.usage,
        refused: answer.refused,
    };
    Ok(Ended { outcome, told })
}

fn outcome_of(answer: &Answer) -> Result<Outcome, ChannelError> {
    match (answer.op.as_deref(), answer.exit_code, answer.timeout) {
        (Some("exit"), Some(code), _) if code < 0 => Ok(Outcome::Killed(code.saturating_neg())),
        (Some("exit"), Some(code), _) => Ok(Outcome::Exited(code)),
        (Some("timeout"), _, Some(seconds)) => Ok(Outcome::TimedOut(seconds)),
        _ => Err(ChannelError::not_an_agent(
            "its answer to run is neither an exit nor a time-out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_with_a_time_limit_is_waited_for_a_margin_longer() {
        let deadline = |seconds| {
            Command::new(RunRequest {
                timeout: Timeout::from_seconds(seconds),
                ..RunRequest::default()
            })
            .deadline
        };
        assert_eq!(deadline(1.5), Some(Duration::from_millis(46_500)));
        assert_eq!(deadline(0.0), None);
        assert_eq!(deadline(1e300), None);
    }
}
