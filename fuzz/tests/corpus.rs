//! Every committed corpus is fed to its target.

use smolvm_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

/// The most that is committed.
const MAX_BYTES: u64 = 100 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Feeds one target its corpus.
fn feed(name: &str) {
    let (_, check) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let folder = corpus().join(name);
    let files = names_in(&folder);
    assert!(!files.is_empty(), "{name} has no corpus");
    for file in files {
        // Seen where the check fails.
        println!("{name}/{file}");
        check(&fs::read(folder.join(file)).unwrap());
    }
}

macro_rules! tests_of {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            feed(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test_and_a_program() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(tested.as_slice(), TARGETS.map(|(name, _)| name));
            let programs = TARGETS.map(|(name, _)| format!("{name}.rs"));
            assert_eq!(names_in(&corpus().with_file_name("fuzz_targets")), programs);
            assert_eq!(names_in(&corpus()), TARGETS.map(|(name, _)| name));
        }
    };
}

tests_of! {
    accounts agent_frames command_line connect_target cpio frames get_tree handshake host_frames manifest put_file
    put_tree requests
}

#[test]
fn every_target_takes_an_empty_input() {
    for (name, check) in TARGETS {
        println!("{name}");
        check(b"");
    }
}

#[test]
fn corpus_is_small() {
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(name, _)| {
            let folder = corpus().join(name);
            names_in(&folder)
                .into_iter()
                .map(move |file| folder.join(file))
        })
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}
