//! `smolctl shell` and `smolctl run -t` on a terminal, which is as it was before whatever happens.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
#[allow(dead_code, reason = "shared with tests of agents as they come")]
mod agent;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/wait.rs"]
mod wait;

use agent::Agent;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::AsRawFd;
use std::process::Command;
use terminal::{Program, Screen, Terminal};
use wait::{is_running, soon};

fn agent() -> Agent {
    Agent::start_with(|command| {
        command.env("SHELL", "/bin/sh").env("PS1", "prompt>");
    })
}

/// `smolctl VERB <agent> ARGUMENTS`
fn smolctl(agent: &Agent, verb: &str, arguments: &[&str]) -> Command {
    let target = format!("unix:{}/agent.sock", agent.folder().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
    command.arg(verb).arg(target).args(arguments);
    command
}

/// A shell on a terminal that answers, and its process's number in the guest.
fn shell(agent: &Agent, terminal: &Terminal) -> (Program, Screen, String) {
    let child = terminal.spawn(&mut smolctl(agent, "shell", &[]));
    assert!(soon(|| terminal.is_raw()));
    let mut screen = terminal.screen();
    // Quotes keep what is typed apart from what is printed: the terminal shows both.
    terminal.type_keys("echo pi''d=$$=\r");
    screen.read_until("pid=");
    let pid = screen.read_until("=").trim_end_matches('=').to_owned();
    (child, screen, pid)
}

/// A shell whose terminal it is, with `job` to do; its arguments are a `smolctl shell`.
fn spawn_job(agent: &Agent, terminal: &Terminal, job: &str) -> Program {
    let words = smolctl(agent, "shell", &[]);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", job, "-"]);
    command.arg(words.get_program()).args(words.get_args());
    terminal.spawn(command.current_dir(agent.folder()))
}

/// Has it hold all that it can while nobody looks: a program on it has to wait to show more.
fn fill(terminal: &Terminal) {
    let end = terminal.end();
    let path = format!("/proc/self/fd/{}", end.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let end = openat(CWD, path, flags, Mode::empty()).unwrap();
    while rustix::io::write(&end, b"x").is_ok() {}
}

#[test]
fn shell_shows_what_is_typed_and_its_exit_code_is_ours() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let (mut child, mut screen, _) = shell(&agent, &terminal);
    terminal.type_keys("echo $((6 * 7)) $TERM; stty size; test -t 2 && echo yes\r");
    screen.read_until("42 vt220\r\n24 80\r\nyes\r\n");
    terminal.type_keys("exit 3\r");
    assert_eq!(child.code(), Some(3));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn shell_is_the_agents_own_in_the_directory_and_with_the_variables_asked_for() {
    let agent = Agent::start_with(|command| {
        command.env("SHELL", "/bin/echo");
    });
    let terminal = Terminal::new();
    let mut child = terminal.spawn(&mut smolctl(&agent, "shell", &["-w", "/usr"]));
    // echo, asked to be a login shell.
    terminal.screen().read_until("-l\r\n");
    assert_eq!(child.code(), Some(0));
    let agent = self::agent();
    let words = ["-w", "/usr", "-e", "A=b"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "shell", &words));
    let mut screen = terminal.screen();
    terminal.type_keys("echo $PWD $A\r");
    screen.read_until("/usr b\r\n");
    terminal.type_keys("exit\r");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn shell_begins_in_its_users_home_where_no_directory_is_asked_for() {
    let agent = agent();
    let terminal = Terminal::new();
    let mut child = terminal.spawn(&mut smolctl(&agent, "shell", &["-e", "HOME=/usr"]));
    let mut screen = terminal.screen();
    terminal.type_keys("echo at $PWD.\r");
    screen.read_until("at /usr.\r\n");
    terminal.type_keys("exit\r");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn terminal_in_the_guest_follows_ours() {
    let agent = agent();
    let terminal = Terminal::new();
    let (mut child, mut screen, _) = shell(&agent, &terminal);
    terminal.resize(50, 132);
    child.signal(Signal::WINCH);
    let loops = "until test \"$(stty size)\" = '50 132'; do sleep 0.02; done; echo fol''lowed\r";
    terminal.type_keys(loops);
    screen.read_until("followed\r\n");
    terminal.type_keys("exit\r");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn tilde_and_dot_at_the_beginning_of_a_line_leave_the_shell_which_ends() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let (mut child, mut screen, pid) = shell(&agent, &terminal);
    terminal.type_keys("~?");
    screen.read_until("~~  send a ~\r\n");
    terminal.type_keys("echo not'' ~.\r");
    screen.read_until("not ~.\r\n");
    terminal.type_keys("sleep 60\r");
    terminal.type_keys("~.");
    screen.read_until("smolctl: left the shell");
    assert_eq!(child.code(), Some(129));
    assert_eq!(terminal.modes(), before);
    assert!(soon(|| !is_running(&pid)));
}

#[test]
fn terminal_is_as_it_was_when_a_signal_ends_us() {
    let agent = agent();
    for (number, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let terminal = Terminal::new();
        let before = terminal.modes();
        let (mut child, _screen, pid) = shell(&agent, &terminal);
        child.signal(number);
        assert_eq!(child.code(), Some(code));
        assert_eq!(terminal.modes(), before);
        assert!(soon(|| !is_running(&pid)));
    }
}

#[test]
fn terminal_is_as_it_was_when_the_agent_is_lost_and_that_is_told() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let (mut child, mut screen, _) = shell(&agent, &terminal);
    drop(agent);
    screen.read_until("\r\nsmolctl: ");
    screen.read_until("the peer closed the connection before its answer was complete\r\n");
    assert_eq!(child.code(), Some(125));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn terminal_that_goes_without_a_signal_ends_the_command_as_leaving_it_does() {
    let agent = agent();
    let terminal = Terminal::new();
    let command = ["-t", "-c", "echo $$ >started; exec sleep 600"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "run", &command));
    let started = agent.folder().join("started");
    let pid = || std::fs::read_to_string(&started).unwrap_or_default();
    assert!(soon(|| pid().ends_with('\n')));
    // It is nobody's controlling terminal: nobody gets SIGHUP.
    drop(terminal);
    assert_eq!(child.code(), Some(129));
    assert!(soon(|| !is_running(pid().trim_end())));
}

#[test]
fn terminal_that_shows_nothing_keeps_no_signal_from_being_heard() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let command = ["-t", "-c", "echo >started; exec yes"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "run", &command));
    assert!(soon(|| agent.folder().join("started").exists()));
    fill(&terminal);
    child.signal(Signal::TERM);
    assert_eq!(child.code(), Some(143));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn terminal_that_shows_nothing_can_be_left() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let mut child = terminal.spawn(&mut smolctl(&agent, "shell", &[]));
    assert!(soon(|| terminal.is_raw()));
    fill(&terminal);
    terminal.type_keys("~.");
    assert_eq!(child.code(), Some(129));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn terminal_that_is_made_raw_anew_after_a_stop_stays_usable() {
    let agent = agent();
    let terminal = Terminal::new();
    let (mut child, mut screen, _) = shell(&agent, &terminal);
    child.signal(Signal::STOP);
    // As a shell does with a terminal whose job was stopped.
    let stty = Command::new("stty")
        .arg("sane")
        .stdin(terminal.end())
        .status();
    assert!(stty.unwrap().success() && !terminal.is_raw());
    child.signal(Signal::CONT);
    assert!(soon(|| terminal.is_raw()));
    terminal.type_keys("echo on''ward\r");
    screen.read_until("onward\r\n");
    terminal.type_keys("exit\r");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn signal_ends_us_though_we_were_stopped_and_another_job_has_the_terminal() {
    let agent = agent();
    let terminal = Terminal::new();
    let job = r#"set -m
        sh -c 'echo $$ >pid; exec "$@"' - "$@"
        kill -s TERM %1; kill -s CONT %1
        read line"#;
    let mut child = spawn_job(&agent, &terminal, job);
    assert!(soon(|| terminal.is_raw()));
    let pid = std::fs::read_to_string(agent.folder().join("pid")).unwrap();
    let pid = pid.trim_end();
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
    assert!(soon(|| !is_running(pid)));
    terminal.type_keys("\n");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn signal_ends_us_though_we_were_started_behind_another_job() {
    let agent = agent();
    let terminal = Terminal::new();
    let job = r#"set -m
        sh -c 'echo $$ >pid; exec "$@"' - "$@" &
        read line
        kill -s TERM %1; kill -s CONT %1
        read line"#;
    let mut child = spawn_job(&agent, &terminal, job);
    let pid = || std::fs::read_to_string(agent.folder().join("pid")).unwrap_or_default();
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid().trim_end()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    };
    assert!(soon(is_stopped));
    terminal.type_keys("\n");
    assert!(soon(|| !is_running(pid().trim_end())));
    terminal.type_keys("\n");
    assert_eq!(child.code(), Some(0));
}

#[test]
fn keys_of_a_command_on_a_terminal_are_its_own() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let command = ["-it", "-c", "echo $TERM; stty size; exec cat"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "run", &command));
    let mut screen = terminal.screen();
    screen.read_until("vt220\r\n24 80\r\n");
    for line in ["~.", "one"] {
        terminal.type_keys(&format!("{line}\r"));
        screen.read_until(&format!("{line}\r\n{line}\r\n"));
    }
    terminal.type_keys("\x03");
    assert_eq!(child.code(), Some(130));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn end_of_file_key_ends_the_input_of_a_command_on_a_terminal() {
    let agent = agent();
    let terminal = Terminal::new();
    let command = ["-t", "--", "sh", "-c", "cat; exit 7"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "run", &command));
    let mut screen = terminal.screen();
    assert!(soon(|| terminal.is_raw()));
    terminal.type_keys("text\r");
    screen.read_until("text\r\ntext\r\n");
    terminal.type_keys("\x04");
    assert_eq!(child.code(), Some(7));
}

#[test]
fn time_limit_of_a_command_on_a_terminal_is_kept_and_told() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let command = ["-t", "--timeout", "0.3", "--", "sleep", "60"];
    let mut child = terminal.spawn(&mut smolctl(&agent, "run", &command));
    terminal.screen().read_until("time limit of 0.3 s\r\n");
    assert_eq!(child.code(), Some(124));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn lines_of_a_terminal_that_stays_ours_are_sent_by_interactive_alone() {
    let agent = agent();
    let terminal = Terminal::new();
    let before = terminal.modes();
    let mut child = terminal.spawn(&mut smolctl(
        &agent,
        "run",
        &["-i", "-c", "test -t 0; echo $?; cat"],
    ));
    let mut screen = terminal.screen();
    screen.read_until("1\r\n");
    assert_eq!(terminal.modes(), before);
    terminal.type_keys("line\r");
    screen.read_until("line\r\nline\r\n");
    terminal.type_keys("\x04");
    assert_eq!(child.code(), Some(0));
}
