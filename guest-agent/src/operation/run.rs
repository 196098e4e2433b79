//! `run`: a command, its input and output as they come, and its end.
//!
//! One loop waits for the outputs, the input, the leader's exit, the connection and the deadline
//! together, so that each is acted on at once whatever the others do. It holds one frame at a time:
//! while the host has not taken that, the outputs are not read, and the command waits; the host is read
//! always. Any early return ends the command, by [`Process`]'s drop.

mod outputs;

use crate::accounts;
use crate::connection::{Connection, ConnectionError, Source, Woken};
use crate::host_frames::{Broken, HostFrame, HostFrames};
use crate::input::Input;
use crate::log;
use crate::os_error;
use crate::permits::Permit;
use crate::process::Process;
use crate::server::Agent;
use crate::sys::process::Ending;
use crate::sys::spawn::Ends;
use crate::sys::terminal;
use outputs::Outputs;
use smolvm_protocol::frame::{self, FrameType, HEADER_BYTES};
use smolvm_protocol::request::{Control, Leftovers, RunRequest, Timeout, Until};
use smolvm_protocol::response::{EndingDetails, MAX_REFUSED, Refusal, Response};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// After a deadline: how long the host has to take the frame under way and the answer.
const ANSWER_AFTER_DEADLINE: Duration = Duration::from_secs(30);

/// Between two tries to reap a leader that has exited and cannot be reaped yet: whoever traces it is
/// told first (`ptrace(2)`).
const REAP_RETRY: Duration = Duration::from_millis(10);

/// What a command that writes much in small pieces has to fill its pipe.
const REST: Duration = Duration::from_micros(20);

/// Frames that are sent before anything else is looked at again.
const FRAMES_A_TURN: usize = 4;

pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    request: RunRequest,
    turn: &mut Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let timeout = request.timeout;
    let asked = Asked {
        usage: request.usage,
        until: request.until,
        has_input: request.stdin,
    };
    let asks_more = request.uses_additions();
    let account = match request.user.as_slice() {
        [] => Ok(None),
        user => accounts::find(user).map(Some),
    };
    let started =
        account.map(|account| Process::start(&request, &agent.inheritance, account.as_ref()));
    drop(request);
    *turn = None;
    let refusal = match started {
        Ok(Ok((process, ends))) => {
            return Run::new(connection, process, ends, asked)?.until_end(timeout);
        }
        Ok(Err(error)) => {
            // Without the shell's path, which is from the environment.
            log::failure(&format_args!("run: spawn failed: {}", error.reason()));
            let errno = error.errno().filter(|_| asks_more).and_then(os_error::name);
            Refusal::new(format!("spawn failed: {error}")).with_errno(errno)
        }
        Err(refusal) => {
            log::failure(&"run: its user was refused, and its host told why");
            refusal
        }
    };
    connection.answer(&Response::Refused(&refusal.of_run()), None)
}

/// What a request says of its command's streams and end.
struct Asked {
    /// Whether the answer tells what the command has used.
    usage: bool,
    until: Until,
    has_input: bool,
}

/// How the streams have ended.
enum Over {
    /// The command has exited, and all is sent.
    Exit(Ending),
    Deadline,
}

/// A command whose request is not answered yet.
struct Run<'connection, 'stop> {
    connection: &'connection mut Connection<'stop>,
    process: Process,
    asked: Asked,
    /// Whether somebody had an output open at the command's exit, where that ends the request.
    output_open: Option<bool>,
    outputs: Outputs,
    /// The writing end of the command's standard input, until that is over.
    stdin: Option<OwnedFd>,
    input: Input,
    host: HostFrames,
    /// Whether what has been received may say more.
    hears_more: bool,
    /// Why control frames were refused.
    refused: Vec<String>,
    /// The side of the command's terminal that its processes have.
    terminal: Option<OwnedFd>,
    leader_exited: bool,
    /// The frame under way, and how much of it the kernel has taken.
    frame: Vec<u8>,
    sent: usize,
    /// Whether the last frame was credit.
    has_credited: bool,
}

impl<'connection, 'stop> Run<'connection, 'stop> {
    fn new(
        connection: &'connection mut Connection<'stop>,
        process: Process,
        ends: Ends,
        asked: Asked,
    ) -> Result<Self, ConnectionError> {
        if let Some(stdin) = &ends.stdin {
            connection.watch(stdin, Source::Stdin)?;
        }
        connection.watch(&process.exit, Source::Leader)?;
        Ok(Self {
            outputs: Outputs::new(connection, ends.stdout, ends.stderr)?,
            frame: Vec::with_capacity(HEADER_BYTES + connection.chunk_bytes()),
            connection,
            process,
            output_open: None,
            stdin: ends.stdin,
            input: Input::new(),
            host: HostFrames::new(asked.has_input),
            hears_more: true,
            asked,
            refused: Vec::new(),
            terminal: ends.terminal,
            leader_exited: false,
            sent: 0,
            has_credited: false,
        })
    }

