//! A second agent in the guest, for the cases alone: it serves the guest's own processes.

use crate::client::{Client, LIMIT, Received, frame_of};
use crate::guest::{Checked, holds, same};
use crate::process::{count_descriptors, count_threads, is_running, wait_until};
use smolvm_protocol::request::Request;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vsock::VMADDR_CID_LOCAL;

/// Its port.
pub(crate) const PORT: u32 = 2048;

/// An agent may listen to a peer that does not go for so long after its last frame.
const REST_LIMIT: Duration = Duration::from_secs(40);

/// Its log: a line for each of hundreds of requests that its clients leave.
const LOG: &str = "/tmp/within-agent.log";

/// How much of the log is shown where a case fails.
const SHOWN_LINES: usize = 20;

/// An agent that runs while this lives.
pub(crate) struct OwnAgent {
    process: Child,
    /// Descriptors at rest.
    descriptors: usize,
}

impl OwnAgent {
    /// Starts it, and waits until it answers.
    pub(crate) fn start() -> Result<Self, String> {
        let log = File::create(LOG).map_err(|error| format!("{LOG}: {error}"))?;
        let process = Command::new("smolvm-guest-agent")
            .args(["--listen", &format!("vsock:{PORT}"), "--allow-cid", "1"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut agent = Self {
            process,
            descriptors: 0,
        };
        wait_until("it answers", LIMIT, || agent.ping().is_ok())?;
        // A command has a thread, which begins after the ping's connection, which has none, has ended.
        agent
            .run("true")?
            .receive_all()
            .map_err(|error| error.to_string())?;
        wait_until("it is at rest", REST_LIMIT, || {
            count_threads(agent.pid()) == 1
        })?;
        agent.descriptors = count_descriptors(agent.pid());
        Ok(agent)
    }

    /// The end of its log.
    pub(crate) fn last_lines(&self) -> String {
        let log = fs::read_to_string(LOG).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A connection as any process of the guest can make one.
    pub(crate) fn connect(&self) -> Result<Client, String> {
        Client::connect(VMADDR_CID_LOCAL, PORT).map_err(|error| format!("connect: {error}"))
    }

    /// A connection with a command line under way.
    pub(crate) fn run(&self, line: &str) -> Result<Client, String> {
        let mut client = self.connect()?;
        client.run(line).map_err(|error| error.to_string())?;
        Ok(client)
    }

    /// A whole exchange.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Result<Received, String> {
        let mut client = self.connect()?;
        client.write(bytes).map_err(|error| error.to_string())?;
        client.receive_all().map_err(|error| error.to_string())
    }

    pub(crate) fn ping(&self) -> Checked {
        let answer = self.ask(&frame_of(&Request::Ping))?.answer()?;
        same("the answer", &answer.op.as_deref(), &Some("pong"))
    }

    /// Waits until it has so many threads: one a connection, and its own.
    pub(crate) fn wait_for_threads(&self, count: usize) -> Checked {
        let what = format!("the agent has {count} threads");
        wait_until(&what, REST_LIMIT, || count_threads(self.pid()) == count).map(drop)
    }

    /// That it answers still, is the same process, and has given back what it took.
    pub(crate) fn rests(&self) -> Checked {
        holds("the agent has ended", is_running(self.pid()))?;
        self.ping()?;
        self.wait_for_threads(1)?;
        // A ping's connection has no thread: it is closed at the client's end.
        let what = format!("the agent has {} descriptors at rest", self.descriptors);
        wait_until(&what, REST_LIMIT, || {
            count_descriptors(self.pid()) == self.descriptors
        })
        .map(drop)
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // It cannot have been reaped: nobody else waits for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(LOG);
    }
}
