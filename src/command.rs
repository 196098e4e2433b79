//! A command in a guest, in the manner of `std::process::Command`.
//!
//! Owns what a caller may say of it before it starts, where its input comes from and its output goes, and the
//! [`Child`] that runs beside the caller.

mod child;
mod signal;
mod stdin;

pub use child::{Child, Controller};
pub use signal::{Signal, UnknownSignal};
pub use stdin::{ChildStdin, Stdin};

use crate::cancel::Cancel;
use crate::channel::{self, ChannelError, Ended, Outcome, Streams, Told};
use crate::deadline::Deadline;
use crate::guest::{Guest, GuestError, Way};
use crate::ssh::SshChannel;
use crate::standard_stream::StandardStream;
use smolvm_protocol::request::{
    Leftovers, RunRequest, Shell, Terminal, TerminalSize, Timeout, Until,
};
use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// How many bytes [`Command::output`] keeps unless told otherwise: a guest is not trusted with the host's memory.
pub const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;

/// What kind a terminal is unless told otherwise.
const DEFAULT_TERM: &[u8] = b"xterm";

/// A command line for the guest's shell, or a program with its arguments, not started yet.
///
/// Its standard input is empty unless [`Command::stdin`] says otherwise. Unless it is given a time limit, neither side has one: a command may rightly be
/// silent for days.
#[must_use = "a command does nothing until it is run"]
pub struct Command<'sink> {
    guest: Guest,
    request: RunRequest,
    deadline: Option<Duration>,
    output_limit: usize,
    stdin: Stdin,
    term: Option<Vec<u8>>,
    stdout: Option<Box<dyn Write + Send + 'sink>>,
    stderr: Option<Box<dyn Write + Send + 'sink>>,
}

/// A command that has ended, and what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// How it ended.
    pub outcome: Outcome,
    /// What was told besides.
    pub told: Told,
    /// Its standard output, where that had no sink.
    pub stdout: Vec<u8>,
    /// Its standard error, where that had no sink.
    pub stderr: Vec<u8>,
}

impl Command<'static> {
    pub(crate) fn new(guest: Guest, request: RunRequest) -> Self {
        Self {
            guest,
            request,
            deadline: None,
            output_limit: OUTPUT_LIMIT,
            stdin: Stdin::null(),
            term: None,
            stdout: None,
            stderr: None,
        }
    }

    /// Has it run beside the caller. Without a sink, its output goes to this process's own.
    ///
    /// That it cannot be started, or the guest not reached, is told by [`Child::wait`].
    ///
    /// # Errors
    /// [`GuestError::Process`] where this process has no thread or descriptor left.
    pub fn spawn(self) -> Result<Child, GuestError> {
        let cancel = self.guest.canceller().part().map_err(GuestError::Process)?;
        let has_terminal = self.request.terminal.is_some();
        let controller = Controller::new(&self.guest, has_terminal).map_err(GuestError::Process)?;
        let command = self.for_channel();
        let (input, stdin) = self.stdin.open().map_err(GuestError::Process)?;
        let controls = controller.controls();
        let (guest, out, err) = (self.guest, self.stdout, self.stderr);
        Child::start(cancel, controller, stdin, move |cancel| {
            let mut stdout = sink_or(out, || StandardStream::stdout(cancel))?;
            let mut stderr = sink_or(err, || StandardStream::stderr(cancel))?;
            let streams = Streams {
                stdout: &mut *stdout,
                stderr: &mut *stderr,
                input,
                controls: Some(&*controls),
            };
            let ended = guest.run(cancel, &command, streams);
            controls.close();
            ended
        })
    }
}

impl<'sink> Command<'sink> {
    /// Which shell takes the line: that of a login (`$SHELL -lc`), which is the default, or `/bin/sh -c`.
    pub fn shell(mut self, shell: Shell) -> Self {
        self.request.shell = shell;
        self
    }

    /// Adds an argument to the program of [`Guest::program`]; a command line takes none.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.request
            .argv
            .push(argument.as_ref().as_bytes().to_vec());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Where it runs; otherwise in the agent's own working directory.
    pub fn current_dir(mut self, directory: impl AsRef<OsStr>) -> Self {
        self.request.directory = directory.as_ref().as_bytes().to_vec();
        self
    }

