//! `smolctl image build`: the same bytes from the same inputs, and one sentence for each bad one.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;

use folder::{Folder, elf, kernel};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Runs a command; its exit code and what it said on standard error.
fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

#[test]
fn image_is_the_same_whatever_the_folder_umask_time_zone_and_locale() {
    let mut images = Vec::new();
    for (umask, zone, locale) in [("077", "UTC", "C"), ("000", "Asia/Tokyo", "de_DE.UTF-8")] {
        let folder = Folder::new();
        folder.write_image_inputs();
        let built = folder.image_build(&folder.path("out"));
        let status = Command::new("/bin/sh")
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(built.get_program())
            .args(built.get_args())
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .status()
            .unwrap();
        assert!(status.success());
        let files: Vec<_> = folder
            .names("out")
            .into_iter()
            .map(|name| {
                let path = folder.path("out").join(&name);
                let mode = path.metadata().unwrap().permissions().mode();
                (name, mode, fs::read(path).unwrap())
            })
            .collect();
        let mode = folder.path("out").metadata().unwrap().permissions().mode();
        images.push((mode, files));
    }
    let names: Vec<&str> = images[0].1.iter().map(|file| file.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "initramfs.cpio.gz",
            "initramfs.txt",
            "manifest.json",
            "vmlinuz"
        ]
    );
    assert!(images[0] == images[1]);
}

