//! A seed for the kernel's generator, kept from one boot to the next; never waits for entropy.
//!
//! A seed counts as entropy once: the one for the next boot has taken its place on the disk, whatever
//! crash may come, before it is credited. There is always one: a crash in between leaves the old one or
//! the new one, and neither has been credited. In an image that starts from the same bytes each time that
//! cannot be, so there it is only stirred in.

use crate::log;
use crate::sys::{file, machine, mount};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

const FOLDER: &str = "/var/lib/smolvm";
const PATH: &str = "/var/lib/smolvm/seed";
/// Within the folder.
const SEED: &CStr = c"seed";
const NEW_SEED: &CStr = c"seed.new";

/// Uses the seed, where there is one.
pub(super) fn use_seed() {
    match try_seed() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::failure(&format_args!("cannot use the seed {PATH}: {error}"));
        }
        _ => {}
    }
}

fn try_seed() -> io::Result<()> {
    let mut seed = Vec::with_capacity(machine::MAX_SEED_BYTES);
    file::read_to_spare(File::open(PATH)?, &mut seed)?;
    let random = File::open("/dev/urandom")?;
    machine::add_entropy(random.as_fd(), &seed, false)?;
    if mount::is_in_memory(c"/var/lib/smolvm") {
        return Ok(());
    }
    renew(&File::open(FOLDER)?, &seed)?;
    machine::add_entropy(random.as_fd(), &seed, true)
}

/// Replaces the seed that was read; returns once that is on the disk.
fn renew(folder: &File, seed: &[u8]) -> io::Result<()> {
    let mut next = Vec::with_capacity(machine::MAX_SEED_BYTES);
    // Not from /dev/urandom, which may take a second where the generator has no entropy yet.
    while next.len() < machine::MAX_SEED_BYTES {
        next.extend_from_slice(&machine::random().to_ne_bytes());
    }
    // Such a generator need not give anything of what was stirred in: the next seed would be worth less
    // than this one.
    for (byte, old) in next.iter_mut().zip(seed) {
        *byte ^= old;
    }
    // A crash may have left one.
    let _ = file::remove_within(folder, NEW_SEED);
    let mut file = file::create_new(folder, NEW_SEED)?;
    file.write_all(&next)?;
    file.sync_all()?;
    file::rename(folder, NEW_SEED, folder, SEED)?;
    folder.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn seed_is_renewed_for_its_owner_alone_also_where_a_crash_has_left_half_of_one() {
        let base = std::env::temp_dir().join(format!("smolvm-seed-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let (folder, path) = (File::open(&base).unwrap(), base.join("seed"));
        let old = [7; machine::MAX_SEED_BYTES];
        fs::write(&path, old).unwrap();
        fs::write(base.join("seed.new"), [1; 600]).unwrap();
        renew(&folder, &old).unwrap();
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), machine::MAX_SEED_BYTES);
        assert_ne!(first, old);
        renew(&folder, &[]).unwrap();
        assert_ne!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(&base).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn seed_that_cannot_be_replaced_stays_and_is_no_renewed_one() {
        let base = std::env::temp_dir().join(format!("smolvm-kept-{}", std::process::id()));
        fs::create_dir_all(base.join("seed.new")).unwrap();
        fs::write(base.join("seed"), "old").unwrap();
        renew(&File::open(&base).unwrap(), b"old").unwrap_err();
        assert_eq!(fs::read(base.join("seed")).unwrap(), b"old");
        fs::remove_dir_all(&base).unwrap();
    }
}
