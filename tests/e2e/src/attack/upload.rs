//! Attacks on uploads into a folder that is the attacker's own.

use super::calls::Watch;
use super::{LIMIT, open};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How the agent's temporary names begin.
const PREFIX: &str = ".smolvm-put-";

/// What an attacker writes.
pub(crate) const TAMPERED: &[u8] = b"tampered";

const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn is_over(folder: &Path) -> bool {
    folder.join("over").exists()
}

pub(super) fn wait_for_over(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !is_over(folder) {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// The temporary names in a folder, and in the folders of such a name in it.
fn temporary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            let within = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            found.extend(within.map(|entry| entry.path()));
            found.push(entry.path());
        }
    }
    found
}

pub(super) fn tamper(folder: &Path) {
    let mut watch = match Watch::of(folder) {
        Ok(watch) => watch,
        Err(error) => return println!("no watch: {error}"),
    };
    println!("ready");
    let (mut seen, mut tampered) = (0, 0);
    while !is_over(folder) && watch.wait().is_ok() {
        for path in temporary(folder) {
            seen += 1;
            let opened = open(&path, true);
            tampered += usize::from(opened.and_then(|mut file| file.write_all(TAMPERED)).is_ok());
        }
    }
    println!("seen {seen}");
    println!("tampered {tampered}");
}

pub(super) fn swap(folder: &Path, victim: &Path) {
    println!("ready");
    let mut swapped = 0;
    while !is_over(folder) {
        for path in temporary(folder) {
            // The links are left: one that is taken away again would have the upload fail.
            if path.is_symlink() {
                continue;
            }
            let aside = folder.join(format!("aside-{swapped}"));
            let taken = fs::rename(&path, aside)
                .and_then(|()| symlink(victim, &path))
                .and_then(|()| fs::write(folder.join(format!("swapped-{swapped}")), ""));
            swapped += usize::from(taken.is_ok());
        }
    }
    println!("swapped {swapped}");
}
