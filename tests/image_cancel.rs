//! `smolctl image` told to end while a disk is made: no program of it goes on, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/wait.rs"]
mod wait;

use folder::{Folder, elf};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use wait::{is_running, soon};

/// A tool that tells its version, and otherwise writes its number to `pid` and stays.
fn stay(folder: &Folder, name: &str) {
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -V ] && {{ echo 'mke2fs 1.47.9 (today)' >&2; exit; }}\n\
         echo $$ >{0}.new\n/bin/mv {0}.new {0}\nexec /bin/sleep 600\n",
        folder.path("pid").display()
    );
    let path = folder.write(&format!("bin/{name}"), script.as_bytes());
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Sends SIGTERM once the tool runs; the exit code, what was said, and the tool's number.
fn terminated(folder: &Folder, command: &mut Command) -> (i32, String, String) {
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let child = child.unwrap();
    let started = soon(|| folder.path("pid").exists());
    let number = child.id().to_string();
    let kill = Command::new("/bin/kill").args(["-TERM", &number]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(started, "{}", String::from_utf8_lossy(&output.stderr));
    let tool = fs::read_to_string(folder.path("pid")).unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        tool.trim().to_owned(),
    )
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
            let (code, told, running) = terminated(&folder, &mut command);
            assert_eq!((code, told.as_str()), (143, ""), "{verb} {tool}");
            assert!(!is_running(&running), "{verb} {tool}");
            assert!(folder.names("o").is_empty(), "{verb} {tool}");
        }
    }
}
