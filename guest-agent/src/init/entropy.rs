//! A seed for the kernel's generator, kept from one boot to the next; never waits for entropy.
//!
//! A seed counts as entropy once: it is removed before it is credited, and a new one takes its place.
//! In an image that starts from the same bytes each time that cannot be, so there it is only stirred
//! in.

use crate::log;
use crate::sys::{file, machine, mount};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

const FOLDER: &str = "/var/lib/smolvm";
const SEED: &str = "/var/lib/smolvm/seed";

/// Uses the seed, where there is one.
pub(super) fn use_seed() {
    match try_seed() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::failure(&format_args!("cannot use the seed {SEED}: {error}"));
        }
        _ => {}
    }
}

fn try_seed() -> io::Result<()> {
    let mut seed = Vec::with_capacity(machine::MAX_SEED_BYTES);
    file::read_to_spare(File::open(SEED)?, &mut seed)?;
    let random = File::open("/dev/urandom")?;
    if mount::is_in_memory(c"/var/lib/smolvm") {
        return machine::add_entropy(random, &seed, false);
    }
    let removed = fs::remove_file(SEED).and_then(|()| File::open(FOLDER)?.sync_all());
    machine::add_entropy(&random, &seed, removed.is_ok())?;
    removed?;
    seed.clear();
    file::read_to_spare(random, &mut seed)?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(SEED)?
        .write_all(&seed)
}
