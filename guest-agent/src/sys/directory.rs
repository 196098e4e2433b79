//! What stands under a name within an opened directory, and the names in one. No link is followed
//! behind the directory, whatever is swapped there meanwhile.
#![expect(
    unsafe_code,
    reason = "openat, fstatat, readlinkat, mkdirat, symlinkat, getdents64 and lseek have no safe wrapper in std"
)]

use super::{checked, checked_length, uninterrupted};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Bytes of a link's target at most, and one more (`PATH_MAX`).
const TARGET_BYTES: usize = 4096;

/// Bytes of a name at most (`NAME_MAX`).
const NAME_BYTES: usize = 255;

/// A name within a directory, as calls take it. Without memory of its own: dropping it is nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name([u8; NAME_BYTES + 1]);

impl Name {
    /// # Errors
    /// `ENAMETOOLONG`, and `EINVAL` where there is a NUL byte.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut name = [0; NAME_BYTES + 1];
        let number = match name[..NAME_BYTES].get_mut(..bytes.len()) {
            None => libc::ENAMETOOLONG,
            Some(_) if bytes.contains(&0) => libc::EINVAL,
            Some(place) => {
                place.copy_from_slice(bytes);
                return Ok(Self(name));
            }
        };
        Err(io::Error::from_raw_os_error(number))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// What `stat` says of something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// The file type's bits: `S_IFREG` and its like.
    pub(crate) kind: libc::mode_t,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: libc::uid_t,
    pub(crate) size: u64,
}

/// Stands for the working directory, where a name is a path.
pub(crate) fn working() -> BorrowedFd<'static> {
    // SAFETY: no descriptor at all, but a number that each call with a directory takes for the
    // working directory; it is not -1, and nobody closes it.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// What `name` is; of a link, the link itself.
pub(crate) fn status_within(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Status> {
    status_at(directory, name, libc::AT_SYMLINK_NOFOLLOW)
}

/// What an open descriptor is of.
pub(crate) fn status(fd: BorrowedFd<'_>) -> io::Result<Status> {
    status_at(fd, c"", libc::AT_EMPTY_PATH)
}

fn status_at(directory: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<Status> {
    let directory = directory.as_raw_fd();
    let mut found = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a C string, and room for the answer; both live through the call.
    checked(unsafe { libc::fstatat(directory, name.as_ptr(), found.as_mut_ptr(), flags) })?;
    // SAFETY: zeroed is a valid value, and the call has filled it.
    let found = unsafe { found.assume_init() };
    Ok(Status {
        kind: found.st_mode & libc::S_IFMT,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        size: found.st_size as u64,
    })
}

/// Opens `name` with `flags`, never a link, and never waiting for anybody.
pub(crate) fn open_within(
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: libc::c_int,
) -> io::Result<OwnedFd> {
    let directory = directory.as_raw_fd();
    let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a C string that lives through the call.
    let fd = uninterrupted(|| checked(unsafe { libc::openat(directory, name.as_ptr(), flags) }))?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where the link `name` leads.
pub(crate) fn target_within(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    let directory = directory.as_raw_fd();
    let mut target = vec![0; TARGET_BYTES];
    // SAFETY: a C string, and memory of ours of that length; both live through the call.
    let length = checked_length(unsafe {
        libc::readlinkat(
            directory,
            name.as_ptr(),
            target.as_mut_ptr().cast(),
            target.len(),
        )
    })?;
    target.truncate(length);
    Ok(target)
}

/// Makes a directory that is the agent's user's alone.
pub(crate) fn make_within(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let directory = directory.as_raw_fd();
    // SAFETY: a C string that lives through the call.
    checked(unsafe { libc::mkdirat(directory, name.as_ptr(), 0o700) })?;
    Ok(())
}

/// Opens a directory that [`make_within`] has made. Another may have its name by now.
///
/// # Errors
/// `EPERM` where it is not the agent's user's alone.
pub(crate) fn open_own(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let opened = open_within(directory, name, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let Status { mode, uid, .. } = status(opened.as_fd())?;
    // SAFETY: takes no pointer.
    match uid == unsafe { libc::geteuid() } && mode & 0o077 == 0 {
        true => Ok(opened),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

/// Makes a link to `target`; fails where the name exists.
pub(crate) fn link_within(directory: BorrowedFd<'_>, name: &CStr, target: &CStr) -> io::Result<()> {
    let directory = directory.as_raw_fd();
    // SAFETY: C strings that live through the call.
    checked(unsafe { libc::symlinkat(target.as_ptr(), directory, name.as_ptr()) })?;
    Ok(())
}

/// Replaces what is in `listing` by the next names of a directory that is open for reading, as many
/// as fit its capacity; none at the directory's end.
pub(crate) fn list(directory: BorrowedFd<'_>, listing: &mut Vec<u8>) -> io::Result<()> {
    listing.clear();
    let directory = directory.as_raw_fd();
    let room = listing.spare_capacity_mut();
    // By the raw call: libc's own reading of directories has a buffer for each.
    // SAFETY: `room` is memory of ours of that length, and the call only writes to it.
    let length = checked_length(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory,
            room.as_mut_ptr(),
            room.len(),
        ) as isize
    })?;
    // SAFETY: the kernel has written so many bytes from the buffer's start on.
    unsafe { listing.set_len(length) };
    Ok(())
}

/// The name at `*at` in a listing, and the place in its directory behind it; `None` behind the last.
pub(crate) fn next_name<'listing>(
    listing: &'listing [u8],
    at: &mut usize,
) -> Option<(&'listing CStr, i64)> {
    // `struct linux_dirent64`: inode, place of the next, length of this record, type, name.
    let record = listing.get(*at..)?;
    let place = i64::from_ne_bytes(*record.get(8..)?.first_chunk()?);
    let length = u16::from_ne_bytes(*record.get(16..)?.first_chunk()?);
    let name = CStr::from_bytes_until_nul(record.get(19..)?).ok()?;
    *at += usize::from(length);
    Some((name, place))
}

/// Has the next [`list`] of a directory go on at a place that a listing told.
pub(crate) fn go_on_at(directory: BorrowedFd<'_>, place: i64) -> io::Result<()> {
    let directory = directory.as_raw_fd();
    // SAFETY: takes no pointer.
    if unsafe { libc::lseek(directory, place, libc::SEEK_SET) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
