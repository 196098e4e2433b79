//! The guest's end: processes, then disks, then the machine.
//!
//! Every step has a limit, so that whatever hangs costs seconds and not the end. With nothing running
//! none of them is waited for.

use super::supervision::Supervision;
use crate::sys::epoll::{self, Epoll};
use crate::sys::eventfd::EventFd;
use crate::sys::machine::End;
use crate::sys::{file, mount, process};
use crate::{log, thread};
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How long writing out and unmounting may take.
const DISK_LIMIT: Duration = Duration::from_secs(5);

/// Of the thread that writes out.
const STACK_BYTES: usize = 64 * 1024;

/// File systems of the kernel's own, which hold nothing to write out.
const IN_MEMORY: [&str; 9] = [
    "cgroup", "cgroup2", "devpts", "devtmpfs", "proc", "ramfs", "rootfs", "sysfs", "tmpfs",
];

/// Ends every process: first nothing is accepted any more, then each is asked, and then killed.
pub(super) fn end_processes(supervision: &mut Supervision) {
    supervision.agent.stop_accepting();
    process::signal_all(libc::SIGTERM);
    // One that is stopped hears nothing else.
    process::signal_all(libc::SIGCONT);
    if !matches!(supervision.wait_for_all(Instant::now() + GRACE), Ok(true)) {
        log::notice(&"killing what has not ended by itself");
        process::signal_all(libc::SIGKILL);
        let _ = supervision.wait_for_all(Instant::now() + KILL_LIMIT);
    }
}

/// Writes everything out and unmounts what can be, in a thread: a disk that does not answer any more
/// keeps whoever waits for it for ever.
pub(super) fn write_out() {
    match try_write_out() {
        Ok(true) => {}
        Ok(false) => log::failure(&"the disks are not written out in time"),
        Err(error) => log::failure(&format_args!("cannot write the disks out: {error}")),
    }
}

fn try_write_out() -> io::Result<bool> {
    let done = Arc::new(EventFd::new()?);
    let epoll = Epoll::new()?;
    epoll.add(&*done, 0, epoll::IN)?;
    let deadline = Instant::now() + DISK_LIMIT;
    let raised = Arc::clone(&done);
    let write_out = move || {
        mount::sync();
        unmount_all();
        raised.raise();
    };
    thread::start("disks", STACK_BYTES, Box::new(write_out))?;
    while Instant::now() < deadline {
        if epoll.wait(Some(deadline))?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last mount first. What is still in use, the root among it, is made read-only.
fn unmount_all() {
    let mounts = file::read_text("/proc/self/mounts").unwrap_or_default();
    let mounts: Vec<_> = mounts.lines().filter_map(target_and_kind).collect();
    for (target, kind) in mounts.into_iter().rev() {
        if IN_MEMORY.contains(&kind) {
            continue;
        }
        if let Err(error) = mount::unmount_or_make_read_only(&target) {
            let shown = target.to_string_lossy();
            log::failure(&format_args!("cannot unmount {shown}: {error}"));
        }
    }
}

/// Mount point and type from a line of `/proc/self/mounts` (`fstab(5)`).
fn target_and_kind(line: &str) -> Option<(CString, &str)> {
    let mut fields = line.split(' ');
    let target = fields.nth(1)?;
    let kind = fields.next()?;
    Some((CString::new(unescaped(target.as_bytes())).ok()?, kind))
}

/// Turns `\040` and its like, three octal digits, into the bytes that they stand for.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let (byte, rest) = match text {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), rest),
            _ => (*first, rest),
        };
        bytes.push(byte);
        text = rest;
    }
    bytes
}

/// How the machine can end: by a restart where it ends by nothing else. That is what `reboot=k` on the
/// kernel's command line says of Firecracker's x86_64 machines, which cannot power off.
pub(super) fn as_the_machine_can(end: End, command_line: &str) -> End {
    match command_line
        .split_ascii_whitespace()
        .any(|word| word == "reboot=k")
    {
        true => End::Restart,
        false => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let line = "/dev/vdb /mnt/a\\040b\\134c ext4 rw,relatime 0 0";
        assert_eq!(target_and_kind(line), Some((c"/mnt/a b\\c".into(), "ext4")));
        assert_eq!(target_and_kind("none"), None);
    }

    #[test]
    fn machine_that_cannot_power_off_restarts() {
        let firecracker = "console=ttyS0 reboot=k panic=1\n";
        assert_eq!(as_the_machine_can(End::PowerOff, firecracker), End::Restart);
        assert_eq!(as_the_machine_can(End::PowerOff, "quiet\n"), End::PowerOff);
    }
}
