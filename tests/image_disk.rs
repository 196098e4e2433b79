//! `smolctl image build --variant ssh`: a root's disk that is a function of its inputs.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
mod folder;

use folder::{Folder, elf, set_mode};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with inputs of an ssh image, the kernel's disk driver and unpacked packages among them.
fn folder_with_inputs() -> Folder {
    let folder = Folder::new();
    folder.write_image_inputs();
    for module in ["virtio_blk", "ext4"] {
        let info = format!("depends=\0vermagic=6.1.0-test SMP\0name={module}\0");
        folder.write(
            &format!("modules/kernel/{module}.ko"),
            &elf(62, 1, info.as_bytes()),
        );
    }
    for program in [
        "usr/sbin/dropbear",
        "usr/bin/dropbearkey",
        "usr/lib/openssh/sftp-server",
    ] {
        let content = elf(62, 1, program.as_bytes());
        folder.write(&format!("packages/{program}"), &content);
    }
    folder
}

fn build(folder: &Folder, output: &Path) -> Command {
    let mut command = folder.image_build(output);
    command.args(["--variant", "ssh", "--packages"]);
    command.arg(folder.path("packages"));
    command
}

/// Runs a command; its exit code and what it said on standard error.
fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

/// What one of e2fsprogs' programs says of a disk.
fn asked(program: &str, arguments: &[&str], disk: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .arg(disk)
        .env(
            "PATH",
            format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()),
        )
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), told)
}

/// A disk's identity (`s_uuid` of its superblock).
fn uuid_of(disk: &Path) -> [u8; 16] {
    let mut uuid = [0; 16];
    let disk = fs::File::open(disk).unwrap();
    disk.read_exact_at(&mut uuid, 1024 + 0x68).unwrap();
    uuid
}

#[test]
fn disk_is_the_same_whatever_the_folder_umask_zone_locale_time_and_settings_of_the_tools() {
    let mut images = Vec::new();
    for (umask, zone, time) in [("077", "UTC", "5"), ("000", "Asia/Tokyo", "1700000000")] {
        let folder = folder_with_inputs();
        let settings = "[defaults]\n\tblocksize = 1024\n\tinode_size = 128\n[fs_types]\n\
                        \text4 = {\n\t\tfeatures = ^extent,casefold\n\t}\n";
        let settings = folder.write("mke2fs.conf", settings.as_bytes());
        let built = build(&folder, &folder.path(&format!("deep/{umask}/out")));
        let status = Command::new("/bin/sh")
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(built.get_program())
            .args(built.get_args())
            .env("TZ", zone)
            .env("LC_ALL", "de_DE.UTF-8")
            .env("E2FSPROGS_FAKE_TIME", time)
            .env("SOURCE_DATE_EPOCH", time)
            .env("MKE2FS_CONFIG", settings)
            .status()
            .unwrap();
        assert!(status.success());
        let output = format!("deep/{umask}/out");
        let files: Vec<(String, u32, Vec<u8>)> = folder
            .names(&output)
            .into_iter()
            .map(|name| {
                let path = folder.path(&output).join(&name);
                let mode = path.metadata().unwrap().permissions().mode();
                (name, mode, fs::read(path).unwrap())
            })
            .collect();
        images.push(files);
    }
    let names: Vec<&str> = images[0].iter().map(|file| file.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "initramfs.cpio.gz",
            "initramfs.txt",
            "manifest.json",
            "root.ext4",
            "root.txt",
            "vmlinuz"
        ]
    );
    for (one, other) in images[0].iter().zip(&images[1]) {
        assert!(one == other, "{} differs", one.0);
    }
}

#[test]
fn disk_is_clean_and_holds_what_the_inventory_says() {
    let folder = folder_with_inputs();
    assert_eq!(outcome(&mut build(&folder, &folder.path("out"))).0, 0);
    let disk = folder.path("out/root.ext4");
    let (is_clean, told) = asked("e2fsck", &["-fn"], &disk);
    assert!(is_clean, "{told}");
    let inventory = fs::read_to_string(folder.path("out/root.txt")).unwrap();
    for line in inventory.lines() {
        let (path, description) = line.split_once('\t').unwrap();
        let (_, told) = asked("debugfs", &["-R", &format!("stat \"{path}\"")], &disk);
        let mode = description
            .split(" ")
            .find_map(|word| word.strip_prefix("mode="))
            .unwrap();
        let told: Vec<&str> = told.split_whitespace().collect();
        let value = |field: &str| told[told.iter().position(|word| *word == field).unwrap() + 1];
        let number = |mode| u32::from_str_radix(mode, 8).unwrap();
        assert_eq!(number(value("Mode:")), number(mode), "{path}");
        assert_eq!((value("User:"), value("Group:")), ("0", "0"), "{path}");
        for time in ["ctime:", "atime:", "mtime:", "crtime:"] {
            assert_eq!(value(time), "0x00000001:00000000", "{path} {time}");
        }
    }
    let content = asked("debugfs", &["-R", "cat /usr/local/sbin/dropbear"], &disk).1;
    assert!(content.contains("usr/sbin/dropbear"));
}

