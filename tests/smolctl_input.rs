//! `smolctl run -i` and its variables: whatever standard input is.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/ignored.rs"]
#[allow(dead_code, reason = "shared with tests of whole masks")]
mod ignored;
#[path = "support/wait.rs"]
mod wait;

use agent::Agent;
use ignored::is_ignored;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use wait::{is_running, soon};

/// `smolctl run <agent> ARGUMENTS`
fn smolctl(agent: &Agent, arguments: &[&str]) -> Command {
    let target = format!("unix:{}/agent.sock", agent.folder().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
    command.arg("run").arg(target).args(arguments);
    command
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn file_goes_through_the_command_and_its_exit_code_is_ours() {
    let agent = Agent::start();
    let bytes: Vec<u8> = (0u32..3 << 18).flat_map(u32::to_le_bytes).collect();
    let path = agent.folder().join("input");
    fs::write(&path, &bytes).unwrap();
    let mut command = smolctl(&agent, &["-i", "-c", "cat; exit 3"]);
    let output = command.stdin(File::open(&path).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr_of(&output));
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
}

#[test]
fn without_the_option_standard_input_is_left_alone() {
    let agent = Agent::start();
    let path = agent.folder().join("input");
    fs::write(&path, "text").unwrap();
    let mut input = File::open(&path).unwrap();
    let mut command = smolctl(&agent, &["--", "wc", "-c"]);
    let output = command.stdin(input.try_clone().unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"0\n");
    let mut rest = String::new();
    input.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "text");
}

#[test]
fn input_that_is_empty_or_closed_is_at_its_end() {
    let agent = Agent::start();
    let mut command = smolctl(&agent, &["-i", "--", "wc", "-c"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"0\n", "{}", stderr_of(&output));
    let line = format!("exec {} run \"$@\" <&-", env!("CARGO_BIN_EXE_smolctl"));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &line, "sh"]).args(
        smolctl(&agent, &["-i", "--", "wc", "-c"])
            .get_args()
            .skip(1),
    );
    let output = shell.output().unwrap();
    assert_eq!(output.stdout, b"0\n", "{}", stderr_of(&output));
}

#[test]
fn input_that_does_not_block_is_waited_for() {
    let agent = Agent::start();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ioctl_fionbio(&theirs, true).unwrap();
    let mut command = smolctl(&agent, &["-i", "-c", "echo ready; cat"]);
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    drop(command);
    let mut output = BufReader::new(running.stdout.take().unwrap());
    for text in ["ready\n", "late\n"] {
        if text != "ready\n" {
            (&ours).write_all(text.as_bytes()).unwrap();
        }
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, text);
    }
    drop(ours);
    assert!(running.wait().unwrap().success());
}

#[test]
fn input_that_cannot_be_read_is_told_in_one_sentence_and_the_command_is_ended() {
    let agent = Agent::start();
    let mut command = smolctl(&agent, &["-i", "-c", "echo $$ >pid; cat"]);
    let output = command
        .stdin(File::open(agent.folder()).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    let told = stderr_of(&output);
    assert!(
        told.contains("cannot read standard input: Is a directory"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    let pid = fs::read_to_string(agent.folder().join("pid")).unwrap_or_default();
    assert!(pid.is_empty() || soon(|| !is_running(pid.trim())));
}

#[test]
fn interrupt_ends_a_command_whose_input_is_blocked() {
    if is_ignored(Signal::INT) {
        return;
    }
    let agent = Agent::start();
    let mut command = smolctl(&agent, &["-i", "-c", "echo $$; exec sleep 60"]);
    command
        .stdin(File::open("/dev/zero").unwrap())
        .stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(running.stdout.take().unwrap())
        .read_line(&mut pid)
        .unwrap();
    let id = Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert!(soon(|| !is_running(pid.trim())));
}

#[test]
fn input_by_ssh_is_refused_before_anything_runs() {
    let agent = Agent::start();
    let ssh = [
        "--channel",
        "ssh",
        "--ssh",
        "nobody@127.0.0.1:1",
        "-i",
        "--",
        "cat",
    ];
    let output = smolctl(&agent, &ssh).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr_of(&output).contains("this needs its agent"),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn variables_come_from_files_and_from_this_side_and_the_later_counts() {
    let agent = Agent::start();
    let file = agent.folder().join("env");
    fs::write(&file, "# comment\nA=file\nB=file\nOURS\nNOBODY_HAS_THIS\n").unwrap();
    let file = file.to_str().unwrap();
    let line = "echo \"$A $B $OURS ${NOBODY_HAS_THIS-unset} $MINE\"";
    let arguments = [
        "-e",
        "B=option",
        "--env-file",
        file,
        "-e",
        "MINE",
        "-c",
        line,
    ];
    let mut command = smolctl(&agent, &arguments);
    let output = command
        .env("OURS", "ours")
        .env("MINE", "mine")
        .output()
        .unwrap();
    assert_eq!(
        output.stdout,
        b"file option ours unset mine\n",
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn bad_line_of_a_file_of_variables_is_a_wrong_call_and_a_missing_file_none() {
    let agent = Agent::start();
    let file = agent.folder().join("env");
    fs::write(&file, "A=1\nB C=2\n").unwrap();
    let file = file.to_str().unwrap();
    for (file, code, told) in [
        (file, 2, "env:2: 'B C' has a space"),
        (
            "/nowhere/env",
            125,
            "cannot read /nowhere/env: No such file",
        ),
        ("/", 125, "cannot read /: is a directory"),
        ("/dev/zero", 2, "/dev/zero is longer than the 16 MiB"),
    ] {
        let output = smolctl(&agent, &["--env-file", file, "-c", "true"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        let sentence = stderr_of(&output);
        assert!(
            sentence.contains(told) && sentence.lines().count() == 1,
            "{sentence}"
        );
    }
}
