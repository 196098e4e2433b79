//! `smolctl image` told to end while a disk is made: no program of it goes on, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/wait.rs"]
mod wait;

use folder::{Folder, elf};
use rustix::process::{Pid, Signal};
use smolvm_host::image::Manifest;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use wait::{is_running, soon};

/// A tool that tells its version, and otherwise writes its number to `pid` and stays.
fn stay(folder: &Folder, name: &str) {
    let script = format!(
        "#!/bin/sh\nPATH='{1}'\n[ \"$1\" = -V ] && {{ echo 'mke2fs 1.47.9 (today)' >&2; exit; }}\n\
         echo $$ >{0}.new\nmv {0}.new {0}\nexec sleep 600\n",
        folder.path("pid").display(),
        // smolctl's own is this folder's.
        std::env::var("PATH").unwrap()
    );
    let path = folder.write(&format!("bin/{name}"), script.as_bytes());
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Sends SIGTERM once the condition holds for the process; the exit code and what was said.
fn terminated(command: &mut Command, condition: impl Fn(u32) -> bool) -> (i32, String) {
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let child = child.unwrap();
    let started = soon(|| condition(child.id()));
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(started, "{}", String::from_utf8_lossy(&output.stderr));
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Whether a process has a file open.
fn has_open(process: u32, file: &Path) -> bool {
    let opened = fs::read_dir(format!("/proc/{process}/fd"))
        .into_iter()
        .flatten();
    opened
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|path| path == file))
}

#[test]
fn sigterm_while_a_tool_makes_a_disk_ends_the_tool_and_leaves_nothing() {
    for tool in ["mke2fs", "debugfs"] {
        for verb in ["build", "inject"] {
            let folder = Folder::new();
            folder.write_image_inputs();
            folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
            let layout = "disk 64\ndir /m 0755\nmodules /m /m/list\ninput /init 0755 agent\n";
            let layout = folder.write("layout", layout.as_bytes());
            stay(&folder, tool);
            let mut command = match verb {
                "build" => {
                    let mut build = folder.image_build(&folder.path("o/out"));
                    build.arg("--layout").arg(layout);
                    build
                }
                _ => {
                    let mut inject = folder.smolctl(&["image", "inject", "--root", "tree"]);
                    inject.args(["--agent", "agent", "-o", "o/out.ext4"]);
                    inject
                }
            };
            let (code, told) = terminated(&mut command, |_| folder.path("pid").exists());
            assert_eq!((code, told.as_str()), (143, ""), "{verb} {tool}");
            let running = fs::read_to_string(folder.path("pid")).unwrap();
            assert!(!is_running(running.trim()), "{verb} {tool}");
            assert!(folder.names("o").is_empty(), "{verb} {tool}");
        }
    }
}

/// A file without a byte of its own, which takes long to read.
fn make_large(path: &Path) {
    fs::File::create(path).unwrap().set_len(16 << 30).unwrap();
}

#[test]
fn sigterm_while_a_large_file_is_read_is_heeded_at_once_and_leaves_nothing() {
    let folder = Folder::new();
    folder.write_image_inputs();
    folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
    let large = folder.path("tree/large");
    make_large(&large);
    let large = fs::canonicalize(large).unwrap();
    for arguments in [
        &[
            "inject",
            "--root",
            "tree",
            "--agent",
            "agent",
            "-o",
            "o/out.tar.gz",
        ][..],
        &[
            "inject",
            "--root",
            "tree",
            "--agent",
            "agent",
            "-o",
            "o/out.ext4",
        ],
        &["diff", "tree", "tree"],
    ] {
        let mut command = folder.smolctl(&[&["image"], arguments].concat());
        let (code, told) = terminated(&mut command, |process| has_open(process, &large));
        assert_eq!((code, told.as_str()), (143, ""), "{arguments:?}");
        assert!(folder.names("o").is_empty(), "{arguments:?}");
    }
}

#[test]
fn sigterm_while_an_image_is_verified_or_compared_is_heeded_at_once() {
    let folder = Folder::new();
    folder.write_image_inputs();
    let built = folder.image_build(&folder.path("one")).output().unwrap();
    assert!(built.status.success());
    let mut manifest = Manifest::read(&folder.path("one")).unwrap();
    manifest.files.get_mut("vmlinuz").unwrap().size = 16 << 30;
    folder.write("one/manifest.json", manifest.to_json().as_bytes());
    let large = fs::canonicalize(folder.path("one/vmlinuz")).unwrap();
    make_large(&large);
    for arguments in [&["verify", "one"][..], &["diff", "one", "one"]] {
        let mut command = folder.smolctl(&[&["image"], arguments].concat());
        let (code, told) = terminated(&mut command, |process| has_open(process, &large));
        assert_eq!((code, told.as_str()), (143, ""), "{arguments:?}");
    }
}
