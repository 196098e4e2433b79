//! `smolctl image inject`: what of a tree is kept, what changes, and the same bytes from the same tree.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "shared with the tests of other verbs")]
mod folder;
#[path = "support/tree.rs"]
#[allow(dead_code, reason = "shared with the tests of refusals")]
mod tree;

use folder::{Folder, elf, set_mode};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::{Command, Output};
use tar::EntryType;
use tree::{
    BINARY_INIT, PYTHON_INIT, image_inject, tar_archive, tar_blocks, tar_lines, write_tree,
};

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
fn archive_keeps_owners_links_devices_long_names_and_attributes() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(250));
    let records = |records: &[(&str, &[u8])]| {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| *length == rest + length.to_string().len());
            bytes.extend(format!("{} {key}=", length.unwrap()).bytes());
            bytes.extend(*value);
            bytes.push(b'\n');
        }
        bytes
    };
    let capability = records(&[
        (
            "SCHILY.xattr.security.capability",
            b"\x01\x00\x00\x02\n\x00\n",
        ),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("path", long.as_bytes()),
        ("uid", b"3000000"),
    ]);
    let archive = tar_archive(&[
        ("./", EntryType::Directory, b""),
        ("./lib", EntryType::Symlink, b"usr/lib"),
        ("lib/library", EntryType::Regular, b"in usr"),
        ("/bin/sh", EntryType::Regular, &busybox),
        ("bin/old", EntryType::Regular, b"first"),
        ("bin/old", EntryType::Regular, b"second"),
        ("bin/a", EntryType::Link, b"./bin/sh"),
        ("dev/console", EntryType::Char, b""),
        ("dev/disk", EntryType::Block, b""),
        ("run/pipe", EntryType::Fifo, b""),
        ("x", EntryType::XHeader, &capability),
        ("short", EntryType::Regular, b"long"),
    ]);
    let tree = folder.write("tree.tar", &archive);
    let output = succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let told = told(&output);
    assert!(
        told.contains("left out: the attribute security.selinux"),
        "{told}"
    );
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    let has = |line: &str| {
        assert!(
            lines.iter().any(|other| other == line),
            "{line}: {lines:#?}"
        )
    };
    has("bin/ Directory 755 0:0 ");
    has("bin/old Regular 755 7:8 second");
    has("bin/sh Link 755 7:8 bin/a");
    has("dev/console Char 755 7:8 5:1");
    has("dev/disk Block 755 7:8 5:1");
    has("lib Symlink 777 7:8 usr/lib");
    has("run/pipe Fifo 755 7:8 ");
    has("usr/lib/library Regular 755 7:8 in usr");
    has(&format!("{long} Regular 755 3000000:8 long"));
    let kept = b"SCHILY.xattr.security.capability=\x01\x00\x00\x02\n\x00\n\n";
    assert!(out.windows(kept.len()).any(|window| window == kept));
    succeed(&mut image_inject(
        &folder,
        &folder.path("out.tar"),
        "again.tar",
    ));
    assert!(fs::read(folder.path("again.tar")).unwrap() == out);
}

#[test]
fn global_header_holds_for_all_members_after_it_unless_they_say_otherwise() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let global = b"10 uid=77\n32 SCHILY.xattr.user.a%3Db%25=1\n";
    let archive = tar_archive(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("g", EntryType::XGlobalHeader, global),
        ("a", EntryType::Regular, b"x"),
        ("x", EntryType::XHeader, b"8 uid=9\n"),
        ("b", EntryType::Regular, b"x"),
        ("x", EntryType::XHeader, b"7 uid=\n"),
        ("c", EntryType::Regular, b"x"),
    ]);
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    for line in [
        "bin/sh Regular 755 7:8 ",
        "a Regular 755 77:8 x",
        "b Regular 755 9:8 x",
        "c Regular 755 7:8 x",
    ] {
        assert!(
            lines.iter().any(|other| other.starts_with(line)),
            "{line}: {lines:#?}"
        );
    }
    let kept = b"32 SCHILY.xattr.user.a%3Db%25=1\n";
    let count = out
        .windows(kept.len())
        .filter(|window| window == kept)
        .count();
    assert_eq!(count, 3);
    succeed(&mut image_inject(
        &folder,
        &folder.path("out.tar"),
        "again.tar",
    ));
    assert!(fs::read(folder.path("again.tar")).unwrap() == out);
}

#[test]
fn names_targets_and_sizes_of_extension_headers_count_and_are_given_back() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let [long, target, other] = ["l", "t", "o"].map(|letter| letter.repeat(120));
    let linkpath = format!("134 linkpath={other}\n");
    let mut archive = tar_blocks(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("L", EntryType::GNULongName, format!("{long}\0").as_bytes()),
        ("cut", EntryType::Regular, b"x"),
        (
            "K",
            EntryType::GNULongLink,
            format!("{target}\0").as_bytes(),
        ),
        ("gnu", EntryType::Symlink, b"cut"),
        ("x", EntryType::XHeader, linkpath.as_bytes()),
        ("pax", EntryType::Symlink, b"cut"),
        ("x", EntryType::XHeader, b"9 size=3\n"),
        ("sized", EntryType::Regular, b"abc"),
    ]);
    let at = archive.len() - 1024;
    let mut header = tar::Header::from_byte_slice(&archive[at..at + 512]).clone();
    header.set_size(0);
    header.set_cksum();
    archive[at..at + 512].copy_from_slice(header.as_bytes());
    archive.extend([0; 1024]);
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let out = fs::read(folder.path("out.tar")).unwrap();
    let lines = tar_lines(&out);
    for line in [
        format!("{long} Regular 755 7:8 x"),
        format!("gnu Symlink 777 7:8 {target}"),
        format!("pax Symlink 777 7:8 {other}"),
        "sized Regular 755 7:8 abc".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:#?}");
    }
    succeed(&mut image_inject(
        &folder,
        &folder.path("out.tar"),
        "again.tar",
    ));
    assert!(fs::read(folder.path("again.tar")).unwrap() == out);
}

#[test]
fn headers_of_older_archives_mean_what_they_meant() {
    let folder = Folder::new();
    write_tree(&folder, "unused", false);
    let busybox = elf(62, 1, b"busybox");
    let mut archive = tar_blocks(&[
        ("bin/sh", EntryType::Regular, &busybox),
        ("old/", EntryType::Regular, b""),
        ("linked", EntryType::Link, b"bin/sh"),
    ]);
    // GNU tar leaves a file's size in the header of its other name, without the bytes.
    let at = archive.len() - 512;
    let mut header = tar::Header::from_byte_slice(&archive[at..]).clone();
    header.set_size(busybox.len() as u64);
    header.set_cksum();
    archive[at..].copy_from_slice(header.as_bytes());
    archive.extend(tar_archive(&[("after", EntryType::Regular, b"x")]));
    let tree = folder.write("tree.tar", &archive);
    succeed(&mut image_inject(&folder, &tree, "out.tar"));
    let lines = tar_lines(&fs::read(folder.path("out.tar")).unwrap());
    for line in [
        "old/ Directory 755 7:8 ",
        "linked Link 755 7:8 bin/sh",
        "after Regular 755 7:8 x",
    ] {
        assert!(
            lines.iter().any(|other| other == line),
            "{line}: {lines:#?}"
        );
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
        println!("skipped, because only root can make devices and give files away");
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
        println!("skipped, because the temporary folder's file system has no user attributes");
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
