//! `smolctl vm stop`, `rm` and `logs` with stand-ins for QEMU and the vsock device: what stays of a VM, and what is said.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/stand_ins.rs"]
mod stand_ins;
#[path = "support/wait.rs"]
mod wait;

use folder::Folder;
use serde_json::{Value, json};
use smolvm_protocol::frame::{FrameType, encode_frame};
use stand_ins::{
    DEVICE, QEMU, answer_pings, assert_nothing_left, folder_with, lowest_free_cid, outcome, pid,
    start,
};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread::JoinHandle;
use wait::{is_running, soon};

const LISTENS: &str = "smolvm-guest-agent: listening on vsock port 1024\n";

/// What answers in the guest, and is no agent: a VM that has one is given up on at once.
struct Stranger {
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    fn listen(folder: &Folder) -> Self {
        let socket = folder.path("s/vms/a/vsock.sock");
        fs::remove_file(&socket).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let own = listener.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            for connection in own.incoming().map_while(Result::ok) {
                let mut connection = BufReader::new(connection);
                let mut line = String::new();
                let _ = connection.read_line(&mut line);
                let answer = encode_frame(FrameType::JSON, br#"{"ok": true, "op": "hello"}"#);
                let answer = [&b"OK 1\n"[..], &answer].concat();
                let _ = connection.get_mut().write_all(&answer);
            }
        });
        Self {
            listener,
            thread: Some(thread),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // The wait for a connection ends with an error then.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A folder with the running VM `a`, which does not end when it is asked to.
fn running_vm() -> (Folder, Stranger) {
    let folder = folder_with(DEVICE, QEMU);
    start_vm(&folder);
    let stranger = Stranger::listen(&folder);
    (folder, stranger)
}

fn start_vm(folder: &Folder) {
    let mut child = start(folder).stdout(Stdio::null()).spawn().unwrap();
    assert!(soon(|| folder.path("qemu.pid").exists()));
    answer_pings(folder, LISTENS, 1);
    assert!(child.wait().unwrap().success());
}

/// Another VM, which had stopped before this machine started.
fn write_stopped_vm(folder: &Folder, name: &str) {
    let record = json!({
        "format": 1, "name": name, "phase": "running", "arch": "x86_64", "image": "/i",
        "accelerator": "tcg", "cid": 3, "vsock": {"socket": "/x"}, "boot_id": "another",
        "starter": {"pid": 1, "start_time": 1}, "qemu": {"pid": 1, "start_time": 1}, "device": null
    });
    folder.write(
        &format!("s/vms/{name}/vm.json"),
        record.to_string().as_bytes(),
    );
}

fn json_of(folder: &Folder, arguments: &[&str], code: i32) -> Value {
    let output = folder.smolctl(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn stopped_vm_keeps_its_record_and_logs_alone() {
    let (folder, _stranger) = running_vm();
    folder.write("s/vms/a/root.ext4", b"its own disk");
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "stop", "a"]));
    assert_eq!(code, 0, "{sentence}");
    assert_eq!(
        sentence,
        "smolctl: a did not power off by itself, so QEMU was ended\n"
    );
    let kept = ["console.log", "device.log", "qemu.log", "vm.json"];
    assert_eq!(folder.names("s/vms/a"), kept);
    for name in ["qemu.pid", "device.pid"] {
        assert!(!is_running(&pid(&folder, name)));
    }
    assert!(soon(|| lowest_free_cid(&folder) == 3));
    let listed = json_of(&folder, &["vm", "list", "--json"], 0);
    assert_eq!(listed[0]["status"], "stopped");
    for gone in ["pid", "cid", "target"] {
        assert!(listed[0][gone].is_null(), "{gone}");
    }
    let again = json_of(&folder, &["vm", "stop", "a", "--json"], 0);
    let wanted = json!([{"name": "a", "ending": "already_stopped", "error": null}]);
    assert_eq!(again, wanted);
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "rm", "a"]));
    assert_eq!((code, &*sentence), (0, "smolctl: a is forgotten\n"));
    assert_nothing_left(&folder);
}

#[test]
fn stopped_vm_of_that_name_is_replaced_by_a_start() {
    let (folder, _stranger) = running_vm();
    assert_eq!(outcome(&mut folder.smolctl(&["vm", "stop", "a"])).0, 0);
    fs::remove_file(folder.path("qemu.pid")).unwrap();
    start_vm(&folder);
    let _stranger = Stranger::listen(&folder);
    let listed = json_of(&folder, &["vm", "list", "--json"], 0);
    assert_eq!(listed[0]["status"], "running");
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}

