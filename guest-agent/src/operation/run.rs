//! `run`: a command, its output as it comes, and its end.
//!
//! One loop waits for both pipes, the leader's exit, the connection and the deadline together, so
//! that each is acted on at once whatever the others do. It holds one frame at a time: while the
//! host has not taken that, the pipes are not read, and the command waits. The last frame is written
//! in one place, and nothing after it. Any early return ends the command, by [`Process`]'s drop.

use crate::accounts;
use crate::connection::{Connection, ConnectionError, Source, Woken};
use crate::log;
use crate::os_error;
use crate::permits::Permit;
use crate::process::Process;
use crate::server::Agent;
use crate::sys::file;
use crate::sys::process::Ending;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES};
use smolvm_protocol::request::{Leftovers, RunRequest, Timeout, Until};
use smolvm_protocol::response::{EndingDetails, Refusal, Response};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// After a deadline: how long the host has to take the frame under way and the answer.
const ANSWER_AFTER_DEADLINE: Duration = Duration::from_secs(30);

/// Between two tries to reap a leader that has exited and cannot be reaped yet: whoever traces it is
/// told first (`ptrace(2)`).
const REAP_RETRY: Duration = Duration::from_millis(10);

pub(crate) fn serve(
    agent: &Agent,
    connection: &mut Connection<'_>,
    request: RunRequest,
    turn: Option<Permit<'_>>,
) -> Result<(), ConnectionError> {
    let _permit = agent.served.acquire(connection)?;
    let timeout = request.timeout;
    let (usage, until) = (request.usage, request.until);
    let asks_more = request.uses_additions();
    let account = match request.user.as_slice() {
        [] => Ok(None),
        user => accounts::find(user).map(Some),
    };
    let started =
        account.map(|account| Process::start(&request, &agent.inheritance, account.as_ref()));
    drop(request);
    drop(turn);
    let refusal = match started {
        Ok(Ok(process)) => {
            return Run::new(connection, process, usage, until)?.until_end(timeout);
        }
        Ok(Err(error)) => {
            // Without the shell's path, which is from the environment.
            log::failure(&format_args!("run: spawn failed: {}", error.reason));
            let errno = error.errno.filter(|_| asks_more).and_then(os_error::name);
            Refusal::new(format!("spawn failed: {error}")).with_errno(errno)
        }
        Err(refusal) => {
            log::failure(&"run: its user was refused, and its host told why");
            refusal
        }
    };
    connection.answer(&Response::Refused(&refusal.of_run()), None)
}

/// One of the command's two outputs.
struct Output {
    frame_type: FrameType,
    pipe: OwnedFd,
    /// Whether it may have bytes, or its end: true until a read says `EAGAIN`.
    ready: bool,
    /// How many bytes are read of it at most: all, until the command's exit where that ends the request.
    left: usize,
}

/// A command whose request is not answered yet.
struct Run<'connection, 'stop> {
    connection: &'connection mut Connection<'stop>,
    process: Process,
    /// Whether the answer tells what the command has used.
    tells_usage: bool,
    until: Until,
    /// Whether somebody had an output open at the command's exit, where that ends the request.
    output_open: Option<bool>,
    /// Standard output and error, each until its end of file.
    outputs: [Option<Output>; 2],
    /// Which output is read first next time, so that neither starves the other.
    turn: usize,
    leader_exited: bool,
    /// The frame under way, and how much of it the kernel has taken.
    frame: Vec<u8>,
    sent: usize,
}

impl<'connection, 'stop> Run<'connection, 'stop> {
    fn new(
        connection: &'connection mut Connection<'stop>,
        mut process: Process,
        tells_usage: bool,
        until: Until,
    ) -> Result<Self, ConnectionError> {
        let output = |frame_type, pipe: Option<OwnedFd>| {
            pipe.map(|pipe| Output {
                frame_type,
                pipe,
                ready: true,
                left: usize::MAX,
            })
        };
        let outputs = [
            output(FrameType::STDOUT, process.stdout.take()),
            output(FrameType::STDERR, process.stderr.take()),
        ];
        for (output, source) in outputs.iter().zip([Source::Stdout, Source::Stderr]) {
            if let Some(output) = output {
                connection.watch(&output.pipe, source)?;
            }
        }
        connection.watch(&process.exit, Source::Leader)?;
        let frame = Vec::with_capacity(HEADER_BYTES + MAX_CHUNK_BYTES);
        Ok(Self {
            connection,
            process,
            tells_usage,
            until,
            output_open: None,
            outputs,
            turn: 0,
            leader_exited: false,
            frame,
            sent: 0,
        })
    }