    /// Streams until the command's end or its deadline, and answers.
    fn until_end(mut self, timeout: Option<Timeout>) -> Result<(), ConnectionError> {
        let deadline = timeout
            .and_then(Timeout::duration)
            .and_then(|limit| Instant::now().checked_add(limit));
        match self.stream(deadline) {
            Ok(Over::Exit(ending)) => {
                // After a deadline this answer is kept no longer than the other would be.
                let until = deadline
                    .filter(|_| self.output_open.is_none())
                    .map(|at| at.max(Instant::now()) + ANSWER_AFTER_DEADLINE);
                let response = Response::Exit {
                    exit_code: ending.exit_code,
                    more: self.details(Some(ending)),
                };
                self.connection.answer(&response, until)
            }
            Ok(Over::Deadline) => {
                let (ending, until) = self.kill()?;
                let seconds = timeout.map_or(0.0, Timeout::seconds);
                let more = self.details(ending);
                self.connection
                    .answer(&Response::TimedOut { seconds, more }, until)
            }
            Err(Broken::Refused(refusal)) => {
                let (_, until) = self.kill()?;
                self.connection
                    .answer(&Response::Refused(&refusal.of_run()), until)
            }
            Err(Broken::Connection(error)) => {
                if matches!(error, ConnectionError::PeerGone) && self.terminal.is_some() {
                    self.end_terminal();
                    self.process.wait_for_hang_up();
                }
                Err(error)
            }
        }
    }

