//! The command line by ssh, against a real server: exit codes, files, the fallback, signals.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/skip.rs"]
mod skip;
#[path = "support/ssh_server.rs"]
#[allow(dead_code, reason = "shared with tests of the library")]
mod ssh_server;
#[path = "support/wait.rs"]
mod wait;

use rustix::process::{Pid, Signal, kill_process};
use skip::skip;
use ssh_server::{GuestShell, Kind, SshServer};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use tempfile::TempDir;
use wait::{is_running, soon};

/// A target that no agent answers at.
const NOBODY: &str = "unix:/nowhere/agent.sock";

/// A server, and a folder whose `ssh` takes any host key.
struct Place {
    server: SshServer,
    folder: TempDir,
}

impl Place {
    /// Or says what this machine lacks.
    fn new() -> Option<Self> {
        let server = match SshServer::start(Kind::Dropbear, GuestShell::Ash) {
            Ok(server) => server,
            Err(reason) => {
                skip(&reason);
                return None;
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\nPATH='{}'\nexec ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \"$@\"\n",
            std::env::var("PATH").unwrap()
        );
        let ssh = folder.path().join("ssh");
        fs::write(&ssh, script).unwrap();
        fs::set_permissions(&ssh, Permissions::from_mode(0o755)).unwrap();
        Some(Self { server, folder })
    }

    /// `smolctl VERB TARGET ARGUMENTS --ssh … --ssh-identity …`
    fn smolctl(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut path = OsString::from(self.folder.path());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
        command
            .args([verb, NOBODY])
            .args(arguments)
            .args(["--ssh", &self.server.address(), "--ssh-identity"])
            .arg(self.server.key())
            .env("PATH", path);
        command
    }

    fn output(&self, verb: &str, arguments: &[&str]) -> Output {
        self.smolctl(verb, arguments).output().unwrap()
    }
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn command_by_ssh_has_its_streams_exit_code_and_time_limit() {
    let Some(place) = Place::new() else { return };
    let run = |words: &[&str]| place.output("run", &[&["--channel", "ssh"], words].concat());
    let output = run(&["-e", "A=b", "-c", "echo $A; echo err >&2; exit 42"]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"b\n"[..], &b"err\n"[..])
    );
    assert_eq!(run(&["-c", "kill -15 $$"]).status.code(), Some(143));
    let late = run(&["--timeout", "0.3", "-c", "sleep 60"]);
    assert_eq!(late.status.code(), Some(124));
    assert!(stderr_of(&late).contains("time limit of 0.3 s"));
}

#[test]
fn fallback_is_said_once_and_an_explicit_choice_has_none() {
    let Some(place) = Place::new() else { return };
    let output = place.output("run", &["-c", "echo x"]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"x\n"[..])
    );
    let said = stderr_of(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("the agent does not answer") && said.contains("by ssh to root@127.0.0.1")
    );
    let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["run", NOBODY, "--channel", "vsock", "-c", "echo x"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(125), &b""[..])
    );
}

#[test]
fn files_by_ssh_go_there_and_back_and_the_guest_is_waited_for() {
    let Some(place) = Place::new() else { return };
    let local = place.folder.path().join("local");
    fs::write(&local, vec![7; 200_000]).unwrap();
    let ready = place.output("wait-ready", &["--channel", "ssh", "--json"]);
    let ready: serde_json::Value = serde_json::from_slice(&ready.stdout).unwrap();
    assert_eq!(ready["ssh"], place.server.address());
    let put = place.output(
        "put",
        &[local.to_str().unwrap(), "there", "--channel", "ssh"],
    );
    assert_eq!(
        (put.status.code(), stderr_of(&put)),
        (Some(0), String::new())
    );
    let get = place.output("get", &["there", "-", "--channel", "ssh"]);
    assert_eq!(get.status.code(), Some(0));
    assert_eq!(get.stdout, fs::read(&local).unwrap());
    let gone = place.output("get", &["gone", "-", "--channel", "ssh"]);
    assert_eq!(gone.status.code(), Some(125));
    assert!(stderr_of(&gone).contains("refused by the guest"));
}

#[test]
fn signal_ends_the_command_there_also_one_that_nobody_can_hear() {
    for (signal, code) in [(Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let Some(place) = Place::new() else { return };
        command_ends_with(signal, code, &place);
    }
}

fn command_ends_with(signal: Signal, code: Option<i32>, place: &Place) {
    let line = "echo $$ >pid.new; mv pid.new pid; exec sleep 60";
    let mut command = place.smolctl("run", &["--channel", "ssh", "--shell", "raw", "-c", line]);
    let mut child = command.spawn().unwrap();
    let pid = place.server.home().join("pid");
    assert!(soon(|| pid.exists()));
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
    assert_eq!(child.wait().unwrap().code(), code);
    let pid = fs::read_to_string(pid).unwrap();
    assert!(soon(|| !is_running(pid.trim())));
}

#[test]
fn missing_ssh_and_missing_temporary_folder_are_told_apart() {
    let told = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
        command.args([
            "put",
            NOBODY,
            "/etc/passwd",
            "x",
            "--channel",
            "ssh",
            "--ssh",
            "127.0.0.1:1",
        ]);
        command.args(["--timeout", "20"]).env(name, "/nowhere");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr_of(&output)
    };
    let said = told("PATH");
    assert!(said.contains("there is no program 'ssh' here"), "{said}");
    let said = told("TMPDIR");
    assert!(
        said.contains("temporary file") && said.contains("/nowhere"),
        "{said}"
    );
}

#[test]
fn host_key_that_is_not_known_is_refused_with_what_to_do() {
    let Some(place) = Place::new() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["run", NOBODY, "-c", "true", "--channel", "ssh"])
        .args(["--ssh", &place.server.address()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let said = stderr_of(&output);
    assert!(
        said.contains("Host key verification failed") && said.contains("Log in once"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}
