//! A seed for the kernel's generator, kept from one boot to the next; never waits for entropy.
//!
//! A seed counts as entropy once: the one for the next boot has taken its place on the disk, whatever
//! crash may come, before it is credited. There is always one: a crash in between leaves the old one or
//! the new one, and neither has been credited. In an image that starts from the same bytes each time that
//! cannot be, so there it is only stirred in.

use crate::log;
use crate::sys::{file, machine, mount};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const FOLDER: &str = "/var/lib/smolvm";
const SEED: &str = "seed";
const NEW_SEED: &str = "seed.new";

/// Uses the seed, where there is one.
pub(super) fn use_seed() {
    match try_seed() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::failure(&format_args!("cannot use the seed in {FOLDER}: {error}"));
        }
        _ => {}
    }
}

fn try_seed() -> io::Result<()> {
    let folder = Path::new(FOLDER);
    let mut seed = Vec::with_capacity(machine::MAX_SEED_BYTES);
    file::read_to_spare(File::open(folder.join(SEED))?, &mut seed)?;
    let random = File::open("/dev/urandom")?;
    machine::add_entropy(&random, &seed, false)?;
    if mount::is_in_memory(c"/var/lib/smolvm") {
        return Ok(());
    }
    renew(folder, &seed)?;
    machine::add_entropy(random, &seed, true)
}

/// Replaces the seed that was read; returns once that is on the disk.
fn renew(folder: &Path, seed: &[u8]) -> io::Result<()> {
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
    let new = folder.join(NEW_SEED);
    let mut options = File::options();
    // A crash may have left one.
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(&next)?;
    file.sync_all()?;
    fs::rename(new, folder.join(SEED))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn seed_is_renewed_for_its_owner_alone_also_where_a_crash_has_left_half_of_one() {
        let folder = std::env::temp_dir().join(format!("smolvm-seed-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let old = [7; machine::MAX_SEED_BYTES];
        fs::write(folder.join(SEED), old).unwrap();
        fs::write(folder.join(NEW_SEED), [1; 600]).unwrap();
        renew(&folder, &old).unwrap();
        let (first, path) = (fs::read(folder.join(SEED)).unwrap(), folder.join(SEED));
        assert_eq!(first.len(), machine::MAX_SEED_BYTES);
        assert_ne!(first, old);
        renew(&folder, &[]).unwrap();
        assert_ne!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn seed_that_cannot_be_replaced_stays_and_is_no_renewed_one() {
        let folder = std::env::temp_dir().join(format!("smolvm-kept-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(SEED), "old").unwrap();
        fs::create_dir(folder.join(NEW_SEED)).unwrap();
        renew(&folder, b"old").unwrap_err();
        assert_eq!(fs::read(folder.join(SEED)).unwrap(), b"old");
        fs::remove_dir_all(&folder).unwrap();
    }
}