#[test]
fn manifest_lists_modules_in_load_order() {
    let folder = Folder::new();
    folder.write_image_inputs();
    assert_eq!(outcome(&mut folder.image_build(&folder.path("out"))).0, 0);
    let json = fs::read(folder.path("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        manifest["modules"],
        serde_json::json!(["virtio_pci", "vsock", "vmw_vsock_virtio_transport"])
    );
    assert_eq!(manifest["kernel_release"], "6.1.0-test");
    assert_eq!(manifest["protocol"], 1);
    assert_eq!(manifest["agent_version"], "1.2.3");
}

#[test]
fn older_image_is_replaced_and_nothing_else_is() {
    let folder = Folder::new();
    folder.write_image_inputs();
    for _ in 0..2 {
        assert_eq!(outcome(&mut folder.image_build(&folder.path("o/out"))).0, 0);
    }
    assert_eq!(folder.names("o"), ["out"]);
    folder.write("other/precious", b"x");
    folder.write("file", b"x");
    for output in ["other", "file", "kernel"] {
        let (code, sentence) = outcome(&mut folder.image_build(&folder.path(output)));
        assert_eq!(code, 1);
        assert!(sentence.contains("is no image of ours"), "{sentence}");
    }
    assert_eq!(folder.names("other"), ["precious"]);
}

#[test]
fn older_image_with_something_else_in_it_is_left_alone() {
    for stranger in ["notes", "s/deep"] {
        let folder = Folder::new();
        folder.write_image_inputs();
        assert_eq!(outcome(&mut folder.image_build(&folder.path("o/out"))).0, 0);
        folder.write(&format!("o/out/{stranger}"), b"x");
        let before = folder.names("o/out");
        let (code, sentence) = outcome(&mut folder.image_build(&folder.path("o/out")));
        assert_eq!(code, 1);
        assert!(sentence.contains("beside an older image"), "{sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
        assert_eq!(folder.names("o/out"), before);
        assert_eq!(folder.names("o"), ["out"]);
    }
}

#[test]
fn pipes_and_devices_are_refused_as_inputs_and_never_waited_for() {
    for input in ["kernel", "busybox", "agent"] {
        let folder = Folder::new();
        folder.write_image_inputs();
        let fifo = folder.path("fifo");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
        for bad in [fifo.as_path(), Path::new("/dev/zero")] {
            fs::remove_file(folder.path(input)).unwrap();
            symlink(bad, folder.path(input)).unwrap();
            let (code, sentence) = outcome(&mut folder.image_build(&folder.path("o/out")));
            assert_eq!(code, 1);
            assert!(sentence.contains("it is no regular file"), "{sentence}");
            assert!(folder.names("o").is_empty());
        }
    }
}

#[test]
fn bad_input_costs_one_sentence_and_leaves_nothing() {
    let truncated = kernel()[..2000].to_vec();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        (
            "agent",
            elf(62, 1, b"smolvm-guest-agent [options]\n"),
            "is no guest agent: it tells no version; scripts/build-guest-agent.sh x86_64",
        ),
        (
            "agent",
            elf(183, 1, b""),
            "is for aarch64, not for x86_64; scripts/build-guest-agent.sh x86_64",
        ),
        (
            "agent",
            elf(62, 3, b"/lib64/ld.so\0"),
            "is not static (it needs /lib64/ld.so); scripts/build-",
        ),
        (
            "agent",
            b"#!/usr/bin/python3\n".to_vec(),
            "is no ELF file; scripts/build-guest-agent.sh",
        ),
        (
            "agent",
            elf(62, 1, b"")[..100].to_vec(),
            "is a truncated ELF file",
        ),
        (
            "busybox",
            elf(62, 3, b"/lib/ld.so\0"),
            "is not static (it needs /lib/ld.so); scripts/fetch-busybox.sh",
        ),
        ("busybox", elf(40, 1, b""), "is not for x86_64"),
        ("kernel", b"\x7fELF".to_vec(), "is no Linux kernel image"),
        (
            "kernel",
            truncated,
            "is a truncated Linux kernel image; scripts/fetch-kernel.sh x86_64 6.12",
        ),
        ("modules/kernel/vsock.ko", b"x".to_vec(), "is no ELF file"),
        (
            "modules/kernel/vsock.ko",
            elf(62, 1, b"vermagic=5.10 SMP\0"),
            "is for the kernel 5.10, and the kernel is 6.1.0-test",
        ),
        (
            "modules/kernel/vsock.ko",
            elf(183, 1, b""),
            "is not for x86_64",
        ),
    ];
    for (input, bytes, wanted) in cases {
        let folder = Folder::new();
        folder.write_image_inputs();
        folder.write(input, &bytes);
        let (code, sentence) = outcome(&mut folder.image_build(&folder.path("o/out")));
        assert_eq!(code, 1, "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
        assert!(folder.names("o").is_empty());
    }
}

#[test]
fn image_of_another_layout_is_no_minimal_one() {
    let folder = Folder::new();
    folder.write_image_inputs();
    let layout = "dir /m 0755\nmodules /m /m/list\ninput /init 0755 agent\n";
    let layout = folder.write("minimal/layout", layout.as_bytes());
    let mut built = folder.image_build(&folder.path("out"));
    assert_eq!(outcome(built.arg("--layout").arg(layout)).0, 0);
    let json = fs::read(folder.path("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(manifest["variant"], "custom");
}

#[test]
fn layout_with_something_where_the_modules_go_is_refused() {
    for taken in ["/m/list", "/m/vsock.ko"] {
        let folder = Folder::new();
        folder.write_image_inputs();
        let layout =
            format!("dir /m 0755\nmodules /m /m/list\nmodule required vsock\nlink {taken} x\n");
        let layout = folder.write("layout", layout.as_bytes());
        let mut built = folder.image_build(&folder.path("o/out"));
        let (code, sentence) = outcome(built.arg("--layout").arg(layout));
        assert_eq!(code, 1, "{sentence}");
        let wanted = format!("{taken} is needed for the modules");
        assert!(sentence.contains(&wanted), "{sentence}");
        assert!(folder.names("o").is_empty());
    }
}

#[test]
fn next_build_removes_what_a_killed_one_left() {
    let folder = Folder::new();
    folder.write_image_inputs();
    folder.write("o/.smolvm-image-aB3dE6/vmlinuz", b"half");
    assert_eq!(outcome(&mut folder.image_build(&folder.path("o/out"))).0, 0);
    assert_eq!(folder.names("o"), ["out"]);
}

#[test]
fn kernel_without_vsock_is_refused() {
    let folder = Folder::new();
    folder.write_image_inputs();
    fs::remove_file(folder.path("modules/kernel/vmw_vsock_virtio_transport.ko")).unwrap();
    let (code, sentence) = outcome(&mut folder.image_build(&folder.path("out")));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("has no vmw_vsock_virtio_transport, neither as a module nor built in"),
        "{sentence}"
    );
    folder.write(
        "modules/modules.builtin",
        b"kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko\nkernel/drivers/virtio/virtio.ko\n",
    );
    assert_eq!(outcome(&mut folder.image_build(&folder.path("out"))).0, 0);
}

#[test]
fn folder_that_holds_no_modules_is_refused_as_such() {
    let folder = Folder::new();
    folder.write_image_inputs();
    folder.write("etc/kernel/postinst.d/x", b"#!/bin/sh\n");
    let mut build = folder.image_build(&folder.path("o/out"));
    let arguments: Vec<_> = build
        .get_args()
        .map(|argument| argument.to_owned())
        .collect();
    let modules = folder.path("modules");
    let arguments = arguments.iter().map(|argument| match *argument == modules {
        true => folder.path("etc").into_os_string(),
        false => argument.clone(),
    });
    build = folder.smolctl(&arguments.collect::<Vec<_>>());
    let (code, sentence) = outcome(&mut build);
    assert_eq!(code, 1);
    assert!(
        sentence.contains(
            "etc has neither modules in it nor a list of built-in ones; name the lib/modules/"
        ),
        "{sentence}"
    );
    assert!(folder.names("o").is_empty());
}

#[test]
fn wrong_calls_end_with_2() {
    let folder = Folder::new();
    let (code, sentence) = outcome(&mut folder.smolctl(&["image", "build", "--arch", "arm"]));
    assert_eq!(code, 2);
    assert!(
        sentence.contains("unknown architecture 'arm': use x86_64 or aarch64"),
        "{sentence}"
    );
    assert_eq!(outcome(&mut folder.smolctl(&["image", "build"])).0, 2);
}

/// A limit on the size of files is met as a full disk is: by an error at the write.
#[test]
fn disk_that_takes_no_more_is_one_sentence_and_leaves_nothing() {
    let folder = Folder::new();
    folder.write_image_inputs();
    let built = folder.image_build(&folder.path("o/out"));
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"])
        .arg(built.get_program())
        .args(built.get_args());
    let (code, sentence) = outcome(&mut limited);
    assert_eq!(code, 1, "{sentence}");
    assert!(sentence.contains("cannot write"), "{sentence}");
    assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    assert!(folder.names("o").is_empty());
}
