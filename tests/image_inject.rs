//! `smolctl image inject`: what of a tree is kept, what changes, and the same bytes from the same tree.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of refusals")]
mod tree;

use folder::{Folder, elf, set_mode};
use skip::skip;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::{Command, Output};
use tree::{BINARY_INIT, PYTHON_INIT, image_inject, tar_lines, write_tree};

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    output
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn tree_is_the_same_whatever_the_folder_umask_locale_order_and_owner() {
    let mut archives = Vec::new();
    let mut profile_mode = 0;
    for (umask, zone, locale, is_reversed) in [
        ("077", "UTC", "C", false),
        ("000", "Asia/Tokyo", "de_DE.UTF-8", true),
    ] {
        let folder = Folder::new();
        let tree = write_tree(&folder, "tree", is_reversed);
        if is_reversed && is_root() {
            let status = Command::new("chown")
                .args(["-hR", "1234:1235"])
                .arg(&tree)
                .status();
            assert!(status.unwrap().success());
            // Who changes the owner of a set-user-id program takes that from it.
            let profile = tree.join("root/.profile");
            set_mode(profile, 0o4711);
        }
        let profile = fs::metadata(tree.join("root/.profile")).unwrap();
        profile_mode = profile.mode() & 0o7777;
        let inject = image_inject(&folder, &tree, "out.tar");
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(inject.get_program())
            .args(inject.get_args())
            .env("TZ", zone)
            .env("LC_ALL", locale);
        let output = succeed(&mut shell);
        let path = folder.path("out.tar");
        assert_eq!(output.stdout, format!("{}\n", path.display()).into_bytes());
        assert!(told(&output).contains("agent 1.2.3 for x86_64"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        archives.push(fs::read(path).unwrap());
    }
    assert!(archives[0] == archives[1]);
    let lines = tar_lines(&archives[0]);
    let names: Vec<String> = lines
        .iter()
        .map(|line| line.split(" Regular").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "bin/ Directory 755 0:0 ",
            "bin/accounts",
            "bin/busybox",
            "bin/sh Symlink 777 0:0 busybox",
            "etc/ Directory 755 0:0 ",
            "etc/passwd Link 644 0:0 bin/accounts",
            "etc/shadow",
            "init",
            "root/ Directory 755 0:0 ",
            "root/.profile",
            "usr/ Directory 755 0:0 ",
            "usr/local/ Directory 755 0:0 ",
            "usr/local/bin/ Directory 755 0:0 ",
            "usr/local/bin/smolvm-guest-agent",
            "usr/share/ Directory 755 0:0 ",
            "usr/share/ä b",
        ]
    );
    assert!(lines.contains(&format!("root/.profile Regular {profile_mode:o} 0:0 ")));
    assert!(lines.contains(&"etc/shadow Regular 600 0:0 root:*\\n".to_owned()));
}

#[test]
fn every_form_of_a_tree_gives_every_form_of_output_alike() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    succeed(&mut image_inject(&folder, &tree, "a.tar"));
    let plain = fs::read(folder.path("a.tar")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    folder.write("b.gz", &packed.finish().unwrap());
    let mut packed = Vec::new();
    lzma_rs::xz_compress(&mut plain.as_slice(), &mut packed).unwrap();
    folder.write("c", &packed);
    succeed(&mut image_inject(&folder, &tree, "folder"));
    for (number, input) in ["a.tar", "b.gz", "c", "folder"].into_iter().enumerate() {
        let output = format!("o{number}.tar");
        succeed(&mut image_inject(&folder, &folder.path(input), &output));
        assert!(fs::read(folder.path(&output)).unwrap() == plain, "{input}");
    }
    for output in ["d.tar.gz", "e.tgz"] {
        succeed(&mut image_inject(&folder, &tree, output));
        let packed = fs::read(folder.path(output)).unwrap();
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(packed.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
        assert!(unpacked == plain);
        assert_eq!(packed[3..8], [0; 5], "a name or a time in the gzip header");
    }
}

#[test]
fn init_that_starts_python_is_changed_there_alone_and_once() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    let first = succeed(&mut image_inject(&folder, &tree, "one"));
    assert!(told(&first).contains("/init starts /usr/local/bin/smolvm-guest-agent where"));
    assert_eq!(
        fs::read_to_string(folder.path("one/init")).unwrap(),
        BINARY_INIT
    );
    assert_eq!(fs::read_to_string(tree.join("init")).unwrap(), PYTHON_INIT);
    let second = succeed(&mut image_inject(&folder, &folder.path("one"), "two"));
    assert!(told(&second).contains("starts the agent already"));
    assert_eq!(
        fs::read_to_string(folder.path("two/init")).unwrap(),
        BINARY_INIT
    );
    let replaced = || {
        let mut inject = image_inject(&folder, &folder.path("two"), "three");
        succeed(inject.arg("--replace-init"))
    };
    assert!(told(&replaced()).contains("/init is the agent's program now"));
    let target = fs::read_link(folder.path("three/init")).unwrap();
    assert_eq!(target.to_str(), Some("usr/local/bin/smolvm-guest-agent"));
    let again = succeed(&mut image_inject(&folder, &folder.path("three"), "four"));
    assert!(told(&again).contains("/init is the agent's program already"));
}

#[test]
fn other_inits_are_left_and_the_lines_to_add_are_told() {
    for (init, target, inittab, advice) in [
        (
            "sbin/init",
            "/lib/systemd/systemd",
            false,
            "WantedBy=multi-user.target",
        ),
        (
            "sbin/init",
            "../bin/busybox",
            true,
            "    ::respawn:/usr/local/bin/smolvm-guest-agent\n",
        ),
        ("sbin/init", "sysvinit", true, "smol:2345:respawn:"),
        (
            "sbin/init",
            "other",
            false,
            "have the tree's own init start",
        ),
        (
            "x",
            "nothing",
            false,
            "give the tree an init that starts the agent",
        ),
    ] {
        let folder = Folder::new();
        let tree = write_tree(&folder, "tree", false);
        fs::remove_file(tree.join("init")).unwrap();
        for program in ["lib/systemd/systemd", "sbin/sysvinit", "sbin/other"] {
            folder.write(&format!("tree/{program}"), &elf(62, 1, b""));
        }
        symlink(target, tree.join(init)).unwrap();
        if inittab {
            folder.write("tree/etc/inittab", b"# lines\n");
        }
        let output = succeed(&mut image_inject(&folder, &tree, "out"));
        assert!(told(&output).contains(advice), "{}", told(&output));
        assert!(told(&output).contains("; --replace-init puts ours there, or "));
        assert!(!folder.path("out/init").exists());
    }
}

#[test]
fn scripts_without_an_agent_or_in_another_shape_are_left_as_they_are() {
    for (init, advice) in [
        (
            "#!/bin/sh\nexec /usr/sbin/sshd -De\n",
            "starts no agent; add this line",
        ),
        (
            "#!/bin/sh\n[ -x /p ] && python3 /usr/local/bin/smolvm-guest-agent &\n",
            "in line 2 in a way that is not recognised",
        ),
    ] {
        let folder = Folder::new();
        let tree = write_tree(&folder, "tree", false);
        folder.write("tree/init", init.as_bytes());
        let unit = b"[Service]\nExecStart=/usr/bin/python3 /usr/local/bin/smolvm-guest-agent\n";
        folder.write("tree/etc/systemd/system/agent.service", unit);
        let output = succeed(&mut image_inject(&folder, &tree, "out"));
        // What is left to do is nothing that a program reads.
        let path = folder.path("out").display().to_string() + "\n";
        assert_eq!(output.stdout, path.into_bytes());
        let told = told(&output);
        assert!(told.contains(advice), "{told}");
        assert!(
            told.contains(
                "    /usr/local/bin/smolvm-guest-agent >/var/log/smolvm-agent.log 2>&1 &\n"
            ),
            "{told}"
        );
        assert!(told.contains("/etc/systemd/system/agent.service starts the agent with python3"));
        assert_eq!(fs::read_to_string(folder.path("out/init")).unwrap(), init);
    }
}

#[test]
fn directories_of_a_folder_have_their_modes_and_no_time_whatever_the_umask() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    let [etc, root, share] = [("etc", 0o1777), ("root", 0o2700), ("usr/share", 0o555)]
        .map(|(directory, mode)| set_mode(tree.join(directory), mode));
    let inject = image_inject(&folder, &tree, "out");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(inject.get_program())
        .args(inject.get_args());
    succeed(&mut shell);
    for (directory, mode) in [
        ("etc", etc),
        ("root", root),
        ("usr/share", share),
        ("bin", 0o755),
        (".", 0o755),
    ] {
        let metadata = fs::metadata(folder.path("out").join(directory)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{directory}");
        assert_eq!(metadata.mtime(), 0, "{directory}");
    }
}

#[test]
fn folder_as_root_keeps_owners_and_devices_and_comes_back_the_same() {
    if !is_root() {
        skip("only root can make devices and give files away");
        return;
    }
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    chown(tree.join("etc/shadow"), Some(0), Some(42)).unwrap();
    // The second number has more than eight bits in both parts.
    let devices = [
        (
            "console",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::makedev(5, 1),
        ),
        (
            "disk",
            rustix::fs::FileType::BlockDevice,
            rustix::fs::makedev(259, 70_000),
        ),
    ];
    for (name, kind, number) in devices {
        let path = tree.join(name);
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), number).unwrap();
    }
    succeed(&mut image_inject(&folder, &tree, "out"));
    let shadow = fs::metadata(folder.path("out/etc/shadow")).unwrap();
    assert_eq!(
        (shadow.gid(), shadow.mode() & 0o7777, shadow.mtime()),
        (42, 0o600, 0)
    );
    for (name, kind, number) in devices {
        let metadata = fs::metadata(folder.path("out").join(name)).unwrap();
        assert_eq!(metadata.rdev(), number, "{name}");
        assert_eq!(
            rustix::fs::FileType::from_raw_mode(metadata.mode()),
            kind,
            "{name}"
        );
    }
    let one = fs::metadata(folder.path("out/etc/passwd")).unwrap().ino();
    assert_eq!(
        fs::metadata(folder.path("out/bin/accounts")).unwrap().ino(),
        one
    );
    succeed(&mut image_inject(&folder, &tree, "a.tar"));
    succeed(&mut image_inject(&folder, &folder.path("out"), "b.tar"));
    assert!(fs::read(folder.path("a.tar")).unwrap() == fs::read(folder.path("b.tar")).unwrap());
}