    /// Streams until the command's end or its deadline, and answers.
    fn until_end(mut self, timeout: Option<Timeout>) -> Result<(), ConnectionError> {
        let deadline = timeout
            .and_then(Timeout::duration)
            .and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let is_over = self.is_over();
            let deadline = deadline.filter(|_| self.output_open.is_none());
            if is_over {
                if let Some(ending) = self.process.reap().map_err(ConnectionError::System)? {
                    // After a deadline this answer is kept no longer than the other would be.
                    let until = deadline.map(|at| at.max(Instant::now()) + ANSWER_AFTER_DEADLINE);
                    let response = Response::Exit {
                        exit_code: ending.exit_code,
                        more: self.details(Some(ending)),
                    };
                    return self.connection.answer(&response, until);
                }
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return self.time_out(timeout);
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
            if self.connection.is_readable() {
                self.connection.discard_arrived()?;
            }
            self.step()?;
        }
    }

    /// Whether the command has exited, both outputs have ended, and all is sent.
    fn is_over(&self) -> bool {
        self.leader_exited && self.frame_is_sent() && self.outputs.iter().all(Option::is_none)
    }

    fn frame_is_sent(&self) -> bool {
        self.sent == self.frame.len()
    }

    /// Whether there is something to do before anything happens.
    fn can_go_on(&self) -> bool {
        let can_move = if self.frame_is_sent() {
            self.outputs.iter().flatten().any(|output| output.ready)
        } else {
            self.connection.is_writable()
        };
        can_move || self.connection.is_readable()
    }

    fn note(&mut self, woken: Woken) -> Result<(), ConnectionError> {
        for (output, source) in self
            .outputs
            .iter_mut()
            .zip([Source::Stdout, Source::Stderr])
        {
            if let Some(output) = output {
                output.ready |= woken.has(source);
            }
        }
        if woken.has(Source::Leader) && !self.leader_exited {
            self.leader_exited = true;
            if let Until::Exit(leftovers) = self.until {
                self.end_outputs(leftovers)
                    .map_err(ConnectionError::System)?;
            }
        }
        Ok(())
    }

    /// At the command's exit: what is in the pipes now is the rest of its output, whoever else has them open.
    fn end_outputs(&mut self, leftovers: Leftovers) -> io::Result<()> {
        let mut open = false;
        for output in self.outputs.iter_mut().flatten() {
            let content = file::pipe_content(output.pipe.as_fd())?;
            open |= content.has_writers;
            output.left = content.bytes;
            output.ready = true;
        }
        self.output_open = Some(open);
        if leftovers == Leftovers::Kill {
            self.process.kill_group();
        }
        Ok(())
    }

    /// Sends some of the frame under way, or else reads the next one.
    fn step(&mut self) -> Result<(), ConnectionError> {
        if self.frame_is_sent() {
            self.read_frame()?;
        }
        if !self.frame_is_sent() && self.connection.is_writable() {
            self.sent += self.connection.send_some(&self.frame[self.sent..])?;
        }
        Ok(())
    }

    fn read_frame(&mut self) -> Result<(), ConnectionError> {
        self.frame.clear();
        self.sent = 0;
        for at in [self.turn, 1 - self.turn] {
            let Some(output) = self.outputs[at].as_mut().filter(|output| output.ready) else {
                continue;
            };
            self.frame.extend_from_slice(&[0; HEADER_BYTES]);
            let read = file::read_at_most(output.pipe.as_fd(), &mut self.frame, output.left);
            match read {
                Ok(0) => self.outputs[at] = None,
                Ok(length) => {
                    output.left -= length;
                    let header = FrameHeader::new(output.frame_type, length).encode();
                    self.frame[..HEADER_BYTES].copy_from_slice(&header);
                    self.turn = 1 - at;
                    return Ok(());
                }
                // Somebody else has read from it what there was at the exit.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && self.output_open.is_some() =>
                {
                    self.outputs[at] = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => output.ready = false,
                Err(error) => return Err(ConnectionError::System(error)),
            }
            self.frame.clear();
        }
        Ok(())
    }

    /// At the deadline: kills on time, whatever the host takes; then gives it the rest of the frame
    /// under way and the answer.
    fn time_out(mut self, timeout: Option<Timeout>) -> Result<(), ConnectionError> {
        let ending = self.process.kill_and_reap();
        let until = Some(Instant::now() + ANSWER_AFTER_DEADLINE);
        self.connection.send_all(&self.frame[self.sent..], until)?;
        let seconds = timeout.map_or(0.0, Timeout::seconds);
        let more = self.details(ending);
        self.connection
            .answer(&Response::TimedOut { seconds, more }, until)
    }

    /// What the answer tells besides, of a leader that is reaped.
    fn details(&self, ending: Option<Ending>) -> EndingDetails {
        let usage = ending.filter(|_| self.tells_usage).map(|ending| {
            let signal = ending.exit_code.checked_neg().map(u8::try_from);
            let signal = signal.and_then(Result::ok).filter(|signal| *signal > 0);
            (signal, ending.usage)
        });
        EndingDetails {
            output_open: self.output_open,
            usage,
        }
    }
}
