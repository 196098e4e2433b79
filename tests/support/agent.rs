//! The real guest agent, built by cargo and listening on a Unix socket of its own.
//!
//! Owns the process and its folder: both are gone when it is dropped.

use smolvm_host::channel::Channel;
use smolvm_host::transport::Address;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything in these tests may take before it counts as hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A listening agent.
pub(crate) struct Agent {
    folder: TempDir,
    child: Child,
}

impl Agent {
    /// Starts an agent and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same with a word on how it is started.
    pub(crate) fn start_with(adjust: impl FnOnce(&mut Command)) -> Self {
        let agent = Self::spawn_in(tempfile::tempdir().unwrap(), adjust);
        agent.channel().wait_ready(LIMIT).unwrap();
        agent
    }

    /// Starts an agent whose socket will be `folder/agent.sock`, and does not wait.
    pub(crate) fn spawn_in(folder: TempDir, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut listen = std::ffi::OsString::from("unix:");
        listen.push(socket_in(folder.path()));
        let mut command = Command::new(binary());
        command
            .arg("--listen")
            .arg(listen)
            // What somebody's profile says at each login is no part of a test.
            .env("HOME", folder.path())
            .current_dir(folder.path());
        adjust(&mut command);
        let child = command.spawn().unwrap();
        Self { folder, child }
    }

    /// The agent's working directory, where tests may put files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A channel to it.
    pub(crate) fn channel(&self) -> Channel {
        Channel::new(address_in(self.folder())).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where an agent started in `folder` is reached.
pub(crate) fn address_in(folder: &Path) -> Address {
    Address::Unix {
        path: socket_in(folder),
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}

/// The agent, built where this test was built.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // <target>/debug/deps/<this test>
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap();
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--package",
                "smolvm-guest-agent",
            ])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success(), "the agent does not build");
        target.join("debug/smolvm-guest-agent")
    })
}