    /// Whom it runs as: a name or a number of the guest's `/etc/passwd`, either with a `:GROUP` behind it.
    pub fn user(mut self, user: impl AsRef<OsStr>) -> Self {
        self.request.user = user.as_ref().as_bytes().to_vec();
        self
    }

    /// Has it be over when it exits, whoever holds its output open; `leftovers` says what becomes of the rest of its process
    /// group. [`Told::output_open`] then tells whether somebody held it.
    pub fn until_exit(mut self, leftovers: Leftovers) -> Self {
        self.request.until = Until::Exit(leftovers);
        self
    }

    /// Where its standard input comes from; otherwise there is none. A source that fails kills the command.
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.request.stdin = stdin.is_sent();
        self.stdin = stdin;
        self
    }

    /// Gives it a terminal of that size, each from 1 to 10,000 characters, as standard input, output and error: all that it
    /// prints goes to the sink of its standard output. It is over when it exits, and with it all that it has started in its
    /// session.
    pub fn terminal(mut self, rows: u16, cols: u16) -> Self {
        self.request.terminal = Some(Terminal {
            size: TerminalSize { rows, cols },
            term: DEFAULT_TERM.to_vec(),
        });
        self
    }

    /// What kind its terminal is (`TERM`); otherwise `xterm`.
    pub fn term(mut self, term: impl AsRef<OsStr>) -> Self {
        self.term = Some(term.as_ref().as_bytes().to_vec());
        self
    }

    /// Has [`Told`] tell what it has used, and the name of the signal that killed it.
    pub fn usage(mut self) -> Self {
        self.request.usage = true;
        self
    }

    /// Sets a variable on top of the guest's own; of two with a name, the later wins.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let [name, value] = [name.as_ref(), value.as_ref()].map(|text| text.as_bytes().to_vec());
        self.request.environment.push((name, value));
        self
    }

    /// Sets variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        variables
            .into_iter()
            .fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Has the guest kill it after so long, which is [`Outcome::TimedOut`]; zero means never. Where no
    /// [`Self::deadline`] is set, this side then waits for the guest's answer [`channel::ANSWER_MARGIN`] longer,
    /// and for ever otherwise.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Timeout::from_seconds(timeout.as_secs_f64());
        self
    }

    /// Limits the time that this side waits for its end in all, connecting included. When that has passed, the
    /// command is killed and the call fails ([`crate::guest::ErrorKind::TimedOut`]).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many bytes of both streams together [`Self::output`] keeps; otherwise [`OUTPUT_LIMIT`].
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Where its standard output goes, piece by piece as it comes. The time that the sink takes is not cut short.
    pub fn stdout<'other>(self, sink: impl Write + Send + 'other) -> Command<'other>
    where
        'sink: 'other,
    {
        Command {
            stdout: Some(Box::new(sink)),
            ..self
        }
    }

    /// Where its standard error goes.
    pub fn stderr<'other>(self, sink: impl Write + Send + 'other) -> Command<'other>
    where
        'sink: 'other,
    {
        Command {
            stderr: Some(Box::new(sink)),
            ..self
        }
    }

    /// Runs it and waits for its end. Without a sink, its output goes to this process's own.
    ///
    /// # Errors
    /// [`GuestError`]; a sink that fails kills the command, as do the deadline and the canceller.
    pub fn run(self) -> Result<Outcome, GuestError> {
        Ok(self.run_to_end()?.outcome)
    }

    /// The same, and what was told besides.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_to_end(self) -> Result<Ended, GuestError> {
        let cancel = self.guest.canceller();
        let command = self.for_channel();
        let (input, _) = self.stdin.open().map_err(GuestError::Process)?;
        let mut stdout = sink_or(self.stdout, || StandardStream::stdout(&cancel))?;
        let mut stderr = sink_or(self.stderr, || StandardStream::stderr(&cancel))?;
        let streams = Streams {
            stdout: &mut *stdout,
            stderr: &mut *stderr,
            input,
            controls: None,
        };
        self.guest.run(&cancel, &command, streams)
    }

    /// Runs it, waits for its end, and keeps what it says where that has no sink.
    ///
    /// # Errors
    /// As [`Self::run`], and [`GuestError::OutputTooLong`].
    pub fn output(self) -> Result<Output, GuestError> {
        let cancel = self.guest.canceller();
        let left = Cell::new(Some(self.output_limit));
        let [mut stdout, mut stderr] = [(); 2].map(|()| Captured {
            bytes: Vec::new(),
            left: &left,
        });
        let command = self.for_channel();
        let (input, _) = self.stdin.open().map_err(GuestError::Process)?;
        let [mut out_sink, mut err_sink] = [self.stdout, self.stderr];
        let streams = Streams {
            stdout: match &mut out_sink {
                Some(sink) => sink,
                None => &mut stdout,
            },
            stderr: match &mut err_sink {
                Some(sink) => sink,
                None => &mut stderr,
            },
            input,
            controls: None,
        };
        let ended = self.guest.run(&cancel, &command, streams);
        if left.get().is_none() {
            let limit = self.output_limit;
            return Err(GuestError::OutputTooLong { limit });
        }
        let Ended { outcome, told } = ended?;
        Ok(Output {
            outcome,
            told,
            stdout: stdout.bytes,
            stderr: stderr.bytes,
        })
    }

    fn for_channel(&self) -> channel::Command {
        let mut command = channel::Command::new(self.request.clone());
        command.deadline = self.deadline.or(command.deadline);
        if let (Some(terminal), Some(term)) = (&mut command.request.terminal, &self.term) {
            terminal.term.clone_from(term);
        }
        command
    }
}

