//! What a command writes: two pipes, or a terminal, as frames.

use crate::connection::{Connection, ConnectionError, Source, Woken};
use crate::sys::file;
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// The most that is taken from a terminal after its command's exit, in bytes.
const TERMINAL_REST_BYTES: usize = 128 * 1024;

/// An output of so many bytes gets a larger pipe; sooner, that of a host which reads nothing would get one.
const MUCH_OUTPUT_BYTES: usize = 1 << 20;

/// Of such an output, a piece smaller than that is a reason to rest before the next is read: who writes faster than
/// the agent is woken would else be met at each write, with less in the pipe than in a frame each time.
const SMALL_PIECE_BYTES: usize = 16 * 1024;

/// One of the command's outputs.
struct Output {
    frame_type: FrameType,
    /// The reading end of a pipe, or a terminal's master.
    fd: OwnedFd,
    /// Whether it may have bytes, or its end: true until a read says `EAGAIN`.
    ready: bool,
    /// How many bytes are read of it at most: all, until the command's exit where that ends the request.
    left: usize,
    /// How many bytes are read before its pipe is made larger; 0 once it is.
    until_large: usize,
}

impl Output {
    /// Has a pipe that much goes through hold more. Tells whether to rest after a piece.
    fn count(&mut self, length: usize) -> bool {
        if self.until_large > 0 {
            self.until_large = self.until_large.saturating_sub(length);
            if self.until_large == 0 {
                file::enlarge_pipe(self.fd.as_fd());
            }
        }
        self.until_large == 0 && length < SMALL_PIECE_BYTES
    }
}

/// Standard output and error, each until its end of file.
pub(super) struct Outputs {
    each: [Option<Output>; 2],
    is_terminal: bool,
    /// Which is read first next time, so that neither starves the other.
    turn: usize,
    /// Whether the command has exited where that ends the request: what there is now is the rest.
    ending: bool,
    /// Whether more would come at once if it were waited for.
    may_rest: bool,
}

impl Outputs {
    /// Has the connection watch them; without standard error, standard output is a terminal's master.
    pub(super) fn new(
        connection: &Connection<'_>,
        stdout: OwnedFd,
        stderr: Option<OwnedFd>,
    ) -> Result<Self, ConnectionError> {
        let is_terminal = stderr.is_none();
        // Of a pipe's reading end, no event says that it can be written to.
        connection.watch(&stdout, Source::Stdout)?;
        if let Some(stderr) = &stderr {
            connection.watch(stderr, Source::Stderr)?;
        }
        let output = |frame_type, fd| Output {
            frame_type,
            fd,
            ready: true,
            left: usize::MAX,
            until_large: MUCH_OUTPUT_BYTES,
        };
        Ok(Self {
            each: [
                Some(output(FrameType::STDOUT, stdout)),
                stderr.map(|stderr| output(FrameType::STDERR, stderr)),
            ],
            is_terminal,
            turn: 0,
            ending: false,
            may_rest: false,
        })
    }

    pub(super) fn note(&mut self, woken: Woken) {
        for (output, source) in self.each.iter_mut().zip([Source::Stdout, Source::Stderr]) {
            if let Some(output) = output {
                output.ready |= woken.has(source);
            }
        }
    }

    /// The terminal's master, while it is open.
    pub(super) fn terminal(&self) -> Option<&OwnedFd> {
        let output = self.each[0].as_ref().filter(|_| self.is_terminal)?;
        Some(&output.fd)
    }

    /// Whether there may be bytes to read now.
    pub(super) fn are_ready(&self) -> bool {
        self.each.iter().flatten().any(|output| output.ready)
    }

    /// Whether it is better to rest before the next frame, told once.
    pub(super) fn take_rest(&mut self) -> bool {
        std::mem::take(&mut self.may_rest)
    }

    /// Whether all of them have ended.
    pub(super) fn have_ended(&self) -> bool {
        self.each.iter().all(Option::is_none)
    }

    /// Closes them.
    pub(super) fn close(&mut self) {
        self.each = [None, None];
    }

    /// At the command's exit: what is there now is the rest, whoever else has them open. Tells whether
    /// anybody could still write to a pipe.
    pub(super) fn end_with_what_is_there(&mut self) -> io::Result<bool> {
        self.ending = true;
        let mut open = false;
        for output in self.each.iter_mut().flatten() {
            output.ready = true;
            if self.is_terminal {
                output.left = TERMINAL_REST_BYTES;
            } else {
                let content = file::pipe_content(output.fd.as_fd())?;
                open |= content.has_writers;
                output.left = content.bytes;
            }
        }
        Ok(open)
    }

    /// Reads the next frame into `frame`, which is empty; it stays so where there is none now.
    pub(super) fn read_frame(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        for at in [self.turn, 1 - self.turn] {
            let Some(output) = self.each[at].as_mut().filter(|output| output.ready) else {
                continue;
            };
            frame.extend_from_slice(&[0; HEADER_BYTES]);
            match file::read_at_most(output.fd.as_fd(), frame, output.left) {
                Ok(0) => self.each[at] = None,
                Ok(length) => {
                    output.left -= length;
                    self.may_rest = output.count(length) && !self.is_terminal;
                    let header = FrameHeader::new(output.frame_type, length).encode();
                    frame[..HEADER_BYTES].copy_from_slice(&header);
                    self.turn = 1 - at;
                    return Ok(());
                }
                // A terminal that was hung up by a process on it (`vhangup(2)`) says `EIO`: no end, either.
                Err(error) if self.is_terminal || error.kind() == io::ErrorKind::WouldBlock => {
                    output.ready = false;
                    if self.ending {
                        // All is read, or somebody else has read what there was at the exit.
                        self.each[at] = None;
                    }
                }
                Err(error) => return Err(error),
            }
            frame.clear();
        }
        Ok(())
    }
}
