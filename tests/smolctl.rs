//! The command line against the real agent: exit codes, streams, signals.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/ignored.rs"]
mod ignored;
#[path = "support/wait.rs"]
mod wait;

use agent::Agent;
use ignored::is_ignored;
use rustix::process::{Pid, Signal};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use wait::{is_running, soon};

fn target(agent: &Agent) -> OsString {
    let mut target = OsString::from("unix:");
    target.push(agent.folder().join("agent.sock"));
    target
}

/// `smolctl VERB <agent> ARGUMENTS`
fn smolctl(agent: &Agent, verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
    command.arg(verb).arg(target(agent)).args(arguments);
    command
}

fn run(agent: &Agent, arguments: &[&str]) -> Output {
    smolctl(agent, "run", arguments).output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_code_is_the_commands_and_both_streams_are_its_own() {
    let agent = Agent::start();
    let output = run(&agent, &["-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(run(&agent, &["-c", "kill -15 $$"]).status.code(), Some(143));
    assert_eq!(run(&agent, &["-c", "true"]).status.code(), Some(0));
}

#[test]
fn time_limit_of_the_command_ends_with_124() {
    let output = run(&Agent::start(), &["--timeout", "0.2", "-c", "sleep 60"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(output.stdout.is_empty());
    assert!(stderr_of(&output).contains("time limit of 0.2 s"));
}

#[test]
fn command_that_cannot_be_started_ends_with_126_or_127() {
    let agent = Agent::start_with(|command| {
        command.env("SHELL", "/nowhere/sh");
    });
    assert_eq!(run(&agent, &["-c", "true"]).status.code(), Some(127));
    let agent = Agent::start_with(|command| {
        command.env("SHELL", "/etc/passwd");
    });
    assert_eq!(run(&agent, &["-c", "true"]).status.code(), Some(126));
    let raw = run(&agent, &["--shell", "raw", "-c", "exit 3"]);
    assert_eq!(raw.status.code(), Some(3));
}

#[test]
fn variables_and_lines_that_are_no_utf_8_arrive_as_they_are() {
    let agent = Agent::start();
    let output = smolctl(&agent, "run", &["-e"])
        .arg(OsStr::from_bytes(b"A=\xfe='"))
        .arg("-c")
        .arg(OsStr::from_bytes(b"printf '%s' \"$A\xff\""))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"\xfe='\xff");
}

#[test]
fn wrong_calls_end_with_2() {
    for arguments in [
        &["run", "cid:3"][..],
        &["run", "cid:3", "-c", ""],
        &["run", "cid:3", "-c", "x", "--shell", "fish"],
        &["run", "cid:3", "-c", "x", "--timeout", "-1"],
        &["run", "cid:3", "-c", "x", "-e", "=x"],
        &["run", "cid:3", "-c", "x", "-t"],
        &["shell", "cid:3"],
        &["ping", "cid:2"],
        &["ping", "tcp:host"],
        &["ping", "a b"],
        &["ping", "unix:"],
        &["ping", "cid:3", "--timeout", "0"],
        &["put", "unix:/x", "l", ""],
        &["get", "unix:/x", "", "l"],
        &["run", "cid:3", "-c", "x", "--channel", "tcp"],
        &["run", "cid:3", "-c", "x", "--channel", "ssh"],
        &["run", "cid:3", "-c", "x", "--ssh", "-oProxyCommand=x"],
        &["put", "cid:3", "l", "r", "--ssh-identity", "k"],
        &["get", "cid:3", "r", "l", "--channel", "vsock", "--ssh", "h"],
        &["ping", "cid:3", "--channel", "ssh"],
        &["frobnicate"],
        &[],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert_eq!(stderr_of(&output).lines().count(), 1, "{arguments:?}");
    }
}

#[test]
fn missing_agent_ends_with_125_and_one_sentence() {
    let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["run", "unix:/nowhere/s", "-c", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        stderr_of(&output),
        "smolctl: cannot connect to unix:/nowhere/s: No such file or directory \
         (os error 2)\n"
    );
}

#[test]
fn programs_read_json() {
    let agent = Agent::start();
    for verb in ["ping", "wait-ready"] {
        let output = smolctl(&agent, verb, &["--json"]).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["protocol"], 1);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["version", "--json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

/// A command that prints its id, and sleeps; its id.
fn endless(agent: &Agent) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let line = "echo $$; exec sleep 60";
    let mut child = smolctl(agent, "run", &["--shell", "raw", "-c", line])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    stdout.read_line(&mut pid).unwrap();
    let pid = pid.trim().to_owned();
    assert!(is_running(&pid));
    (child, stdout, pid)
}

fn send(signal: Signal, child: &Child) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn signals_end_the_command_then_us() {
    let agent = Agent::start();
    for (signal, code) in [(Signal::INT, 130), (Signal::QUIT, 131), (Signal::TERM, 143)] {
        if is_ignored(signal) {
            continue;
        }
        let (mut child, _stdout, pid) = endless(&agent);
        send(signal, &child);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(soon(|| !is_running(&pid)));
    }
}

#[test]
fn broken_pipe_ends_the_command_quietly() {
    let agent = Agent::start();
    let line = "echo $$; exec yes";
    let mut child = smolctl(&agent, "run", &["--shell", "raw", "-c", line])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut pid = String::new();
    stdout.read_line(&mut pid).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(stderr, "");
    assert!(soon(|| !is_running(pid.trim())));
}

#[test]
fn signal_is_heard_while_standard_input_is_silent() {
    let agent = Agent::start();
    let mut child = smolctl(&agent, "put", &["-", "x"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let unread = |stdin: &std::process::ChildStdin| rustix::io::ioctl_fionread(stdin).unwrap();
    stdin.write_all(b"x").unwrap();
    assert!(soon(|| unread(&stdin) == 0));
    send(Signal::TERM, &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!agent.folder().join("x").exists());
}

#[test]
fn signal_is_heard_while_nobody_reads_our_output() {
    let agent = Agent::start();
    let mut child = smolctl(&agent, "run", &["-c", "yes"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    send(Signal::TERM, &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn files_go_there_and_back_by_name_and_by_stream() {
    let agent = Agent::start();
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let content = vec![7; 200_000];
    fs::write(&local, &content).unwrap();
    fs::create_dir(agent.folder().join("d")).unwrap();
    let put = smolctl(&agent, "put", &[local.to_str().unwrap(), "d"]).status();
    assert!(put.unwrap().success());
    let back = tempfile::tempdir().unwrap();
    let get = smolctl(&agent, "get", &["d/local", back.path().to_str().unwrap()]).status();
    assert!(get.unwrap().success());
    assert_eq!(fs::read(back.path().join("local")).unwrap(), content);

    let mut child = smolctl(&agent, "put", &["-", "piped", "--mode", "604"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&content).unwrap();
    assert!(child.wait().unwrap().success());
    let output = smolctl(&agent, "get", &["piped", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout == content);
    let output = run(&agent, &["-c", "stat -c %a piped"]);
    assert_eq!(output.stdout, b"604\n");
}

#[test]
fn files_that_are_not_there_are_told_on_either_side() {
    let agent = Agent::start();
    let output = smolctl(&agent, "put", &["/nowhere/f", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("cannot send /nowhere/f: No such file"));
    let output = smolctl(&agent, "put", &["/", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = smolctl(&agent, "get", &["nowhere", "-"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty());
    assert!(stderr_of(&output).contains("refused by the agent"));
}

/// A pipe with a name, in a folder of its own.
fn fifo() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
    (folder, path)
}

/// Sends SIGTERM, which no shell has what it starts ignore, once it is listened for.
fn interrupt_soon(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    assert!(soon(|| {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:\t"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask, 16).ok());
        caught.is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
    }));
    send(Signal::TERM, child);
}

#[test]
fn signal_is_heard_while_nobody_is_at_the_other_end_of_a_pipe() {
    let agent = Agent::start();
    fs::write(agent.folder().join("f"), vec![7; 1_000_000]).unwrap();
    let (_folder, path) = fifo();
    let path = path.to_str().unwrap();
    for (verb, arguments) in [("put", [path, "x"]), ("get", ["f", path])] {
        let mut child = smolctl(&agent, verb, &arguments).spawn().unwrap();
        interrupt_soon(&child);
        assert_eq!(child.wait().unwrap().code(), Some(143), "{verb}");
    }
    assert!(!agent.folder().join("x").exists());
}

#[test]
fn signal_is_heard_while_the_reader_of_a_pipe_pauses() {
    let agent = Agent::start();
    fs::write(agent.folder().join("f"), vec![7; 1_000_000]).unwrap();
    let (_folder, path) = fifo();
    let mut child = smolctl(&agent, "get", &["f", path.to_str().unwrap()])
        .spawn()
        .unwrap();
    let mut reader = fs::File::open(&path).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    send(Signal::TERM, &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn files_go_through_pipes_whole() {
    let agent = Agent::start();
    let content = vec![7; 1_000_000];
    let (_folder, path) = fifo();
    let name = path.to_str().unwrap();
    let mut child = smolctl(&agent, "put", &[name, "f"]).spawn().unwrap();
    fs::write(&path, &content).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(fs::read(agent.folder().join("f")).unwrap() == content);
    let mut child = smolctl(&agent, "get", &["f", name]).spawn().unwrap();
    assert!(fs::read(&path).unwrap() == content);
    assert!(child.wait().unwrap().success());
}

#[test]
fn pipe_that_nobody_reads_costs_the_time_limit_and_one_sentence() {
    let agent = Agent::start();
    let (_folder, path) = fifo();
    let arguments = ["--timeout", "0.2", "f", path.to_str().unwrap()];
    let output = smolctl(&agent, "get", &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("nobody reads from the pipe"));
}

#[test]
fn files_that_do_not_know_their_size_arrive_whole() {
    let agent = Agent::start();
    for name in ["/proc/version", "/sys/devices/system/cpu/online"] {
        let Ok(content) = fs::read(name) else {
            continue;
        };
        let put = smolctl(&agent, "put", &[name, "x"]).status();
        assert!(put.unwrap().success(), "{name}");
        assert_eq!(fs::read(agent.folder().join("x")).unwrap(), content);
    }
    let (folder, _path) = fifo();
    let empty = folder.path().join("empty");
    fs::write(&empty, b"").unwrap();
    let put = smolctl(&agent, "put", &[empty.to_str().unwrap(), "x"]).status();
    assert!(put.unwrap().success());
    assert_eq!(fs::read(agent.folder().join("x")).unwrap(), b"");
}

#[test]
fn relative_folder_of_our_own_is_a_wrong_call() {
    for variable in ["SMOLVM_CACHE_DIR", "SMOLVM_STATE_DIR", "SMOLVM_CID_POOL"] {
        for arguments in [&["vm", "list"][..], &["ping", "name"], &["vm", "start"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
                .args(arguments)
                .env(variable, "some/where")
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            let sentence =
                format!("smolctl: {variable} is no absolute path: set it to one, or unset it\n");
            assert_eq!(stderr_of(&output), sentence);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["vm", "list"])
        .env("SMOLVM_CACHE_DIR", "")
        .env("SMOLVM_STATE_DIR", "")
        .env("XDG_STATE_HOME", "some/where")
        .env("HOME", folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let told = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr_of(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    told(&["manual", "--output", pages.to_str().unwrap()]);
    let help = told(&["--help"]);
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.contains(&"manual"), "{verbs:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = told(&["completions", shell]);
        for verb in &verbs {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    for verb in &verbs {
        assert!(pages.join(format!("smolctl-{verb}.1")).is_file(), "{verb}");
    }
    assert!(pages.join("smolctl.1").is_file());
    assert!(pages.join("smolctl-vm-start.1").is_file());
}

#[test]
fn shutdown_of_a_guest_that_has_another_process_1_is_refused_in_its_words() {
    let agent = Agent::start();
    for arguments in [&[][..], &["--reboot"]] {
        let output = smolctl(&agent, "shutdown", arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let sentence = stderr_of(&output);
        assert!(sentence.contains("refused by the agent"), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}