impl Guest {
    fn run(
        &self,
        cancel: &Cancel,
        command: &channel::Command,
        streams: Streams<'_>,
    ) -> Result<Ended, GuestError> {
        let request = &command.request;
        let sentence = match (request.command.is_empty(), request.argv.is_empty()) {
            (true, true) => "the command line is empty",
            (false, false) => {
                "a command line takes no arguments; have a program run with them instead"
            }
            _ => "",
        };
        if !sentence.is_empty() {
            let sentence = sentence.to_owned();
            return Err(ChannelError::Refused { sentence }.into());
        }
        let mut features = channel::features_for(request);
        match self.way() {
            Way::Agent(channel) => {
                let deadline = Deadline::after_optional(command.deadline);
                for feature in features {
                    self.require_by(feature, deadline)?;
                }
                let channel = channel.until(cancel);
                Ok(channel.run_with(request, streams, deadline)?)
            }
            Way::Ssh(_) if features.next().is_some() => Err(GuestError::NotOverSsh),
            Way::Ssh(channel) => {
                let channel = SshChannel::new(channel.destination().clone(), cancel.clone());
                let outcome = channel.run(command, streams.stdout, streams.stderr)?;
                let told = Told::default();
                Ok(Ended { outcome, told })
            }
        }
    }
}

fn sink_or<'sink>(
    sink: Option<Box<dyn Write + Send + 'sink>>,
    own: impl FnOnce() -> io::Result<StandardStream>,
) -> Result<Box<dyn Write + Send + 'sink>, GuestError> {
    match sink {
        Some(sink) => Ok(sink),
        None => Ok(Box::new(own().map_err(GuestError::Process)?)),
    }
}

/// Keeps bytes within a limit that both streams share; `None` is left once it was overrun.
struct Captured<'limit> {
    bytes: Vec<u8>,
    left: &'limit Cell<Option<usize>>,
}

impl Write for Captured<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self
            .left
            .get()
            .and_then(|left| left.checked_sub(bytes.len()));
        self.left.set(left);
        if left.is_none() {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Command<'_> {
    /// Without the variables, which may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Command")
            .field("line", &String::from_utf8_lossy(&self.request.command))
            .field("shell", &self.request.shell)
            .field("arguments", &self.request.argv.len())
            .field("timeout", &self.request.timeout)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
