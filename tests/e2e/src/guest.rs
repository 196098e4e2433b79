//! The guest under test: calls with deadlines, and conditions in it that are waited for.

use crate::Drive;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{Channel, Command, Outcome};
use smolvm_host::deadline::Deadline;
use smolvm_host::transport::Address;
use smolvm_protocol::request::{RunRequest, Shell, Timeout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A case's outcome: why it failed.
pub(crate) type Checked = Result<(), String>;

/// How long one call may take, under emulation, too.
const CALL_LIMIT: Duration = Duration::from_secs(240);

/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Prints the agent's process id; process 1 is of the same program.
pub(crate) const AGENT: &str =
    "for pid in $(pidof smolvm-guest-agent); do test $pid = 1 || echo $pid; done";

/// A booted guest, and what it is held to.
pub(crate) struct Guest {
    address: Address,
    pub(crate) program: PathBuf,
    pub(crate) max_transfer_bytes: u64,
    pub(crate) max_idle_kib: u64,
    pub(crate) max_growth_kib: u64,
    pub(crate) max_pss_kib: u64,
}

/// What a command gave.
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Guest {
    pub(crate) fn new(address: Address, drive: &Drive) -> Self {
        Self {
            address,
            program: drive.guest_program.clone(),
            max_transfer_bytes: drive.max_transfer_mib << 20,
            max_idle_kib: drive.max_idle_kib,
            max_growth_kib: drive.max_growth_kib,
            max_pss_kib: drive.max_pss_kib.unwrap_or_default(),
        }
    }

    /// One that is asked and told things, and held to no numbers.
    pub(crate) fn reached_at(address: Address) -> Self {
        Self {
            address,
            program: PathBuf::new(),
            max_transfer_bytes: 0,
            max_idle_kib: 0,
            max_growth_kib: 0,
            max_pss_kib: 0,
        }
    }

    pub(crate) fn channel(&self) -> Result<Channel, String> {
        Channel::new(self.address.clone()).map_err(|error| error.to_string())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn cancellable(&self, cancel: Cancel) -> Channel {
        Channel::with_cancel(self.address.clone(), cancel)
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(CALL_LIMIT)
    }

    /// Runs a command line without login semantics.
    pub(crate) fn run(&self, line: &str) -> Result<Ran, String> {
        self.run_with(line, None)
    }

    pub(crate) fn run_with(&self, line: &str, timeout: Option<f64>) -> Result<Ran, String> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let outcome = self
            .channel()?
            .run(&command(line, timeout), &mut stdout, &mut stderr)
            .map_err(|error| format!("{line}: {error}"))?;
        Ok(Ran {
            outcome,
            stdout,
            stderr,
        })
    }

    /// Runs a command that must exit with 0, and gives its output as trimmed text.
    pub(crate) fn text(&self, line: &str) -> Result<String, String> {
        let ran = self.run(line)?;
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        same(
            &format!("{line} ({stderr})"),
            &ran.outcome,
            &Outcome::Exited(0),
        )?;
        Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    }

    /// `limit`, or as long as so many small commands take where that is more: one takes seconds in a guest that is emulated
    /// twice.
    pub(crate) fn at_its_pace(&self, limit: Duration, commands: u32) -> Result<Duration, String> {
        let began = Instant::now();
        self.text("sh -c 'sleep 0'")?;
        Ok(limit.max(commands * began.elapsed()))
    }

    /// How long is waited for what only has to begin.
    pub(crate) fn begin_limit(&self) -> Result<Duration, String> {
        self.at_its_pace(Duration::from_secs(20), 40)
    }

    /// Waits until a command line exits with 0.
    pub(crate) fn wait_until(&self, line: &str, limit: Duration) -> Checked {
        let deadline = Instant::now() + limit;
        while self.run(line)?.outcome != Outcome::Exited(0) {
            if Instant::now() > deadline {
                return Err(format!("waited {limit:?} in vain until: {line}"));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until a process is gone, or only its exit status is left of it.
    pub(crate) fn wait_for_death(&self, pid: &str, limit: Duration) -> Checked {
        let line = format!("test ! -e /proc/{pid} || grep -q '^State:.*Z' /proc/{pid}/status");
        self.wait_until(&line, limit)
    }

    /// Kills the agent, once it is there. The answer cannot come: who would send it is dead.
    pub(crate) fn kill_agent(&self) -> Checked {
        self.channel()?
            .wait_ready(CALL_LIMIT)
            .map_err(|error| error.to_string())?;
        let _ = self.run(&format!("kill -9 $({AGENT})"));
        Ok(())
    }

    /// The agent's threads.
    pub(crate) fn agent_threads(&self) -> Result<u64, String> {
        self.agent_number("status", "Threads")
    }

    /// The agent's open descriptors, those of the request that looks among them.
    pub(crate) fn agent_descriptors(&self) -> Result<String, String> {
        self.text(&format!("ls /proc/$({AGENT})/fd | wc -l"))
    }

    /// The agent's resident memory in KiB. Not by `VmRSS`: kernels count that in batches a task.
    pub(crate) fn agent_resident_kib(&self) -> Result<u64, String> {
        self.agent_number("smaps_rollup", "Rss")
    }

    /// A number from one of the agent's files in `/proc`.
    fn agent_number(&self, file: &str, field: &str) -> Result<u64, String> {
        let line =
            format!("sed -n 's/^{field}:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$({AGENT})/{file}");
        let text = self.text(&line)?;
        text.parse()
            .map_err(|_| format!("the agent's {field} is '{text}'"))
    }
}

/// A command line that prints so many zero bytes. Busybox's `head` handles each by itself, which takes a minute and more for
/// some MiB in a guest that is emulated twice.
pub(crate) fn zeros(bytes: u64) -> String {
    format!("dd if=/dev/zero bs=64k iflag=count_bytes count={bytes} 2>/dev/null")
}

/// A request for a command line without login semantics.
pub(crate) fn command(line: &str, timeout: Option<f64>) -> Command {
    Command {
        request: RunRequest {
            command: line.as_bytes().to_vec(),
            shell: Shell::Raw,
            timeout: timeout.and_then(Timeout::from_seconds),
            ..RunRequest::default()
        },
        deadline: Some(CALL_LIMIT),
    }
}

/// That a value is what it should be.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should_be: &T) -> Checked {
    if is == should_be {
        Ok(())
    } else {
        Err(format!("{what}: {is:?}, not {should_be:?}"))
    }
}

/// That something holds.
pub(crate) fn holds(what: &str, is_so: bool) -> Checked {
    if is_so { Ok(()) } else { Err(what.to_owned()) }
}