#[test]
fn attributes_of_a_folders_files_go_into_the_archive() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(tree.join("bin/busybox"), "user.note", b"a\nb", flags).is_err() {
        skip("the temporary folder's file system has no user attributes");
        return;
    }
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let out = fs::read(folder.path("out.tar")).unwrap();
    let kept = b" SCHILY.xattr.user.note=a\nb\n";
    assert!(out.windows(kept.len()).any(|window| window == kept));
    succeed(&mut image_inject(&folder, &folder.path("out.tar"), "out"));
    let mut value = [0; 8];
    let path = folder.path("out/bin/busybox");
    let length = rustix::fs::getxattr(path, "user.note", value.as_mut_slice()).unwrap();
    assert_eq!(&value[..length], b"a\nb");
}

#[test]
fn agent_goes_where_links_lead_within_the_tree_and_never_outside() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    fs::remove_dir_all(tree.join("usr/local")).unwrap();
    symlink("/../../opt/local", tree.join("usr/local")).unwrap();
    succeed(&mut image_inject(&folder, &tree, "out"));
    let agent = fs::read(folder.path("out/opt/local/bin/smolvm-guest-agent")).unwrap();
    assert_eq!(agent, fs::read(folder.path("agent")).unwrap());
    assert!(!folder.path("opt").exists());
}

#[test]
fn architecture_comes_from_the_tree_unless_it_is_said() {
    let folder = Folder::new();
    let tree = write_tree(&folder, "tree", false);
    folder.write("agent", &elf(183, 1, b"smolvm-guest-agent 1.2.3\n"));
    let mut inject = image_inject(&folder, &tree, "out");
    let told = told(&succeed(inject.args(["--arch", "aarch64"])));
    assert!(
        told.contains("the tree's /bin/sh is for x86_64, and the agent is for aarch64, as asked")
    );
}
