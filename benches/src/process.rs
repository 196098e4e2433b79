//! Programs that are started to be measured, and what the kernel tells of them.
//!
//! Owns their end: a [`Server`] is killed and reaped, with everything of its own that it started, when it is dropped.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What starting and ending anything may take.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a condition holds, without a pause, since this is timed; the server's end is an error.
    pub(crate) fn wait_until(&mut self, mut holds: impl FnMut() -> bool) -> Result<Duration> {
        let began = Instant::now();
        while !holds() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before it listened");
            }
            if began.elapsed() > START_LIMIT {
                bail!("it did not listen within {START_LIMIT:?}");
            }
            std::thread::yield_now();
        }
        Ok(began.elapsed())
    }

    /// Its processes: itself, and what runs the same program below it (a server that forks a process a connection).
    pub(crate) fn processes(&self) -> Vec<u32> {
        let programs = family_of(self.pid());
        let own = programs.first().map(|(_, name)| stem(name).to_owned());
        let is_own = |name: &str| own.as_deref() == Some(stem(name));
        programs
            .iter()
            .filter(|(_, name)| is_own(name))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// `Rss` and `Pss` of its processes, in KiB.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut sum = Memory::default();
        for pid in self.processes() {
            // A connection's process may end meanwhile.
            if let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
                sum.resident_kib += field(&rollup, "Rss:")?;
                sum.unshared_kib += field(&rollup, "Pss:")?;
            }
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Children first known, then killed: afterwards nobody could tell whose they were.
        let family = family_of(self.pid());
        let _ = self.child.kill();
        for (pid, _) in family.iter().skip(1) {
            let _ = kill(*pid);
        }
        let _ = self.child.wait();
    }
}

fn kill(pid: u32) -> Option<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok()
}

/// Memory of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    pub(crate) unshared_kib: u64,
}

fn field(rollup: &str, name: &str) -> Result<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no {name} in smaps_rollup"))
}

/// A process and all that descends from it, with the names of their programs; the process first.
pub(crate) fn family_of(ancestor: u32) -> Vec<(u32, String)> {
    let mut children: BTreeMap<u32, Vec<(u32, String)>> = BTreeMap::new();
    let mut family = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let Some((name, parent)) = name_and_parent(pid) else {
            continue;
        };
        if pid == ancestor {
            family.push((pid, name));
        } else {
            children.entry(parent).or_default().push((pid, name));
        }
    }
    let mut next = 0;
    while let Some((pid, _)) = family.get(next) {
        let found = children.remove(pid).unwrap_or_default();
        family.extend(found);
        next += 1;
    }
    family
}

/// From `/proc/PID/stat`; none where the process has ended.
fn name_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_ascii_whitespace();
    let is_zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    (!is_zombie).then_some((name, parent))
}

/// OpenSSH's server is several programs since 9.8: sshd, sshd-session, sshd-auth.
fn stem(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// What of a process stays behind after requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) children: usize,
}

/// What a process holds now; zombies are children, too.
pub(crate) fn holdings(pid: u32) -> Result<Holdings> {
    let count = |folder: &str| -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count())
    };
    let mut children = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let listed = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children += listed.split_whitespace().count();
    }
    Ok(Holdings {
        descriptors: count("fd")?,
        threads: count("task")?,
        children,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_server_is_gone_with_what_it_started() {
        let mut command = Command::new("sh");
        let server = Server::start(command.args(["-c", "sleep 600 & wait"])).unwrap();
        let began = Instant::now();
        while family_of(server.pid()).len() < 2 {
            assert!(began.elapsed() < START_LIMIT, "it starts its child");
        }
        let family = family_of(server.pid());
        drop(server);
        let began = Instant::now();
        while family
            .iter()
            .any(|(pid, _)| name_and_parent(*pid).is_some())
        {
            assert!(began.elapsed() < START_LIMIT, "all of it ends");
        }
    }

    #[test]
    fn memory_of_a_server_is_not_that_of_its_commands() {
        let mut command = Command::new("sh");
        let server = Server::start(command.args(["-c", "sleep 600 & wait"])).unwrap();
        let began = Instant::now();
        // Until it has executed, the child is the shell's own program.
        while !family_of(server.pid())
            .iter()
            .any(|(_, name)| name == "sleep")
        {
            assert!(began.elapsed() < START_LIMIT, "it starts its child");
        }
        assert_eq!(server.processes(), [server.pid()]);
        assert!(server.memory().unwrap().resident_kib > 0);
    }

    #[test]
    fn field_of_a_rollup_is_its_number() {
        assert_eq!(field("Rss:   376 kB\nPss:   20 kB\n", "Pss:").unwrap(), 20);
        assert!(field("Rss: x", "Pss:").is_err());
    }
}
