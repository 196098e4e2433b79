//! CIDs, which all VMs of a host share, whoever started them: 3 and up, each given out once at a time.
//!
//! Owns one file per host and what its bytes mean: whoever has byte N locked has CID N. Nothing is ever
//! written to it. The locks are open file description locks (fcntl_locking(2)): the kernel drops one with the
//! last descriptor of the file opened for it, so that no crash leaves a CID taken, and nothing has to be
//! cleaned up. Processes that are to have a CID for as long as they live inherit that descriptor.
//!
//! Who locks bytes for nothing keeps CIDs from others, as who starts VMs for nothing does.
//!
//! Refuses to know who else gives out CIDs on this host: callers pass over what they see taken.

use super::VmError;
use crate::places;
use crate::target::GuestCid;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The pool of a host. Where nobody may make it there, each state folder has a pool of its own.
const HOST_POOL: &str = "/run/lock/smolvm-cids";
/// Its name in a state folder.
const OWN_POOL_NAME: &str = "cids";
/// Everybody on the host may take CIDs, and nobody may keep others from it by owning the file.
const POOL_MODE: u32 = 0o666;

/// Gives out CIDs.
#[derive(Clone, Debug)]
pub struct CidPool {
    path: PathBuf,
}

/// A CID that nobody else is given while this, or a descriptor inherited from it, is open.
#[derive(Debug)]
pub struct CidLease {
    cid: GuestCid,
    file: File,
    path: PathBuf,
}

impl CidPool {
    /// This host's pool: `$SMOLVM_CID_POOL`, else `/run/lock/smolvm-cids`, else `cids` in the state folder
    /// where the former cannot be had.
    ///
    /// # Errors
    /// [`VmError::NoPlace`], [`VmError::State`].
    pub fn host() -> Result<Self, VmError> {
        if let Some(path) = places::cid_pool()? {
            return Ok(Self::at(&path));
        }
        let shared = Self::at(Path::new(HOST_POOL));
        if shared.open().is_ok() {
            return Ok(shared);
        }
        let state = places::state_dir()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .map_err(super::registry::state_error(&state))?;
        Ok(Self::at(&state.join(OWN_POOL_NAME)))
    }

    /// The pool that is this file, which need not exist yet.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether users of this host other than the caller take their CIDs from it, too.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        self.path == Path::new(HOST_POOL)
    }

    /// The lowest CID that is free.
    ///
    /// # Errors
    /// [`VmError::NoCidLeft`], [`VmError::CidPool`].
    pub fn allocate(&self) -> Result<CidLease, VmError> {
        self.allocate_except(|_| false)
    }

    /// The lowest CID that is free, and that is not `taken` as far as the caller knows.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_except(&self, taken: impl Fn(GuestCid) -> bool) -> Result<CidLease, VmError> {
        let error = |source| VmError::CidPool {
            path: self.path.clone(),
            source,
        };
        // A file opened for this lease alone: what is locked by one that is shared is shared, too.
        let file = self.open().map_err(error)?;
        let mut next = GuestCid::FIRST.number();
        while let Some(cid) = GuestCid::new(next) {
            if taken(cid) {
                next = cid.number() + 1;
                continue;
            }
            match lock(&file, cid).map_err(error)? {
                Lock::Had => {
                    let path = self.path.clone();
                    return Ok(CidLease { cid, file, path });
                }
                Lock::FreeFrom(first) => next = first,
                Lock::NoneFree => break,
            }
        }
        Err(VmError::NoCidLeft)
    }

    /// Opens the file anew. It is made where it is missing, with its mode before it has its name.
    fn open(&self) -> io::Result<File> {
        let open = || {
            let file = File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&self.path)?;
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::other("it is no regular file")),
            }
        };
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            outcome => return outcome,
        }
        open()
    }

    /// Never by an open that may also make it: a kernel refuses that for somebody else's file in a folder
    /// like `/run/lock` (`fs.protected_regular`).
    fn make(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let file = tempfile::Builder::new()
            .prefix(".smolvm-cids-")
            .tempfile_in(folder)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(POOL_MODE))?;
        match file.persist_noclobber(&self.path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => Ok(()),
        }
    }
}

impl CidLease {
    /// The CID.
    #[must_use]
    pub fn cid(&self) -> GuestCid {
        self.cid
    }

    /// The lease as the standard input of a process, which has the CID then until it ends, too. There is
    /// nothing to read from it.
    ///
    /// # Errors
    /// [`VmError::CidPool`] where this process has no descriptors left.
    pub fn stdin(&self) -> Result<Stdio, VmError> {
        let error = |source| VmError::CidPool {
            path: self.path.clone(),
            source,
        };
        self.file.try_clone().map(Stdio::from).map_err(error)
    }
}