#[test]
fn running_vm_is_forgotten_by_force_alone() {
    let (folder, _stranger) = running_vm();
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "rm", "a"]));
    assert_eq!(code, 1);
    assert_eq!(
        sentence,
        "smolctl: the VM a runs; end it first with smolctl vm stop a, or give --force\n"
    );
    assert!(is_running(&pid(&folder, "qemu.pid")));
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"]));
    assert_eq!(code, 0);
    assert!(sentence.ends_with("it is forgotten\n"), "{sentence}");
    assert_nothing_left(&folder);
}

#[test]
fn one_that_fails_keeps_none_of_the_others_from_their_end() {
    let (folder, _stranger) = running_vm();
    let words = ["vm", "stop", "gone", "a", "gone", "--json"];
    let results = json_of(&folder, &words, 1);
    assert_eq!(results.as_array().unwrap().len(), 2);
    assert!(results[0]["ending"].is_null());
    let error = results[0]["error"].as_str().unwrap();
    assert!(error.starts_with("there is no VM named gone"), "{error}");
    assert_eq!(results[1]["ending"], "killed");
    assert!(!is_running(&pid(&folder, "qemu.pid")));
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "a", "gone"])).0,
        1
    );
    assert_nothing_left(&folder);
}

#[test]
fn all_are_those_that_a_verb_is_for() {
    let (folder, _stranger) = running_vm();
    write_stopped_vm(&folder, "b");
    write_stopped_vm(&folder, "c");
    let removed = json_of(&folder, &["vm", "rm", "--all", "--json"], 0);
    assert_eq!(
        (&removed[0]["name"], &removed[1]["name"]),
        (&json!("b"), &json!("c"))
    );
    assert_eq!(folder.names("s/vms"), [".lock", "a"]);
    write_stopped_vm(&folder, "b");
    let stopped = json_of(&folder, &["vm", "stop", "--all", "--json"], 0);
    assert_eq!(
        stopped,
        json!([{"name": "a", "ending": "killed", "error": null}])
    );
    assert_eq!(folder.names("s/vms"), [".lock", "a", "b"]);
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--all", "--force"])).0,
        0
    );
    assert_nothing_left(&folder);
    assert_eq!(
        json_of(&folder, &["vm", "rm", "--all", "--json"], 0),
        json!([])
    );
}

#[test]
fn logs_are_the_bytes_that_were_said_also_of_a_stopped_vm() {
    let (folder, _stranger) = running_vm();
    let said = b"\x1b[31mred\xff\r\n";
    folder.write("s/vms/a/console.log", said);
    folder.write("s/vms/a/qemu.log", b"a warning\n");
    let logs = |words: &[&str]| folder.smolctl(words).output().unwrap().stdout;
    assert_eq!(logs(&["vm", "logs", "a"]), said);
    assert_eq!(logs(&["vm", "logs", "a", "--of", "qemu"]), b"a warning\n");
    assert_eq!(outcome(&mut folder.smolctl(&["vm", "stop", "a"])).0, 0);
    assert_eq!(logs(&["vm", "logs", "a"]), said);
    assert_eq!(logs(&["vm", "logs", "--follow", "a"]), said);
    fs::remove_file(folder.path("s/vms/a/device.log")).unwrap();
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "logs", "a", "--of", "device"]));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("the VM a has no device log"),
        "{sentence}"
    );
    let (code, sentence) = outcome(&mut folder.smolctl(&["vm", "logs", "gone"]));
    assert_eq!(code, 1);
    assert!(sentence.contains("there is no VM named gone"), "{sentence}");
}

#[test]
fn followed_log_goes_on_with_what_comes_until_the_vm_stops() {
    let (folder, _stranger) = running_vm();
    let mut follow = folder.smolctl(&["vm", "logs", "a", "--follow"]);
    let mut follower = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = follower.stdout.take().unwrap();
    let mut read = vec![0; LISTENS.len()];
    stdout.read_exact(&mut read).unwrap();
    let path = folder.path("s/vms/a/console.log");
    let mut console = File::options().append(true).open(path).unwrap();
    console.write_all(b"more\n").unwrap();
    stdout.read_exact(&mut read[..5]).unwrap();
    assert_eq!(&read[..5], b"more\n");
    assert_eq!(outcome(&mut folder.smolctl(&["vm", "stop", "a"])).0, 0);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() && follower.wait().unwrap().success());
}

#[test]
fn interrupted_follower_ends_with_the_signals_code_and_leaves_the_vm() {
    let (folder, _stranger) = running_vm();
    let mut follow = folder.smolctl(&["vm", "logs", "a", "-f"]);
    let mut follower = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut read = vec![0; LISTENS.len()];
    follower
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut read)
        .unwrap();
    let signal = rustix::process::Signal::TERM;
    rustix::process::kill_process(rustix::process::Pid::from_child(&follower), signal).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(143));
    assert!(is_running(&pid(&folder, "qemu.pid")));
    assert_eq!(
        outcome(&mut folder.smolctl(&["vm", "rm", "--force", "a"])).0,
        0
    );
    assert_nothing_left(&folder);
}
