//! The agent as process 1 sees it: its start, the words it says, its end, its restarts.
//!
//! Owns the listener, which outlives every agent, and the agent's control group: whatever an agent
//! started is in it, and is ended when that agent dies, before the next one starts. The first restart
//! is immediate; the delay then grows, and starts over once an agent has lived for [`STABLE`].

use super::child::{self, Gifts};
use crate::log;
use crate::process_one;
use crate::sys::file;
use crate::sys::process::{self, Pid};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Its folder in the file system of control groups.
const CGROUP: &CStr = c"/sys/fs/cgroup/smolvm-agent";
const CGROUP_FOLDER: &str = "/sys/fs/cgroup/smolvm-agent";
const CGROUP_PROCS: &str = "/sys/fs/cgroup/smolvm-agent/cgroup.procs";
const CGROUP_KILL: &str = "/sys/fs/cgroup/smolvm-agent/cgroup.kill";
const CGROUP_FREEZE: &str = "/sys/fs/cgroup/smolvm-agent/cgroup.freeze";

/// How often a control group without `cgroup.kill` is looked through for processes to kill.
const KILL_ROUNDS: usize = 100;
/// How many control groups are looked through each time, the agent's own and those below it.
const MAX_CGROUPS: usize = 1024;
const KILL_ROUND: Duration = Duration::from_millis(1);

/// An agent that has lived so long has started well.
const STABLE: Duration = Duration::from_secs(60);
/// The delay after the immediate restart; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// This very program, also where its file has been replaced.
const SELF: &str = "/proc/self/exe";

/// Keeps an agent running.
pub(super) struct AgentKeeper {
    /// Closed only in the end.
    listener: Option<OwnedFd>,
    running: Option<Running>,
    /// When to start the next one; counts while none runs.
    start_at: Instant,
    delay: Duration,
}

struct Running {
    pid: Pid,
    line: UnixStream,
    since: Instant,
}

impl AgentKeeper {
    /// Nothing runs yet; the first start is due at once.
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self {
            listener: Some(listener),
            running: None,
            start_at: Instant::now(),
            delay: Duration::ZERO,
        }
    }

    /// One whose agent runs.
    #[cfg(test)]
    pub(super) fn with_agent(listener: OwnedFd, pid: Pid, line: UnixStream) -> Self {
        let mut keeper = Self::new(listener);
        let since = Instant::now();
        keeper.running = Some(Running { pid, line, since });
        keeper
    }

    /// When a start is due; `None` while an agent runs, and in the end. Nothing but these two states
    /// says so: whatever failed before, an agent that is not there is started.
    pub(super) fn start_at(&self) -> Option<Instant> {
        let is_wanted = self.listener.is_some() && self.running.is_none();
        is_wanted.then_some(self.start_at)
    }

    /// Starts an agent where that is due; returns the line to it, to be watched.
    pub(super) fn start_if_due(&mut self) -> Option<&UnixStream> {
        self.start_at().filter(|at| *at <= Instant::now())?;
        match self.start() {
            Ok(running) => Some(&self.running.insert(running).line),
            Err(error) => {
                self.delay = self.delay.max(FIRST_DELAY);
                self.start_later(&format_args!("cannot start the agent: {error}"));
                None
            }
        }
    }

    fn start(&self) -> io::Result<Running> {
        let Some(listener) = &self.listener else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (line, agents_end) = UnixStream::pair()?;
        line.set_nonblocking(true)?;
        let program = fs::read_link(SELF)?;
        let cgroup = cgroup();
        let gifts = Gifts {
            kept: &[listener.as_fd(), agents_end.as_fd()],
            cgroup: cgroup.as_ref(),
        };
        let number = |fd: i32| format!("fd:{fd}");
        let pid = child::start(
            &[program.to_str().unwrap_or(SELF), SELF],
            &[
                "smolvm-guest-agent",
                "--listen",
                &number(listener.as_raw_fd()),
                "--init",
                &number(agents_end.as_raw_fd()),
            ],
            &gifts,
        )?;
        Ok(Running {
            pid,
            line,
            since: Instant::now(),
        })
    }

    /// The agent's next word; `None` where there is none.
    pub(super) fn hear(&self) -> Option<u8> {
        process_one::hear(&self.running.as_ref()?.line)
    }

    /// The line to the agent.
    pub(super) fn line(&self) -> Option<&UnixStream> {
        self.running.as_ref().map(|running| &running.line)
    }

    /// Notes that a child has ended; says whether it was the agent. What that left is ended, and the
    /// next one will be started.
    pub(super) fn note_end(&mut self, pid: Pid, exit_code: i32) -> bool {
        let Some(running) = self.running.take_if(|running| running.pid == pid) else {
            return false;
        };
        kill_what_is_left();
        if running.since.elapsed() >= STABLE {
            self.delay = Duration::ZERO;
        }
        self.start_later(&format_args!("the agent has ended ({exit_code})"));
        true
    }

    fn start_later(&mut self, why: &dyn std::fmt::Display) {
        let seconds = self.delay.as_secs();
        log::failure(&format_args!("{why}; starting it again in {seconds} s"));
        self.start_at = Instant::now() + self.delay;
        self.delay = (2 * self.delay).clamp(FIRST_DELAY, LONGEST_DELAY);
    }

    /// Has nothing accepted any more: the guest ends. No agent is started after this.
    pub(super) fn stop_accepting(&mut self) {
        self.listener = None;
        if let Some(running) = &mut self.running {
            // An agent that does not hear it is killed like all else.
            let _ = running.line.write_all(&[process_one::GUEST_ENDS]);
        }
    }
}