    fn stream(&mut self, deadline: Option<Instant>) -> Result<Over, Broken> {
        loop {
            let is_over = self.is_over();
            let deadline = deadline.filter(|_| self.output_open.is_none());
            if is_over {
                if self.terminal.is_some() {
                    self.process.kill_all();
                }
                if let Some(ending) = self.process.reap().map_err(ConnectionError::System)? {
                    self.end_terminal();
                    return Ok(Over::Exit(ending));
                }
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Over::Deadline);
            }
            let until = if is_over {
                Some(deadline.map_or(now + REAP_RETRY, |at| at.min(now + REAP_RETRY)))
            } else if self.can_go_on() {
                Some(now)
            } else {
                deadline
            };
            let woken = self.connection.wait(until)?;
            self.note(woken)?;
            if !self.hears_more && self.connection.is_readable() {
                self.connection.receive_some()?;
                self.hears_more = true;
            }
            self.hear().inspect_err(|broken| {
                if matches!(broken, Broken::Refused(_)) {
                    log::failure(&"run: its input is refused, and its host told why");
                }
            })?;
            self.hand_on()?;
            self.send_frames()?;
        }
    }

    /// Whether the command has exited, its outputs have ended, all is sent, and what has been received is heard.
    fn is_over(&self) -> bool {
        let is_silent = self.outputs.have_ended() && self.frame_is_sent();
        self.leader_exited && is_silent && !self.hears_more
    }

    fn frame_is_sent(&self) -> bool {
        self.sent == self.frame.len()
    }

    /// Whether there is something to do before anything happens.
    fn can_go_on(&self) -> bool {
        let can_move = if self.frame_is_sent() {
            self.outputs.are_ready() || self.input.has_credit()
        } else {
            self.connection.is_writable()
        };
        can_move || self.hears_more || self.connection.is_readable() || self.input.can_go_on()
    }

    fn note(&mut self, woken: Woken) -> Result<(), ConnectionError> {
        self.outputs.note(woken);
        // A terminal that is flooded tells all the time that it can be read, also where nobody takes its input.
        if woken.can_write(Source::Stdin) || woken.can_write(Source::Stdout) {
            self.input.note_ready();
        }
        if woken.has(Source::Leader) && !self.leader_exited {
            self.leader_exited = true;
            if let Until::Exit(leftovers) = self.asked.until {
                self.end_outputs(leftovers)
                    .map_err(ConnectionError::System)?;
            }
        }
        Ok(())
    }

    /// At the command's exit, where that ends the request.
    fn end_outputs(&mut self, leftovers: Leftovers) -> io::Result<()> {
        let open = self.outputs.end_with_what_is_there()?;
        self.output_open = Some(match self.terminal {
            Some(_) => self.process.has_company(),
            None => open,
        });
        if leftovers == Leftovers::Kill {
            self.process.kill_all();
        }
        Ok(())
    }

    /// Acts on what the host has sent, up to the first control frame: carried out, one may take as long as it takes
    /// to go through all processes, and there may be a thousand at once.
    fn hear(&mut self) -> Result<(), Broken> {
        while let Some(step) = self.host.next(self.connection)? {
            let sink = self.stdin.as_ref().or(self.outputs.terminal());
            match step {
                HostFrame::Input(range) => {
                    let bytes = self.connection.bytes(range);
                    self.input.arrived(sink.map(|sink| sink.as_fd()), bytes)?;
                }
                HostFrame::End if self.terminal.is_some() => {
                    if let Some(character) =
                        sink.and_then(|sink| terminal::end_of_input(sink.as_fd()))
                    {
                        self.input.insert(character);
                    }
                }
                HostFrame::End => self.input.end()?,
                HostFrame::Control(control) => {
                    if let Err(refusal) = control.and_then(|control| self.carry_out(control)) {
                        if self.refused.len() < MAX_REFUSED {
                            self.refused.push(refusal.sentence().to_owned());
                        }
                    }
                    return Ok(());
                }
            }
        }
        self.hears_more = false;
        Ok(())
    }

    fn carry_out(&self, control: Control) -> Result<(), Refusal> {
        let done = match (control, self.outputs.terminal()) {
            (Control::Resize(_), None) => {
                return Err(Refusal::new("there is no terminal to resize"));
            }
            (Control::Resize(size), Some(master)) => terminal::set_size(master, size),
            (Control::Signal(signal), None) => self.process.signal(signal),
            (Control::Signal(signal), Some(master)) => match terminal::foreground(master) {
                Some(group) => self.process.signal_job(group, signal),
                None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            },
        };
        done.map_err(|error| {
            Refusal::new(match error.raw_os_error() {
                Some(libc::ESRCH) => "no process is in the terminal's foreground".to_owned(),
                _ => os_error::sentence(&error),
            })
        })
    }

    /// Hands input on, and closes its other end once it is over. Where that has got only a part, it stays open until the
    /// command is killed: the command would else take the part for all. Whatever a terminal's error is, it is hung up, which is no
    /// failure.
    fn hand_on(&mut self) -> Result<(), Refusal> {
        if self.input.can_go_on() {
            let sink = self.stdin.as_ref().or(self.outputs.terminal());
            self.input.hand_on(sink.map(|sink| sink.as_fd()));
        }
        let failure = self.input.take_failure();
        if let Some(error) = failure.filter(|_| self.terminal.is_none()) {
            let reason = os_error::sentence(&error);
            log::failure(&format_args!(
                "run: its input cannot be handed on: {reason}"
            ));
            return Err(Refusal::new(["agent error: ", &reason].concat()));
        }
        if self.input.is_over() {
            self.stdin = None;
        }
        Ok(())
    }

    /// Sends the frame under way and those behind it: what there is and is taken at once, but a few at most.
    fn send_frames(&mut self) -> Result<(), ConnectionError> {
        for _ in 0..FRAMES_A_TURN {
            self.step()?;
            if self.outputs.take_rest() {
                std::thread::sleep(REST);
            }
            if !self.frame_is_sent() || !self.outputs.are_ready() {
                break;
            }
        }
        Ok(())
    }

    /// Sends some of the frame under way, or else takes the next one.
    fn step(&mut self) -> Result<(), ConnectionError> {
        if self.frame_is_sent() {
            self.frame.clear();
            self.sent = 0;
            // Output in between: a host that sends without end gets credit without end.
            let credits = !self.has_credited || !self.outputs.are_ready();
            self.has_credited = false;
            if let Some(credit) = credits.then(|| self.input.take_credit()).flatten() {
                self.has_credited = true;
                let json = Response::Credit(credit).to_json();
                self.frame
                    .extend_from_slice(&frame::encode_frame(FrameType::JSON, json.as_bytes()));
            } else {
                self.outputs
                    .read_frame(&mut self.frame)
                    .map_err(ConnectionError::System)?;
            }
        }
        if !self.frame_is_sent() && self.connection.is_writable() {
            self.sent += self.connection.send_some(&self.frame[self.sent..])?;
        }
        Ok(())
    }

    /// Closes the terminal, by which its session gets `SIGHUP`.
    fn end_terminal(&mut self) {
        self.outputs.close();
        self.terminal = None;
    }

    /// Kills at once, whatever the host takes; then gives it the rest of the frame under way, and tells
    /// until when it may take the answer.
    fn kill(&mut self) -> Result<(Option<Ending>, Option<Instant>), ConnectionError> {
        let ending = self.process.kill_and_reap();
        let until = Some(Instant::now() + ANSWER_AFTER_DEADLINE);
        self.connection.send_all(&self.frame[self.sent..], until)?;
        Ok((ending, until))
    }

    /// What the answer tells besides, of a leader that is reaped.
    fn details(&mut self, ending: Option<Ending>) -> EndingDetails {
        let usage = ending.filter(|_| self.asked.usage).map(|ending| {
            let signal = ending.exit_code.checked_neg().map(u8::try_from);
            let signal = signal.and_then(Result::ok).filter(|signal| *signal > 0);
            (signal, ending.usage)
        });
        EndingDetails {
            output_open: self.output_open,
            usage,
            refused: std::mem::take(&mut self.refused),
        }
    }
}