#[test]
fn manifest_names_disk_tool_and_modules_and_the_command_line_leads_to_the_disk() {
    let folder = folder_with_inputs();
    assert_eq!(outcome(&mut build(&folder, &folder.path("out"))).0, 0);
    let json = fs::read(folder.path("out/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(manifest["variant"], "ssh");
    assert_eq!(manifest["root_disk"], "root.ext4");
    assert!(
        manifest["tools"]["mke2fs"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
    let cmdline = manifest["cmdline"].as_str().unwrap();
    assert!(
        cmdline.ends_with(" root=/dev/vda rw init=/init"),
        "{cmdline}"
    );
    let modules = manifest["modules"].as_array().unwrap();
    assert!(modules.contains(&"virtio_blk".into()));
    let size = fs::metadata(folder.path("out/root.ext4")).unwrap().len();
    assert_eq!(size, 128 << 20);
}

#[test]
fn kernel_with_everything_built_in_needs_no_initramfs() {
    let folder = folder_with_inputs();
    let built_in = [
        "virtio_pci",
        "virtio_blk",
        "ext4",
        "vmw_vsock_virtio_transport",
    ]
    .map(|name| format!("kernel/{name}.ko\n"))
    .concat();
    folder.write("modules/modules.builtin", built_in.as_bytes());
    assert_eq!(outcome(&mut build(&folder, &folder.path("out"))).0, 0);
    assert_eq!(
        folder.names("out"),
        ["manifest.json", "root.ext4", "root.txt", "vmlinuz"]
    );
}

#[test]
fn files_that_do_not_fit_are_one_sentence_and_leave_nothing() {
    let folder = folder_with_inputs();
    for (padding, size) in [(17 << 20, "16"), (12 << 20, "16")] {
        let mut program = elf(62, 1, b"dropbear");
        program.resize(padding, 7);
        folder.write("packages/usr/sbin/dropbear", &program);
        let mut command = build(&folder, &folder.path("o/out"));
        let (code, sentence) = outcome(command.args(["--disk-size", size]));
        assert_eq!(code, 1, "{sentence}");
        assert!(
            sentence.contains("do not fit on a disk of 16 MiB"),
            "{sentence}"
        );
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
        assert!(folder.names("o").is_empty());
    }
}

#[test]
fn layout_with_a_tree_makes_an_image_with_it_and_refuses_one_that_is_not_there() {
    let folder = folder_with_inputs();
    folder.write("packages/tree/etc/motd", b"mine");
    folder.write("packages/tree/etc/hosts", b"mine, too");
    folder.write("layout", b"include ssh\ntree /tree\n");
    let build = || {
        let mut command = folder.image_build(&folder.path("out"));
        command.arg("--layout").arg(folder.path("layout"));
        command.arg("--packages").arg(folder.path("packages"));
        outcome(&mut command)
    };
    let (code, said) = build();
    assert_eq!(code, 0, "{said}");
    let listed = fs::read_to_string(folder.path("out/root.txt")).unwrap();
    let named = |path: &str| listed.lines().filter(|line| line.contains(path)).count();
    assert_eq!((named("/etc/motd"), named("/etc/hosts")), (1, 1));

    folder.write("layout", b"include ssh\ntree /none\n");
    let (code, said) = build();
    assert_eq!(code, 1);
    assert!(said.contains("has no /none"), "{said}");
    folder.write("layout", b"include minimal\ntree /tree\n");
    let mut command = folder.image_build(&folder.path("out"));
    command.arg("--layout").arg(folder.path("layout"));
    let (code, said) = outcome(&mut command);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--packages"), "{said}");
}

#[test]
fn missing_packages_and_sizes_without_a_disk_are_told() {
    let folder = folder_with_inputs();
    let mut without = folder.image_build(&folder.path("o/out"));
    let (code, sentence) = outcome(without.args(["--variant", "ssh"]));
    assert_eq!(code, 2);
    assert!(sentence.contains("--packages"), "{sentence}");
    fs::remove_file(folder.path("packages/usr/bin/dropbearkey")).unwrap();
    let (code, sentence) = outcome(&mut build(&folder, &folder.path("o/out")));
    assert_eq!(code, 1);
    assert!(
        sentence
            .contains("packages has no /usr/bin/dropbearkey; scripts/fetch-ssh-packages.sh x86_64"),
        "{sentence}"
    );
    for (option, value, wanted) in [
        (
            "--disk-size",
            "64",
            "an image of the minimal layout has no disk",
        ),
        (
            "--disk-size",
            "1",
            "an image of the minimal layout has no disk",
        ),
        (
            "--packages",
            "packages",
            "the minimal layout has no programs of packages",
        ),
    ] {
        let mut minimal = folder.image_build(&folder.path("o/out"));
        let (code, sentence) = outcome(minimal.args([option, value]));
        assert_eq!(code, 2, "{sentence}");
        assert!(sentence.contains(wanted), "{sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    }
    for size in ["15", "65537"] {
        let mut ssh = build(&folder, &folder.path("o/out"));
        let (code, sentence) = outcome(ssh.args(["--disk-size", size]));
        assert_eq!(code, 2, "{sentence}");
        let wanted = format!("a disk has 16 to 65536 MiB, not {size}");
        assert!(sentence.contains(&wanted), "{sentence}");
    }
    assert!(folder.names("o").is_empty());
}

#[test]
fn tool_that_fails_is_told_with_its_first_line_and_nothing_is_left() {
    let folder = folder_with_inputs();
    let script = |name: &str, text: &str| -> PathBuf {
        let path = folder.write(&format!("bin/{name}"), text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    script(
        "mke2fs",
        "#!/bin/sh\n[ \"$1\" = -V ] && { echo 'mke2fs 1.47.9 (today)' >&2; exit; }\n\
         echo 'no more blocks today' >&2; exit 1\n",
    );
    let (code, sentence) = outcome(&mut build(&folder, &folder.path("o/out")));
    assert_eq!(code, 1);
    assert!(
        sentence.contains("mke2fs could not make the root's disk: no more blocks today"),
        "{sentence}"
    );
    assert!(folder.names("o").is_empty());
}

/// A limit on the size of files is met as a full disk is: by an error at the write.
#[test]
fn disk_that_takes_no_more_is_one_sentence_and_leaves_nothing() {
    let folder = folder_with_inputs();
    let built = build(&folder, &folder.path("o/out"));
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "sh"])
        .arg(built.get_program())
        .args(built.get_args());
    let (code, sentence) = outcome(&mut limited);
    assert_eq!(code, 1, "{sentence}");
    assert!(
        sentence.contains("could not make the root's disk"),
        "{sentence}"
    );
    assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    assert!(folder.names("o").is_empty());
}

#[test]
fn injected_tree_becomes_a_clean_disk_with_its_links_names_modes_and_attributes() {
    let folder = folder_with_inputs();
    let busybox = folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
    // More than a block of a directory holds.
    for number in 0..40 {
        let name = format!("tree/bin/{}{number}", "n".repeat(200));
        fs::hard_link(&busybox, folder.path(&name)).unwrap();
    }
    let name = "tree/a b/it\"s c/\u{fc}n";
    let odd = folder.write(name, b"odd");
    let mode = set_mode(&odd, 0o4711);
    let note = b"two \"words\"\n";
    let has_attributes =
        rustix::fs::setxattr(&odd, "user.note", note, rustix::fs::XattrFlags::empty()).is_ok();
    let mut disks = Vec::new();
    for output in ["one.ext4", "two/other.ext4"] {
        let mut inject = folder.smolctl(&["image", "inject", "--root", "tree", "--agent", "agent"]);
        let (code, told) = outcome(inject.args(["-o", output]));
        assert_eq!(code, 0, "{told}");
        disks.push(folder.path(output));
    }
    assert!(fs::read(&disks[0]).unwrap() == fs::read(&disks[1]).unwrap());
    folder.write("tree/one more", b"");
    let mut inject = folder.smolctl(&["image", "inject", "--root", "tree", "--agent", "agent"]);
    assert_eq!(outcome(inject.args(["-o", "more.ext4"])).0, 0);
    let disk = &disks[0];
    let (uuid, other) = (uuid_of(disk), uuid_of(&folder.path("more.ext4")));
    assert_eq!((uuid[6] >> 4, other[6] >> 4), (8, 8));
    assert_ne!(uuid, other, "it follows from the content");
    let (is_clean, told) = asked("e2fsck", &["-fn"], disk);
    assert!(is_clean, "{told}");
    let inside = "/a b/it\"\"s c/\u{fc}n";
    let told = asked("debugfs", &["-R", &format!("stat \"{inside}\"")], disk).1;
    assert!(told.contains(&format!("Mode:  {mode:05o}")), "{told}");
    assert_eq!(
        asked("debugfs", &["-R", &format!("cat \"{inside}\"")], disk).1,
        "odd"
    );
    if has_attributes {
        let told = asked(
            "debugfs",
            &["-R", &format!("ea_get \"{inside}\" user.note")],
            disk,
        )
        .1;
        assert!(told.contains("two \\\"words\\\""), "{told}");
    }
    let told = asked("debugfs", &["-R", "stat /bin/busybox"], disk).1;
    assert!(told.contains("Links: 41"), "{told}");
}

#[test]
fn disk_is_the_same_whether_the_holes_of_a_file_are_stored_or_not() {
    let folder = folder_with_inputs();
    let mut disks = Vec::new();
    for name in ["stored", "left out"] {
        folder.write(&format!("{name}/bin/busybox"), &elf(62, 1, b"busybox"));
        let path = folder.path(name).join("file");
        let mut file = fs::File::create(path).unwrap();
        let (begin, hole, end) = (vec![7; 4096], vec![0; 1 << 20], [8; 100]);
        match name {
            "stored" => file.write_all(&[&begin, &hole, &end[..]].concat()).unwrap(),
            _ => {
                file.write_all_at(&begin, 0).unwrap();
                file.write_all_at(&end, 4096 + (1 << 20)).unwrap();
            }
        }
        let output = format!("{name}.ext4");
        let mut inject = folder.smolctl(&["image", "inject", "--root", name, "--agent", "agent"]);
        let (code, told) = outcome(inject.args(["-o", &output, "--disk-size", "16"]));
        assert_eq!(code, 0, "{told}");
        disks.push(fs::read(folder.path(&output)).unwrap());
    }
    assert!(disks[0] == disks[1]);
}

#[test]
fn size_of_a_disk_is_refused_out_of_range_and_for_an_output_that_is_none() {
    let folder = folder_with_inputs();
    folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
    for (output, size, wanted) in [
        ("o/out.tar", "64", "let it end in .ext4"),
        ("o/small.tar", "10", "let it end in .ext4"),
        ("o/small.ext4", "10", "a disk has 16 to 65536 MiB, not 10"),
    ] {
        let mut inject = folder.smolctl(&["image", "inject", "--root", "tree", "--agent", "agent"]);
        let (code, told) = outcome(inject.args(["-o", output, "--disk-size", size]));
        assert_eq!(code, 2);
        assert!(told.contains(wanted), "{told}");
        assert!(folder.names("o").is_empty());
    }
}

#[test]
fn tree_with_lost_and_found_long_links_and_a_line_break_in_its_output_becomes_a_disk() {
    let folder = folder_with_inputs();
    folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
    fs::create_dir(folder.path("tree/lost+found")).unwrap();
    fs::set_permissions(
        folder.path("tree/lost+found"),
        fs::Permissions::from_mode(0o750),
    )
    .unwrap();
    let target = "t".repeat(2000);
    std::os::unix::fs::symlink(&target, folder.path("tree/long")).unwrap();
    let mut inject = folder.smolctl(&["image", "inject", "--root", "tree", "--agent", "agent"]);
    let (code, told) = outcome(inject.args(["-o", "a\nb/out.ext4"]));
    assert_eq!(code, 0, "{told}");
    let disk = folder.path("a\nb/out.ext4");
    let (is_clean, told) = asked("e2fsck", &["-fn"], &disk);
    assert!(is_clean, "{told}");
    let told = asked("debugfs", &["-R", "stat /lost+found"], &disk).1;
    assert!(told.contains("Mode:  0750"), "{told}");
    let told = asked("debugfs", &["-R", "stat /long"], &disk).1;
    assert!(told.contains("Size: 2000"), "{told}");
}

#[test]
fn names_that_debugfs_cannot_be_told_are_refused_and_never_taken_for_commands() {
    for (name, target, word) in [
        (
            "quotes",
            "\"".repeat(4000),
            "longer than debugfs can be told",
        ),
        ("line\nbreak", "t".to_owned(), "line break"),
        ("lost+found", "t".to_owned(), "nothing else can stand there"),
    ] {
        let folder = folder_with_inputs();
        folder.write("tree/bin/busybox", &elf(62, 1, b"busybox"));
        std::os::unix::fs::symlink(&target, folder.path("tree").join(name)).unwrap();
        let mut inject = folder.smolctl(&["image", "inject", "--root", "tree", "--agent", "agent"]);
        let (code, told) = outcome(inject.args(["-o", "o/out.ext4"]));
        assert_eq!(code, 1, "{told}");
        assert!(told.contains(word), "{told}");
        assert!(folder.names("o").is_empty());
    }
}