/// The way into the agent's control group; `None` on a kernel without control groups.
fn cgroup() -> Option<File> {
    // It is there from the second start on.
    let _ = file::make_directory(CGROUP);
    // Where a command has frozen it, the next agent would stop between joining it and its program, and
    // process 1, which waits for that, with it.
    let _ = fs::write(CGROUP_FREEZE, "0");
    File::options().write(true).open(CGROUP_PROCS).ok()
}

/// Kills everything in the agent's control group and below; before Linux 5.14 one by one.
fn kill_what_is_left() {
    if cfg!(test) {
        // Tests may run in a guest like this, whose agent they must leave alone.
        return;
    }
    if fs::write(CGROUP_KILL, "1").is_ok() {
        return;
    }
    for _ in 0..KILL_ROUNDS {
        let numbers = numbers_below(CGROUP_FOLDER);
        if numbers.is_empty() {
            return;
        }
        numbers.into_iter().for_each(process::kill_number);
        // What has died is out of it, reaped or not.
        thread::sleep(KILL_ROUND);
    }
}

/// The processes of a control group and of those below it.
fn numbers_below(cgroup: &str) -> Vec<i32> {
    let mut numbers = Vec::new();
    let mut waiting = vec![cgroup.to_owned()];
    for _ in 0..MAX_CGROUPS {
        let Some(cgroup) = waiting.pop() else {
            break;
        };
        // One whose processes are threads of another's has a list that cannot be read; they are in that.
        let procs = file::read_text(&format!("{cgroup}/cgroup.procs")).unwrap_or_default();
        numbers.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
        let Ok(entries) = fs::read_dir(&cgroup) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.extend(entry.path().into_os_string().into_string());
            }
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_control_groups_below_are_found_too() {
        let base = std::env::temp_dir().join(format!("smolvm-cgroup-{}", std::process::id()));
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::create_dir(base.join("empty")).unwrap();
        fs::write(base.join("cgroup.procs"), "5\n7\n").unwrap();
        fs::write(base.join("a/cgroup.procs"), "").unwrap();
        fs::write(base.join("a/b/cgroup.procs"), "11\n").unwrap();
        let below = |folder: &str| numbers_below(base.join(folder).to_str().unwrap());
        assert_eq!(below(""), [5, 7, 11]);
        assert!(below("absent").is_empty());
        fs::remove_dir_all(&base).unwrap();
    }

    fn keeper() -> AgentKeeper {
        AgentKeeper::new(File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn first_restart_is_immediate_and_the_delay_grows_to_its_bound() {
        let mut keeper = keeper();
        let mut delays = Vec::new();
        for _ in 0..8 {
            keeper.start_later(&"test");
            let left = keeper
                .start_at()
                .unwrap()
                .saturating_duration_since(Instant::now());
            delays.push(left.as_secs_f64().round() as u64);
        }
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn agent_is_due_until_one_runs_whatever_became_of_a_start() {
        let mut keeper = keeper();
        assert!(keeper.start_at().is_some());
        let (line, _agents_end) = UnixStream::pair().unwrap();
        let listener = File::open("/dev/null").unwrap().into();
        keeper = AgentKeeper::with_agent(listener, Pid::of_this_process(), line);
        assert!(keeper.start_at().is_none());
        assert!(keeper.note_end(Pid::of_this_process(), 1));
        assert!(keeper.start_at().is_some_and(|at| at <= Instant::now()));
    }

    #[test]
    fn nothing_is_started_once_the_guest_ends() {
        let mut keeper = keeper();
        keeper.stop_accepting();
        assert!(keeper.start_at().is_none() && keeper.start_if_due().is_none());
    }
}