/// What came of a try to lock a CID's byte.
enum Lock {
    Had,
    /// Others have it, and all up to this one.
    FreeFrom(u32),
    NoneFree,
}

fn lock(file: &File, cid: GuestCid) -> io::Result<Lock> {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: cid.number().into(),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => return Ok(Lock::Had),
        // Not EACCES, which POSIX allows besides: Linux says it where a security module forbids all locks.
        Err(Errno::EAGAIN) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut held = wanted;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut held))?;
    if i32::from(held.l_type) == libc::F_UNLCK {
        // Given back meanwhile.
        return Ok(Lock::FreeFrom(cid.number()));
    }
    // A length of 0 reaches to the end of all files.
    let end = match held.l_len {
        0 => None,
        length => u32::try_from(held.l_start.saturating_add(length)).ok(),
    };
    Ok(end.map_or(Lock::NoneFree, Lock::FreeFrom))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn pool() -> (tempfile::TempDir, CidPool) {
        let folder = tempfile::tempdir().unwrap();
        let pool = CidPool::at(&folder.path().join("cids"));
        (folder, pool)
    }

    fn number(lease: &CidLease) -> u32 {
        lease.cid().number()
    }

    /// Whether the lowest free CID is soon this one: another test's child that is just being started has a
    /// copy of every descriptor for a moment.
    fn lowest_free_is(pool: &CidPool, wanted: u32) -> bool {
        let deadline = Deadline::after(Duration::from_secs(10));
        while number(&pool.allocate().unwrap()) != wanted {
            if deadline.has_passed() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Has all from `first` up to and without `end` locked, by no lease.
    fn hold(pool: &CidPool, first: u32, end: u32) -> File {
        let file = pool.open().unwrap();
        let range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: first.into(),
            l_len: (end - first).into(),
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&range)).unwrap();
        file
    }

    #[test]
    fn lowest_free_cid_is_given_out_and_comes_back_with_its_lease() {
        let (_folder, pool) = pool();
        let leases: Vec<CidLease> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        let cids: Vec<u32> = leases.iter().map(number).collect();
        assert_eq!(cids, [3, 4, 5]);
        drop(leases);
        assert!(lowest_free_is(&pool, 3));
    }

    #[test]
    fn cids_that_the_caller_knows_as_taken_are_passed_over() {
        let (_folder, pool) = pool();
        let lease = pool.allocate().unwrap();
        let next = pool.allocate_except(|cid| [4, 5].contains(&cid.number()));
        assert_eq!((number(&lease), number(&next.unwrap())), (3, 6));
    }

    #[test]
    fn last_cid_is_the_one_before_any_and_then_there_is_none() {
        let (_folder, pool) = pool();
        let _held = hold(&pool, 0, u32::MAX - 1);
        let last = pool.allocate().unwrap();
        assert_eq!(number(&last), u32::MAX - 1);
        assert!(matches!(pool.allocate(), Err(VmError::NoCidLeft)));
    }

    #[test]
    fn lock_that_reaches_to_the_end_of_all_files_leaves_no_cid() {
        let (_folder, pool) = pool();
        let file = pool.open().unwrap();
        let all = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 4,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&all)).unwrap();
        let lease = pool.allocate().unwrap();
        assert_eq!(number(&lease), 3);
        assert!(matches!(pool.allocate(), Err(VmError::NoCidLeft)));
    }

    #[test]
    fn file_that_two_make_at_once_is_the_firsts() {
        let (folder, pool) = pool();
        let lease = pool.allocate().unwrap();
        pool.make().unwrap();
        assert_eq!((number(&lease), number(&pool.allocate().unwrap())), (3, 4));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn cid_is_had_until_the_last_process_that_inherited_it_has_ended() {
        let (_folder, pool) = pool();
        let lease = pool.allocate().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(lease.stdin().unwrap())
            .spawn()
            .unwrap();
        drop(lease);
        assert_eq!(number(&pool.allocate().unwrap()), 4);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lowest_free_is(&pool, 3));
    }

    #[test]
    fn lease_does_not_leak_into_other_children() {
        let (_folder, pool) = pool();
        let lease = pool.allocate().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        drop(lease);
        let is_free = lowest_free_is(&pool, 3);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_free);
    }

    #[test]
    fn file_is_for_everybody_and_is_neither_a_link_nor_a_pipe() {
        let (folder, pool) = pool();
        drop(pool.allocate().unwrap());
        let mode = pool.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, POOL_MODE);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(pool.path(), &link).unwrap();
        let pipe = folder.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
        for path in [&link, &pipe, &folder.path().join("none/cids")] {
            let error = CidPool::at(path).allocate().unwrap_err();
            assert!(matches!(error, VmError::CidPool { .. }), "{error}");
        }
    }
}
