//! What is sent to a command while it runs: its input, signals, keys on a terminal.

use crate::checksum::{Checksum, Pattern};
use crate::guest::{Checked, Guest, same};
use smolvm_host::cancel::Cancel;
use smolvm_host::{Child, Command, Outcome, Shell, Signal, Stdin};
use std::io::{self, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long one step may take, under emulation, too.
const LIMIT: Duration = Duration::from_secs(60);

/// What `cat` is sent at most.
const MAX_INPUT_BYTES: u64 = 8 << 20;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn library(guest: &Guest) -> Result<smolvm_host::Guest, String> {
    let cancel = Cancel::new().map_err(told)?;
    smolvm_host::Guest::over_channel(&guest.channel()?, &cancel).map_err(told)
}

/// A command's output as it comes.
struct Output {
    pieces: mpsc::Receiver<Vec<u8>>,
    text: String,
}

/// Passes a command's output on.
struct Sink(mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    /// Starts a command whose output this is.
    fn of(command: Command<'static>) -> Result<(Child, Self), String> {
        let (sender, pieces) = mpsc::channel();
        // A shell says there what a signal did to its children.
        let command = command.stdout(Sink(sender)).stderr(io::sink());
        let child = command.deadline(LIMIT * 2).spawn();
        let text = String::new();
        Ok((child.map_err(told)?, Self { pieces, text }))
    }

    /// Waits until `text` has come, and forgets all up to its end.
    fn wait_for(&mut self, text: &str) -> Checked {
        loop {
            if let Some(at) = self.text.find(text) {
                self.text.drain(..at + text.len());
                return Ok(());
            }
            let piece = self.pieces.recv_timeout(LIMIT);
            let piece = piece.map_err(|_| format!("{text:?} does not come: {:?}", self.text))?;
            self.text.push_str(&String::from_utf8_lossy(&piece));
        }
    }
}

pub(crate) fn input(guest: &Guest) -> Checked {
    let mut back = Checksum::default();
    let bytes = MAX_INPUT_BYTES.min(guest.max_transfer_bytes);
    let began = Instant::now();
    let command = library(guest)?.program("cat").stdout(&mut back);
    let command = command.stdin(Stdin::reader(Pattern::new(5, bytes)));
    let outcome = command.deadline(LIMIT * 2).run().map_err(told)?;
    println!(
        "measured: {} MiB of input and as much output in {:.2} s",
        bytes >> 20,
        began.elapsed().as_secs_f64()
    );
    same("outcome", &outcome, &Outcome::Exited(0))?;
    same("bytes", &back.bytes, &bytes)?;
    let sent = Checksum::of(Pattern::new(5, bytes)).map_err(told)?;
    same("checksum", &back.sha256(), &sent.sha256())
}

pub(crate) fn signal(guest: &Guest) -> Checked {
    let line = "trap 'echo got usr1' USR1; echo ready; while :; do sleep 0.1; done";
    // Its input is blocked all the time.
    let command = library(guest)?.command(line).shell(Shell::Raw);
    let (child, mut output) = Output::of(command.stdin(Stdin::reader(io::repeat(0))))?;
    output.wait_for("ready\n")?;
    child.signal(Signal::USR1).map_err(told)?;
    output.wait_for("got usr1\n")?;
    child.signal(Signal::TERM).map_err(told)?;
    let outcome = child.wait().map_err(told)?;
    same("outcome", &outcome, &Outcome::Killed(15))
}

pub(crate) fn terminal(guest: &Guest) -> Checked {
    let line =
        "stty size; echo $TERM; trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done";
    let command = library(guest)?.command(line).shell(Shell::Raw);
    let command = command.terminal(24, 80).term("vt220").stdin(Stdin::piped());
    let (mut child, mut output) = Output::of(command)?;
    let mut keys = child.take_stdin().ok_or("it has no input")?;
    output.wait_for("24 80\r\nvt220\r\nready\r\n")?;
    child.resize(50, 132).map_err(told)?;
    output.wait_for("50 132\r\n")?;
    keys.write_all(b"\x03").map_err(told)?;
    let outcome = child.wait().map_err(told)?;
    same("outcome", &outcome, &Outcome::Killed(2))
}

pub(crate) fn shell(guest: &Guest) -> Checked {
    let line = "exec \"${SHELL:-/bin/sh}\" -l";
    let command = library(guest)?.command(line).shell(Shell::Raw);
    let command = command.terminal(24, 80).stdin(Stdin::piped());
    let (mut child, mut output) = Output::of(command)?;
    let mut keys = child.take_stdin().ok_or("it has no input")?;
    let mut type_keys = |text: &str| keys.write_all(text.as_bytes()).map_err(told);
    type_keys("tty; echo $((6 * 7)) answer''s\r")?;
    output.wait_for("/dev/pts/")?;
    output.wait_for("42 answers\r\n")?;
    // A job of its own group, which the end of the terminal ends, too.
    type_keys("sleep 1000 & echo jo''b=$!=\r")?;
    output.wait_for("job=")?;
    output.wait_for("=\r\n")?;
    type_keys("exit 3\r")?;
    let outcome = child.wait().map_err(told)?;
    same("outcome", &outcome, &Outcome::Exited(3))?;
    guest.wait_until("! pidof sleep", LIMIT)
}
