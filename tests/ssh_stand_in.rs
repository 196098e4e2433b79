//! The command line by ssh, against programs that stand in for `ssh`: what no real server does on purpose.
//!
//! No login, no keys and no rights are needed. A stand-in has the script for the guest in `$line`, and the mark of its lines in `$mark`.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/wait.rs"]
#[allow(dead_code, reason = "shared with tests that look for processes")]
mod wait;

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wait::soon;

/// Its script's words follow the script itself, whose last line ends with a quote.
const BEGINNING: &str = r#"#!/bin/sh
for line; do :; done
nonce=$(printf %s "$line" | sed -n "s/.*' 'sh' 'smolvm-ssh' '\([0-9a-f]*\)'.*/\1/p")
mark=smolvm-ssh-$nonce
"#;

/// A folder with a program `ssh`, in which the guest's commands run, too.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(ssh: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let program = folder.path().join("ssh");
        fs::write(&program, format!("{BEGINNING}{ssh}\n")).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `smolctl VERB TARGET ARGUMENTS --channel ssh --ssh guest`
    fn smolctl(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command(verb, arguments).output().unwrap()
    }

    fn search_path(&self) -> OsString {
        let mut path = OsString::from(self.folder.path());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        path
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
        command
            .args([verb, "unix:/nowhere/agent.sock"])
            .args(arguments)
            .args(["--channel", "ssh", "--ssh", "guest"])
            .current_dir(self.folder.path())
            .env("PATH", self.search_path())
            .env("TMPDIR", self.path("tmp"));
        command
    }
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn file_whose_end_is_lost_on_the_way_is_not_taken_for_whole() {
    let place = Place::new(r#"sh -c "$line" | { head -c 1000; cat >/dev/null; }"#);
    fs::write(place.path("there"), vec![7; 200_000]).unwrap();
    fs::write(place.path("here"), b"old").unwrap();
    let output = place.smolctl("get", &["there", "here"]);
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("ended too early"), "{said}");
    assert_eq!(fs::read(place.path("here")).unwrap(), b"old");
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 4);
}

