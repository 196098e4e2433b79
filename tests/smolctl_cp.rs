//! `smolctl cp` against the real agent: docker's rules, and what is refused.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[allow(dead_code, reason = "shared with tests that look at processes")]
#[path = "support/wait.rs"]
mod wait;

use agent::Agent;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wait::soon;

/// An agent and a folder on this side.
struct Sides {
    agent: Agent,
    here: TempDir,
}

impl Sides {
    /// With a tree `tree` here: a file, a directory with a file, a link.
    fn new() -> Self {
        let sides = Self {
            agent: Agent::start(),
            here: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(sides.here("tree/sub")).unwrap();
        fs::write(sides.here("tree/file"), b"file").unwrap();
        fs::write(sides.here("tree/sub/deep"), b"deep").unwrap();
        symlink("sub/deep", sides.here("tree/link")).unwrap();
        sides
    }

    fn here(&self, path: &str) -> PathBuf {
        self.here.path().join(path)
    }

    fn there(&self, path: &str) -> PathBuf {
        self.agent.folder().join(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
        command.arg("cp").current_dir(self.here.path());
        for argument in arguments {
            match argument.strip_prefix("G:") {
                Some(path) => {
                    let mut word = OsString::from("unix:");
                    word.push(self.there("agent.sock"));
                    word.push(":");
                    word.push(self.agent.folder());
                    word.push("/");
                    word.push(path);
                    command.arg(word)
                }
                None => command.arg(argument),
            };
        }
        command
    }

    fn cp(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn copies(&self, arguments: &[&str]) {
        let output = self.cp(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }

    /// That it is refused with this exit code, in one sentence with these words.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, words: &str) {
        let output = self.cp(arguments);
        let sentence = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {sentence}"
        );
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
        assert_eq!(sentence.lines().count(), 1, "{arguments:?}: {sentence}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn is_the_tree(root: &Path) {
    assert_eq!(fs::read(root.join("file")).unwrap(), b"file");
    assert_eq!(fs::read(root.join("sub/deep")).unwrap(), b"deep");
    assert_eq!(
        fs::read_link(root.join("link")).unwrap(),
        Path::new("sub/deep")
    );
}

#[test]
fn file_goes_to_its_own_path_or_into_a_directory() {
    let sides = Sides::new();
    fs::create_dir(sides.there("d")).unwrap();
    fs::create_dir(sides.here("d")).unwrap();
    sides.copies(&["tree/file", "G:a"]);
    sides.copies(&["tree/file", "G:d"]);
    sides.copies(&["-r", "tree/file", "G:d/"]);
    sides.copies(&["--mode", "4751", "tree/file", "G:moded"]);
    sides.copies(&["tree/link", "G:followed"]);
    for path in ["a", "d/file", "moded"] {
        assert_eq!(fs::read(sides.there(path)).unwrap(), b"file", "{path}");
    }
    assert!(
        sides
            .there("followed")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
    let moded = fs::metadata(sides.there("moded")).unwrap();
    assert_eq!(moded.permissions().mode() & 0o7777, 0o4751);
    sides.copies(&["G:a", "b"]);
    sides.copies(&["G:a", "d"]);
    for path in ["b", "d/a"] {
        assert_eq!(fs::read(sides.here(path)).unwrap(), b"file", "{path}");
    }
    sides.refuses(&["tree/file", "G:none/"], 125, "No such file or directory");
    sides.refuses(&["G:a", "none/"], 1, "there is no directory none/");
    assert!(!sides.there("none").exists() && !sides.here("none").exists());
}

#[test]
fn directory_goes_as_its_name_its_content_or_a_new_name() {
    let sides = Sides::new();
    fs::create_dir(sides.there("d")).unwrap();
    sides.copies(&["-r", "tree", "G:d"]);
    sides.copies(&["-r", "tree/", "G:new"]);
    sides.copies(&["-r", "tree/.", "G:d"]);
    for path in ["d/tree", "new", "d"] {
        is_the_tree(&sides.there(path));
    }
    fs::create_dir(sides.here("d")).unwrap();
    sides.copies(&["-r", "G:new", "d"]);
    sides.copies(&["-r", "G:new", "own"]);
    sides.copies(&["-r", "G:new/.", "d"]);
    for path in ["d/new", "own", "d"] {
        is_the_tree(&sides.here(path));
    }
}

#[test]
fn copying_again_replaces_files_and_keeps_the_others() {
    let sides = Sides::new();
    sides.copies(&["-r", "tree", "G:t"]);
    fs::write(sides.there("t/other"), b"kept").unwrap();
    fs::set_permissions(sides.there("t"), Permissions::from_mode(0o711)).unwrap();
    fs::write(sides.here("tree/file"), b"FILE").unwrap();
    sides.copies(&["-r", "tree/.", "G:t"]);
    assert_eq!(fs::read(sides.there("t/file")).unwrap(), b"FILE");
    assert_eq!(fs::read(sides.there("t/other")).unwrap(), b"kept");
    let mode = fs::metadata(sides.there("t")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o711);
}

#[test]
fn link_that_goes_into_a_directory_never_goes_a_level_deeper() {
    let sides = Sides::new();
    fs::create_dir_all(sides.there("d/link")).unwrap();
    for place in ["G:d", "G:d/"] {
        sides.refuses(&["-r", "tree/link", place], 125, "link");
    }
    assert_eq!(fs::read_dir(sides.there("d/link")).unwrap().count(), 0);
    fs::create_dir(sides.there("d/file")).unwrap();
    sides.refuses(&["tree/file", "G:d/"], 125, "no filename was provided");
    assert_eq!(fs::read_dir(sides.there("d/file")).unwrap().count(), 0);
}

#[test]
fn copy_of_a_guest_that_never_answers_ends_at_its_limit() {
    let sides = Sides::new();
    let silent = sides.here("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let there = format!("unix:{}:/x", silent.display());
    let began = Instant::now();
    for (from, to) in [("tree/file", &*there), (&there, "x")] {
        sides.refuses(&["--timeout", "0.2", from, to], 125, "silent");
    }
    // Without a limit of its own, a copy waits for a minute.
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn interrupted_reading_of_standard_input_ends_with_the_signals_code() {
    let sides = Sides::new();
    let mut command = sides.command(&["-", "G:in"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // Waiting for a child would close it, and so end what is read.
    let _stdin = child.stdin.take();
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_kept = |descriptor: fs::DirEntry| {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        target.to_string_lossy().ends_with(" (deleted)")
    };
    // What is read goes to a file without a name.
    assert!(soon(|| {
        let mut all = fs::read_dir(&descriptors).unwrap().flatten();
        all.any(is_kept)
    }));
    let signal = rustix::process::Signal::TERM;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!sides.there("in").exists());
}

#[test]
fn failure_here_names_the_file_and_is_a_local_one() {
    let sides = Sides::new();
    sides.copies(&["-r", "tree", "G:t"]);
    fs::create_dir_all(sides.here("d/t/file")).unwrap();
    sides.refuses(&["-r", "G:t", "d"], 1, "d/t/file");
    let pipe = sides.here("pipe");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    sides.refuses(&["-r", "G:t", "pipe"], 1, "it is a device, pipe or socket");
}

#[test]
fn link_is_copied_as_a_link_with_r() {
    let sides = Sides::new();
    sides.copies(&["-r", "tree/link", "G:l"]);
    assert_eq!(
        fs::read_link(sides.there("l")).unwrap(),
        Path::new("sub/deep")
    );
    sides.copies(&["-r", "G:l", "back"]);
    assert_eq!(
        fs::read_link(sides.here("back")).unwrap(),
        Path::new("sub/deep")
    );
}

#[test]
fn standard_input_and_output_take_one_file() {
    let sides = Sides::new();
    let mut child = sides
        .command(&["-", "G:in"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"piped").unwrap();
    assert!(child.wait().unwrap().success());
    let output = sides.cp(&["G:in", "-"]);
    assert_eq!(output.stdout, b"piped");
    fs::create_dir(sides.there("d")).unwrap();
    sides.refuses(&["-", "G:d"], 125, "no filename was provided");
    sides.refuses(&["-r", "-", "G:x"], 2, "leave -r out");
    sides.refuses(&["-r", "G:in", "-"], 2, "leave -r out");
    sides.refuses(&["-", "G:x/"], 2, "standard input has no name");
    sides.refuses(&["--json", "G:in", "-"], 2, "--json has no place there");
}

#[test]
fn what_is_left_out_is_told_and_json_counts_the_rest() {
    let sides = Sides::new();
    let pipe = sides.here("tree/pipe");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let output = sides.cp(&["-r", "tree", "G:t"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("left out") && stderr(&output).contains("pipe"));
    assert!(!stderr(&output).contains("first 16"));
    let output = sides.cp(&["-r", "--json", "tree", "G:u"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted = serde_json::json!({"entries": 5, "bytes": 8, "skipped": ["pipe"]});
    assert_eq!(json, wanted);
    for number in 1..=16 {
        let pipe = sides.here(&format!("tree/pipe{number}"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    let output = sides.cp(&["-r", "tree", "G:v"]);
    assert!(
        stderr(&output).contains("the first 16"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn wrong_calls_are_refused_in_one_sentence_and_do_nothing() {
    let sides = Sides::new();
    sides.refuses(&["tree", "G:t"], 2, "copy it with -r");
    sides.refuses(&["tree/file", "tree/other"], 2, "both sides are here");
    sides.refuses(&["G:a", "G:b"], 2, "both sides are in a guest");
    sides.refuses(
        &["-r", "--mode", "644", "tree", "G:t"],
        2,
        "--mode is for one file",
    );
    sides.refuses(&["--mode", "644", "G:a", "b"], 2, "--mode is for a file");
    sides.refuses(&["tree/none", "G:t"], 1, "tree/none");
    sides.refuses(&["cid:2:/x", "b"], 2, "no guest's CID");
    sides.refuses(&["vm1:", "b"], 2, "the path in the guest is empty");
    sides.refuses(&["cid:3", "b"], 2, "no path in it");
    sides.refuses(&["G:none", "b"], 125, "No such file or directory");
    sides.refuses(&["-r", "G:none", "b"], 125, "No such file or directory");
    fs::create_dir(sides.there("d")).unwrap();
    sides.refuses(&["G:d", "b"], 125, "copy it with smolctl cp -r");
    assert!(!sides.here("b").exists() && !sides.there("t").exists());
}
