//! A terminal of a test's own, for a program that wants one.
//!
//! Owns both its ends: the one that a user sits at, and the one that the program has.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything on it may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(30);

/// A terminal of 24 rows and 80 columns.
pub(crate) struct Terminal {
    master: File,
    slave: OwnedFd,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = openat(CWD, &*name, flags, Mode::empty()).unwrap();
        rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC).unwrap();
        let terminal = Self {
            master: File::from(master),
            slave,
        };
        terminal.resize(24, 80);
        terminal
    }

    /// The end that a program has.
    pub(crate) fn end(&self) -> OwnedFd {
        self.slave.try_clone().unwrap()
    }

    /// Has a program start on it.
    pub(crate) fn spawn(&self, command: &mut Command) -> Program {
        command
            .stdin(self.end())
            .stdout(self.end())
            .stderr(self.end());
        let child = command.env("TERM", "vt220").spawn().unwrap();
        Program { child }
    }

    /// What a user would type.
    pub(crate) fn type_keys(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// Who holds it as their controlling terminal would get a signal.
    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.slave, size).unwrap();
    }

    /// How it treats what is typed.
    pub(crate) fn modes(&self) -> String {
        let modes: Termios = tcgetattr(&self.slave).unwrap();
        format!(
            "{:?} {:?} {:?} {:?}",
            modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes
        )
    }

    /// Whether each key is handed on at once, and not shown.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// What it shows from now on.
    pub(crate) fn screen(&self) -> Screen {
        let mut master = self.master.try_clone().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with the terminal, or with the test.
            while let Ok(count @ 1..) = master.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen {
            pieces: receiver,
            unread: String::new(),
        }
    }
}

/// A program on a terminal, killed at the latest when it is dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Waits for its exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal shows.
pub(crate) struct Screen {
    pieces: mpsc::Receiver<Vec<u8>>,
    unread: String,
}

impl Screen {
    /// Waits until `text` is shown, and gives what came up to its end.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            let piece = self.pieces.recv_timeout(LIMIT);
            let piece = piece.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.unread));
            self.unread.push_str(&String::from_utf8_lossy(&piece));
        }
    }
}