#[test]
fn link_that_takes_the_temporary_files_name_changes_no_mode_of_what_it_leads_to() {
    let place = Place::new(r#"exec sh -c "$line""#);
    // Whose folder it is in the guest may be faster than this.
    let swap = "#!/bin/sh\nfor part in .smolvm-put-*; do ln -sf victim \"$part\"; done\nPATH=${PATH#*:}\nexec chmod \"$@\"\n";
    fs::write(place.path("chmod"), swap).unwrap();
    fs::set_permissions(place.path("chmod"), Permissions::from_mode(0o755)).unwrap();
    fs::write(place.path("victim"), b"secret").unwrap();
    fs::set_permissions(place.path("victim"), Permissions::from_mode(0o600)).unwrap();
    fs::write(place.path("here"), b"new").unwrap();
    place.smolctl("put", &["here", "there", "--mode", "666"]);
    let there = fs::symlink_metadata(place.path("there")).unwrap();
    assert!(there.is_symlink(), "the name was not swapped");
    let victim = fs::metadata(place.path("victim")).unwrap();
    assert_eq!(victim.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"secret");
}

#[test]
fn status_that_no_command_can_have_is_no_answer() {
    for word in ["-2147483648", "256", "x", ""] {
        let place = Place::new(&format!(
            r#"echo "$mark"; printf '%s\n' "$mark" "$mark {word}" >&2"#
        ));
        let output = place.smolctl("run", &["-c", "true"]);
        let said = stderr_of(&output);
        assert_eq!(output.status.code(), Some(125), "{word}: {said}");
        assert!(said.contains("ended too early"), "{word}: {said}");
    }
}

#[test]
fn end_at_each_stage_is_told_in_one_line() {
    for (ssh, words) in [
        ("exit 255", "cannot reach guest by ssh: ssh gave no reason"),
        (
            "echo no such host >&2; exit 255",
            "cannot reach guest by ssh: no such host",
        ),
        ("kill -9 $$", "cannot reach guest by ssh"),
        ("head -c 3000000 /dev/zero >&2", "cannot reach guest by ssh"),
        (r#"echo "$mark" >&2; exit 255"#, "ended too early"),
        (r#"echo "$mark" >&2; exit 0"#, "ended too early"),
        (
            r#"printf '%s\n' "$mark" "$mark 0" >&2; exit 255"#,
            "ended too early",
        ),
        (
            r#"printf '\033[31m%s\n' "$mark" red >&2; exit 1"#,
            "ended too early",
        ),
    ] {
        let place = Place::new(ssh);
        fs::write(place.path("here"), b"old").unwrap();
        for (verb, arguments) in [
            ("run", vec!["-c", "true"]),
            ("put", vec!["here", "there"]),
            ("get", vec!["there", "here"]),
        ] {
            let output = place.smolctl(verb, &arguments);
            let said = stderr_of(&output);
            let last = said.lines().last().unwrap_or_default();
            assert_eq!(output.status.code(), Some(125), "{verb}, {ssh}: {said}");
            assert!(last.contains(words), "{verb}, {ssh}: {said}");
            assert!(!last.contains(['\x1b', '\0']), "{verb}, {ssh}: {said}");
            assert_eq!(fs::read(place.path("here")).unwrap(), b"old");
        }
    }
}

#[test]
fn guest_that_lets_us_in_later_is_waited_for() {
    let place = Place::new(
        r#"[ -e tried ] || { : >tried; echo refused >&2; exit 255; }
exec sh -c "$line""#,
    );
    let output = place.smolctl("wait-ready", &["--timeout", "30"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
}

#[test]
fn time_limit_of_a_transfer_holds_while_nothing_comes_to_send_and_while_the_server_is_silent() {
    let place = Place::new("exec sleep 60");
    let pipe = place.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fs::write(place.path("here"), b"old").unwrap();
    for arguments in [
        &["put", "pipe", "there"],
        &["put", "here", "there"],
        &["get", "there", "here"],
    ] {
        let begin = Instant::now();
        let output = place.smolctl(
            arguments[0],
            &[&arguments[1..], &["--timeout", "0.5"]].concat(),
        );
        let said = stderr_of(&output);
        assert!(matches!(output.status.code(), Some(1 | 125)), "{said}");
        assert!(said.contains("in time"), "{said}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{said}");
    }
}

#[test]
fn signal_at_each_stage_ends_each_verb_and_leaves_nothing_behind() {
    for before in [
        "",
        r#"printf '%s\n' "$mark" >&2"#,
        r#"printf '%s\n' "$mark" >&2; cat >/dev/null & head -c 99999 /dev/zero"#,
    ] {
        let place = Place::new(&format!("{before}\n: >begun; exec sleep 60"));
        fs::write(place.path("here"), vec![7; 3_000_000]).unwrap();
        for (verb, arguments) in [
            ("run", vec!["-c", "true"]),
            ("put", vec!["here", "there"]),
            ("get", vec!["there", "here"]),
            ("wait-ready", vec![]),
        ] {
            let mut command = place.command(verb, &arguments);
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            assert!(soon(|| place.path("begun").exists()), "{verb}, {before}");
            let begin = Instant::now();
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{verb}, {before}");
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "{verb}, {before}"
            );
            fs::remove_file(place.path("begun")).unwrap();
            assert_eq!(
                fs::read_dir(place.path("tmp")).unwrap().count(),
                0,
                "{verb}"
            );
            // ssh, tmp, here
            assert_eq!(
                fs::read_dir(place.folder.path()).unwrap().count(),
                3,
                "{verb}"
            );
        }
    }
}

#[test]
fn ssh_has_the_time_to_tell_the_guest_that_we_hang_up() {
    let place = Place::new(
        r#"printf '%s\n' "$mark" >&2; read -r _; : >begun; while read -r _; do :; done; : >heard"#,
    );
    let mut run = place.command("run", &["-c", "true"]);
    let mut child = run.spawn().unwrap();
    assert!(soon(|| place.path("begun").exists()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(place.path("heard").exists());
}

#[test]
fn upload_writes_to_nothing_that_is_in_the_place_of_its_temporary_file() {
    let place = Place::new(r#"umask 0; ln -s victim ".smolvm-put-$nonce"; exec sh -c "$line""#);
    for name in ["victim", "here"] {
        fs::write(place.path(name), name).unwrap();
    }
    let output = place.smolctl("put", &["here", "there"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr_of(&output));
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"victim");
    assert!(!place.path("there").exists());
}

#[test]
fn file_that_cannot_be_read_to_its_end_is_refused() {
    let place = Place::new(r#"exec sh -c "$line""#);
    fs::write(place.path("here"), b"old").unwrap();
    let output = place.smolctl("get", &["/proc/self/mem", "here"]);
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("refused by the guest"), "{said}");
    assert_eq!(fs::read(place.path("here")).unwrap(), b"old");
}

#[test]
fn refusal_cannot_act_on_a_terminal() {
    let place = Place::new(r#"printf '%s\n\033]0;title\007no\n%s refused\n' "$mark" "$mark" >&2"#);
    fs::write(place.path("here"), b"old").unwrap();
    for arguments in [["put", "here", "there"], ["get", "there", "here"]] {
        let output = place.smolctl(arguments[0], &arguments[1..]);
        let said = stderr_of(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        let end = "refused by the guest: ]0;titleno\n";
        assert!(said.ends_with(end) && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn short_time_limit_is_shared_between_a_silent_agent_and_ssh() {
    let place = Place::new(r#"exec sh -c "$line""#);
    let socket = place.path("agent.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    fs::write(place.path("there"), b"content").unwrap();
    let mut target = OsString::from("unix:");
    target.push(socket);
    let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .arg("get")
        .arg(target)
        .args(["there", "-", "--ssh", "guest", "--timeout", "2.4"])
        .current_dir(place.folder.path())
        .env("PATH", place.search_path())
        .output()
        .unwrap();
    let said = stderr_of(&output);
    assert_eq!(output.stdout, b"content", "{said}");
    assert!(
        said.contains("going on by ssh to guest") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn signal_while_the_agent_is_tried_is_no_reason_to_go_on_by_ssh() {
    let place = Place::new(": >tried; exec sleep 60");
    let socket = place.path("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut target = OsString::from("unix:");
    target.push(socket);
    let child = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .arg("run")
        .arg(target)
        .args(["-c", "true", "--ssh", "guest"])
        .current_dir(place.folder.path())
        .env("PATH", place.search_path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _silent = listener.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(stderr_of(&output), "");
    assert!(!place.path("tried").exists());
}

#[test]
fn run_without_a_program_ssh_has_no_exit_code_of_the_commands() {
    let place = Place::new("");
    fs::remove_file(place.path("ssh")).unwrap();
    let mut run = place.command("run", &["-c", "true"]);
    let output = run.env("PATH", place.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr_of(&output).contains("install OpenSSH's client"));
}

#[test]
fn variables_and_command_stand_in_no_list_of_processes_here() {
    let place = Place::new(r#"printf '%s\n' "$@" >words; exec sh -c "$line""#);
    let line = "printf '%s|%s' \"$A\" \"$B\" # unseen1";
    let output = place.smolctl("run", &["-e", "A=unseen2\n'$x\n", "-e", "B=-n", "-c", line]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "unseen2\n'$x\n|-n");
    let words = fs::read_to_string(place.path("words")).unwrap();
    assert!(
        words.contains("setsid") && !words.contains("unseen"),
        "{words}"
    );
}
