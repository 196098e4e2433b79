//! The guest's end: processes, then disks, then the machine.
//!
//! Every step has a limit, so that whatever hangs costs seconds and not the end. With nothing running
//! none of them is waited for.

use super::supervision::Supervision;
use crate::log;
use crate::sys::epoll::{self, Epoll};
use crate::sys::eventfd::EventFd;
use crate::sys::machine::End;
use crate::sys::{file, mount, process, thread};
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How long writing out and unmounting may take in all.
const DISK_LIMIT: Duration = Duration::from_secs(5);

/// Of a thread that writes out.
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

/// Writes everything out and unmounts what can be, the last mount first. What is still in use, the root
/// among it, is made read-only.
pub(super) fn write_out() {
    let mounts = file::read_text("/proc/self/mounts").unwrap_or_default();
    let mounts: Vec<_> = mounts.lines().filter_map(target_and_kind).collect();
    let mut steps: Vec<Step> = vec![Box::new(mount::sync)];
    for (target, kind) in mounts.into_iter().rev() {
        if !IN_MEMORY.contains(&kind) {
            steps.push(Box::new(move || unmount(&target)));
        }
    }
    match carry_out(steps, DISK_LIMIT) {
        Ok(true) => {}
        Ok(false) => log::failure(&"the disks are not written out in time"),
        Err(error) => log::failure(&format_args!("cannot write the disks out: {error}")),
    }
}

fn unmount(target: &CStr) {
    if let Err(error) = mount::unmount_or_make_read_only(target) {
        let shown = target.to_string_lossy();
        log::failure(&format_args!("cannot unmount {shown}: {error}"));
    }
}

type Step = Box<dyn FnOnce() + Send>;

/// Carries steps out in their order, each in a thread: a disk that does not answer any more keeps whoever
/// waits for it for ever. A step that takes longer than half of the time that is left goes on while the
/// next ones follow: a slow disk is waited for, and a dead one costs the others nothing. Says whether all
/// have ended within `limit`.
fn carry_out(steps: Vec<Step>, limit: Duration) -> io::Result<bool> {
    let epoll = Epoll::new()?;
    let deadline = Instant::now() + limit;
    // Kept, so that no end of a step is missed.
    let mut ends = Vec::new();
    let mut ended = 0;
    for step in steps {
        let token = ends.len() as u64;
        let end = Arc::new(EventFd::new()?);
        epoll.add(&*end, token, epoll::IN | epoll::EDGE)?;
        ends.push(Arc::clone(&end));
        let work = move || {
            step();
            end.raise();
        };
        thread::start(c"disks", STACK_BYTES, Box::new(work))?;
        let now = Instant::now();
        let next_at = now + deadline.saturating_duration_since(now) / 2;
        let mut is_over = false;
        while !is_over && Instant::now() < next_at {
            for ready in epoll.wait(Some(next_at))? {
                ended += 1;
                is_over |= ready.token == token;
            }
        }
    }
    while ended < ends.len() && Instant::now() < deadline {
        ended += epoll.wait(Some(deadline))?.count();
    }
    Ok(ended == ends.len())
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
    use std::sync::mpsc;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let line = "/dev/vdb /mnt/a\\040b\\134c ext4 rw,relatime 0 0";
        assert_eq!(target_and_kind(line), Some((c"/mnt/a b\\c".into(), "ext4")));
        assert_eq!(target_and_kind("none"), None);
    }

    #[test]
    fn step_that_never_ends_holds_back_no_other_and_has_its_limit() {
        let (done, heard) = mpsc::channel();
        let (never, waits) = mpsc::channel::<()>();
        let told = |number: u32| -> Step {
            let done = done.clone();
            Box::new(move || done.send(number).unwrap())
        };
        let stuck: Step = Box::new(move || assert!(waits.recv().is_err()));
        let steps = [told(1), stuck, told(2), told(3)];
        let limit = Duration::from_secs(2);
        let began = Instant::now();
        assert!(!carry_out(steps.into(), limit).unwrap());
        assert!(began.elapsed() >= limit);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
        drop(never);
    }

    #[test]
    fn steps_that_end_are_carried_out_in_order_and_not_waited_for_longer() {
        let (done, heard) = mpsc::channel();
        let steps = (0..20).map(|number| -> Step {
            let done = done.clone();
            Box::new(move || done.send(number).unwrap())
        });
        let limit = Duration::from_secs(60);
        let began = Instant::now();
        assert!(carry_out(steps.collect(), limit).unwrap());
        assert!(began.elapsed() < limit);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), Vec::from_iter(0..20));
    }

    #[test]
    fn machine_that_cannot_power_off_restarts() {
        let firecracker = "console=ttyS0 reboot=k panic=1\n";
        assert_eq!(as_the_machine_can(End::PowerOff, firecracker), End::Restart);
        assert_eq!(as_the_machine_can(End::PowerOff, "quiet\n"), End::PowerOff);
    }
}
