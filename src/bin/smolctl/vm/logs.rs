//! `smolctl vm logs`.

use crate::arguments::{LogOf, VmLogsArguments};
use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smolvm_host::cancel::Cancel;
use smolvm_host::printable::PrintableLines;
use smolvm_host::standard_stream::StandardStream;
use smolvm_host::target::VmName;
use smolvm_host::vm::{Log, LogKind, Registry};
use std::io::{self, IsTerminal, Write};

/// So much is read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How often is looked for more.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

pub(super) fn logs(arguments: &VmLogsArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let name = VmName::parse(&arguments.name).map_err(Failure::usage)?;
    let registry = Registry::open().map_err(Failure::local)?;
    let kind = match arguments.of {
        LogOf::Console => LogKind::Console,
        LogOf::Qemu => LogKind::Qemu,
        LogOf::Device => LogKind::Device,
    };
    let mut log = Log::open(&registry, &name, kind)?;
    let mut shown = Shown::new(cancel)?;
    let mut piece = vec![0; PIECE_BYTES];
    // A guest that never falls silent has an end, too, unless it is followed.
    let mut left = match arguments.follow {
        true => u64::MAX,
        false => log.length()?,
    };
    while left > 0 {
        // Asked before the last look, after which nothing can have come.
        let may_grow = arguments.follow && log.may_grow()?;
        let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        match log.read(&mut piece[..wanted])? {
            0 if may_grow => wait(cancel)?,
            0 => break,
            length => {
                shown.write(&piece[..length], cancel)?;
                left = left.saturating_sub(length as u64);
            }
        }
    }
    log.check_existence()?;
    Ok(0)
}

fn wait(cancel: &Cancel) -> Result<(), Failure> {
    let mut fds = [PollFd::new(cancel, PollFlags::IN)];
    // A failed wait is a short one.
    let _ = poll(&mut fds, Some(&LOOK_INTERVAL));
    match cancel.is_cancelled() {
        true => Err(Failure::cancelled()),
        false => Ok(()),
    }
}

/// Standard output; a terminal gets nothing that could steer it.
struct Shown {
    output: StandardStream,
    lines: Option<PrintableLines>,
}

impl Shown {
    fn new(cancel: &Cancel) -> Result<Self, Failure> {
        Ok(Self {
            output: StandardStream::stdout(cancel).map_err(Failure::output)?,
            lines: io::stdout().is_terminal().then(PrintableLines::default),
        })
    }

    fn write(&mut self, bytes: &[u8], cancel: &Cancel) -> Result<(), Failure> {
        let written = match &mut self.lines {
            Some(lines) => self.output.write_all(lines.next(bytes).as_bytes()),
            None => self.output.write_all(bytes),
        };
        written.map_err(|error| match cancel.is_cancelled() {
            true => Failure::cancelled(),
            false => Failure::output(error),
        })
    }
}
