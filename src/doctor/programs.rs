//! QEMU, the vsock device's program, and those that images and logins want.
//!
//! Owns running each for its version under a time limit: one that is there may be for another system.

use super::remedy::install;
use super::{Finding, Subject};
use crate::arch::Arch;
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::image::find_tool;
use crate::vm::device::find_program;
use crate::vm::qemu;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// The most that is read of what it tells.
const MAX_TOLD_BYTES: usize = 4096;

pub(super) fn qemus(cancel: &Cancel) -> [Finding; 2] {
    [
        (Arch::X86_64, "qemu-system-x86"),
        (Arch::Aarch64, "qemu-system-arm"),
    ]
    .map(|(arch, package)| {
        let program = qemu::program(arch);
        let subject = Subject::Qemu(arch);
        let Some(path) = find_program(&program) else {
            let told = format!("{program} is not on the PATH");
            return Finding::missing(subject, told).mended_by(install(package));
        };
        match version(&path, cancel) {
            Ok(version) => Finding::ok(subject, version),
            Err(told) => Finding::missing(subject, told).mended_by(install(package)),
        }
    })
}

/// No system's package of it is known for certain; a checkout of this project brings one by itself.
pub(super) fn remedy_for_device() -> String {
    match Path::new("scripts/vm-tools.sh").exists() {
        true => "scripts/vm-tools.sh".to_owned(),
        false => "cargo install --locked vhost-device-vsock".to_owned(),
    }
}

/// Those that a VM's start does not need.
pub(super) fn others() -> [Finding; 3] {
    let ssh = match find_program("ssh") {
        Some(path) => Finding::ok(Subject::Ssh, path.display().to_string()),
        None => Finding::missing(Subject::Ssh, "there is no ssh to log in to an ssh image by")
            .mended_by(install("openssh-client")),
    };
    let [mke2fs, debugfs] =
        [(Subject::Mke2fs, "mke2fs"), (Subject::Debugfs, "debugfs")].map(|(subject, name)| {
            match find_tool(name) {
                Ok(path) => Finding::ok(subject, path.display().to_string()),
                Err(_) => Finding::missing(subject, format!("there is no {name} to make disks by"))
                    .mended_by(install("e2fsprogs")),
            }
        });
    [ssh, mke2fs, debugfs]
}

/// The first line that a program says of its version.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn version(program: &Path, cancel: &Cancel) -> Result<String, String> {
    let refuse = |reason: &str| Err(format!("{} does not run: {reason}", program.display()));
    let child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut running = match child {
        Ok(child) => Running { child },
        Err(error) => return refuse(&error.to_string()),
    };
    let told = match running.told(cancel) {
        Ok(told) => told,
        Err(error) => return refuse(&error.to_string()),
    };
    let text = String::from_utf8_lossy(&told);
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => refuse("it tells no version"),
    }
}

/// A program that ends with us.
struct Running {
    child: Child,
}

impl Running {
    /// What it says until it closes its output, or has said enough.
    fn told(&mut self, cancel: &Cancel) -> io::Result<Vec<u8>> {
        let Some(mut stdout) = self.child.stdout.take() else {
            return Ok(Vec::new());
        };
        let deadline = Deadline::after(VERSION_LIMIT);
        let mut told = vec![0; MAX_TOLD_BYTES];
        let mut length = 0;
        while length < told.len() {
            let mut fds = [
                PollFd::new(&stdout, PollFlags::IN),
                PollFd::new(cancel, PollFlags::IN),
            ];
            match poll(&mut fds, deadline.timespec().as_ref()) {
                Ok(0) if deadline.has_passed() => {
                    let limit = VERSION_LIMIT.as_secs();
                    return Err(io::Error::other(format!("it said nothing for {limit} s")));
                }
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) if !fds[1].revents().is_empty() => {
                    return Err(io::Error::other("interrupted"));
                }
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            match stdout.read(&mut told[length..])? {
                0 => break,
                read => length += read,
            }
        }
        told.truncate(length);
        Ok(told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_first_line_or_why_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = folder.path().join(name);
            crate::test_program::write_program(&path, script);
            version(&path, &Cancel::new().unwrap())
        };
        let good = program("good", "#!/bin/sh\necho \"x $1\"; echo more\n");
        assert_eq!(good.unwrap(), "x --version");
        let silent = program("silent", "#!/bin/sh\nexit 1\n").unwrap_err();
        assert!(silent.ends_with("silent does not run: it tells no version"));
        let foreign = program("foreign", "#!/nowhere\n").unwrap_err();
        assert!(
            foreign.contains("foreign does not run: No such file"),
            "{foreign}"
        );
        let endless = program("endless", "#!/bin/sh\nexec yes v\n");
        assert_eq!(endless.unwrap(), "v");
    }
}
