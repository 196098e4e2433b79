//! `smolctl run` of programs without a shell, and of commands that leave others behind.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;

use agent::Agent;
use std::fs;
use std::process::{Command, Output};

/// `smolctl run <agent> ARGUMENTS`
fn run(agent: &Agent, arguments: &[&str]) -> Output {
    let target = format!("unix:{}/agent.sock", agent.folder().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
    command.arg("run").arg(target).args(arguments);
    command.output().unwrap()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn program_runs_without_a_shell_in_its_directory_and_is_told_apart_from_a_line() {
    let agent = Agent::start();
    let output = run(
        &agent,
        &["-w", "/", "--", "printf", "%s|", "a b", "$HOME", "*"],
    );
    assert_eq!(output.stdout, b"a b|$HOME|*|", "{}", stderr_of(&output));
    let output = run(&agent, &["-w", "/usr", "--", "pwd"]);
    assert_eq!(output.stdout, b"/usr\n");
    for (arguments, code) in [
        (&["--", "no-such-program"][..], 127),
        (&["-w", "/none", "--", "true"], 127),
        (&["-u", "nobody-at-all", "--", "true"], 125),
        (&["--", "/etc/passwd"], 126),
        (&["-c", "true", "--", "true"], 2),
        (&["-w", "", "--", "true"], 2),
        (&["--"], 2),
    ] {
        let output = run(&agent, arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr_of(&output)
        );
        assert_eq!(
            stderr_of(&output)
                .trim_end()
                .lines()
                .filter(|line| line.starts_with("smolctl:"))
                .count(),
            1
        );
    }
}

#[test]
fn command_is_over_at_its_exit_where_that_is_asked_for() {
    let agent = Agent::start();
    // The child that it leaves holds its output, and ends when the test does.
    let line = "sleep 60 & echo done; echo $! >pid";
    let output = run(&agent, &["--until", "exit", "-c", line]);
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(0), b"done\n".to_vec())
    );
    let pid = fs::read_to_string(agent.folder().join("pid")).unwrap();
    run(&agent, &["-c", &format!("kill {}", pid.trim())]);
}

#[test]
fn wrong_place_or_terminal_is_a_wrong_call_told_in_one_sentence() {
    let agent = Agent::start();
    for (options, told) in [
        (&["-w", ""][..], "--workdir is empty"),
        (&["-u", ""], "--user is empty"),
        (&["-u", ":root"], "--user ':root' has nothing on one side"),
        (&["-u", "root:"], "--user 'root:' has nothing on one side"),
        (&["-t"], "leave it out, or use -i in its place"),
        (&["-it"], "standard input is none; -i alone sends"),
    ] {
        let output = run(&agent, &[options, &["-c", "true"]].concat());
        let sentence = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{sentence}");
        assert!(
            sentence.contains(told) && sentence.lines().count() == 1,
            "{sentence}"
        );
    }
}
