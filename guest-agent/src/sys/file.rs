//! Files by name within an opened directory, reading into spare capacity, the standard streams.
#![expect(
    unsafe_code,
    reason = "openat, renameat, unlinkat, dup2 and reads into spare capacity"
)]

use super::{checked, checked_length, uninterrupted};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

/// Opens a directory to name files within it (`O_PATH`: search permission is enough).
pub(crate) fn open_directory(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `path` is a C string that lives through the call.
    let fd = uninterrupted(|| checked(unsafe { libc::open(path.as_ptr(), flags) }))?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a directory, mode 0755 but for the file mode creation mask.
pub(crate) fn make_directory(path: &CStr) -> io::Result<()> {
    // SAFETY: `path` is a C string that lives through the call.
    checked(unsafe { libc::mkdir(path.as_ptr(), 0o755) })?;
    Ok(())
}

/// Creates a file in `directory`, mode 0600, for writing; fails where the name exists, a link too.
pub(crate) fn create_new(directory: impl AsFd, name: &CStr) -> io::Result<File> {
    let directory = directory.as_fd().as_raw_fd();
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mode: libc::mode_t = 0o600;
    let fd = uninterrupted(|| {
        // SAFETY: `name` is a C string that lives through the call; `directory` is borrowed.
        checked(unsafe { libc::openat(directory, name.as_ptr(), flags, mode) })
    })?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Renames `from` in one directory over `to` in another, or the same.
pub(crate) fn rename(
    directory: impl AsFd,
    from: &CStr,
    to_directory: impl AsFd,
    to: &CStr,
) -> io::Result<()> {
    let directory = directory.as_fd().as_raw_fd();
    let to_directory = to_directory.as_fd().as_raw_fd();
    // SAFETY: both names are C strings that live through the call; the directories are borrowed.
    checked(unsafe { libc::renameat(directory, from.as_ptr(), to_directory, to.as_ptr()) })?;
    Ok(())
}

/// Removes the file `name` from `directory`.
pub(crate) fn remove_within(directory: impl AsFd, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a C string that lives through the call; `directory` is borrowed.
    checked(unsafe { libc::unlinkat(directory.as_fd().as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// Removes the empty directory `name` from `directory`.
pub(crate) fn remove_folder_within(directory: impl AsFd, name: &CStr) -> io::Result<()> {
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: `name` is a C string that lives through the call.
    checked(unsafe { libc::unlinkat(directory, name.as_ptr(), libc::AT_REMOVEDIR) })?;
    Ok(())
}

/// Whether a write to `fd` would be taken within `milliseconds`, at least as much as a pipe takes at
/// once.
pub(crate) fn takes_bytes(fd: impl AsFd, milliseconds: libc::c_int) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `poll` lives through the call, which is told that there is one.
    let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    ready == 1 && poll.revents & libc::POLLOUT != 0
}

/// Whether there is something to read, an end for one, within that time.
pub(crate) fn comes_within(reader: &OwnedFd, limit: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let limit = limit.as_millis() as libc::c_int;
    // SAFETY: `poll` lives through the call, which is told that there is one.
    uninterrupted(|| checked(unsafe { libc::poll(&raw mut poll, 1, limit) }))
        .is_ok_and(|ready| ready == 1)
}

/// What a pipe holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PipeContent {
    /// Whether anybody can still write to it.
    pub(crate) has_writers: bool,
    /// How many bytes are in it; all that ever will be where nobody can write any more.
    pub(crate) bytes: usize,
}

/// What the pipe with the reading end `fd` holds.
///
/// # Errors
/// `ENOTTY` and others where it is no pipe.
pub(crate) fn pipe_content(fd: BorrowedFd<'_>) -> io::Result<PipeContent> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // Before the count: what the last writer wrote before it went is in it then.
    // SAFETY: `poll` lives through the call, which is told that there is one.
    checked(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
    let mut bytes: libc::c_int = 0;
    // SAFETY: `bytes` lives through the call, which writes one number of that type.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) })?;
    Ok(PipeContent {
        has_writers: poll.revents & libc::POLLHUP == 0,
        bytes: bytes as usize,
    })
}

/// What a pipe holds through which much goes.
const LARGE_PIPE_BYTES: libc::c_int = 256 * 1024;

/// Has a pipe hold more: at the kernel's own size the agent and the command take turns at each frame. Best effort.
pub(crate) fn enlarge_pipe(fd: BorrowedFd<'_>) {
    // SAFETY: this command's argument is a number.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, LARGE_PIPE_BYTES) };
}

/// Whether two descriptors are of the same file (`stat(2)`: the same device and inode).
pub(crate) fn is_same(one: RawFd, other: RawFd) -> bool {
    matches!((identity(one), identity(other)), (Some(one), Some(other)) if one == other)
}

fn identity(fd: RawFd) -> Option<(libc::dev_t, libc::ino_t)> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `status` lives through the call; a number that is not open gives EBADF.
    checked(unsafe { libc::fstat(fd, status.as_mut_ptr()) }).ok()?;
    // SAFETY: zeroed is a valid value, and the call has filled it.
    let status = unsafe { status.assume_init() };
    Some((status.st_dev, status.st_ino))
}

/// Runs `create` with the file mode creation mask `mask`, which is the whole process's: to be called
/// while there is one thread.
pub(crate) fn with_umask<T>(mask: libc::mode_t, create: impl FnOnce() -> T) -> T {
    // SAFETY: takes no pointer and cannot fail.
    let before = unsafe { libc::umask(mask) };
    let created = create();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    created
}

/// Appends what one `read` gives, at most what `buffer` has capacity for; 0 is the end of the file.
///
/// The capacity is not cleared first, so that pages which no read reaches are never touched.
pub(crate) fn read_to_spare(fd: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    read_at_most(fd.as_fd(), buffer, usize::MAX)
}

/// The same, but no more than `limit` bytes.
pub(crate) fn read_at_most(
    fd: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    let fd = fd.as_raw_fd();
    uninterrupted(|| {
        let spare = buffer.spare_capacity_mut();
        let room = spare.len().min(limit);
        // SAFETY: `spare` is memory of ours of that length at least, and `read` only writes to it.
        let length = checked_length(unsafe { libc::read(fd, spare.as_mut_ptr().cast(), room) })?;
        // SAFETY: the kernel has written `length` bytes behind the buffer's old end.
        unsafe { buffer.set_len(buffer.len() + length) };
        Ok(length)
    })
}

/// Writes what one `write` takes of `bytes`.
pub(crate) fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| {
        // SAFETY: `bytes` lives through the call, which only reads it.
        checked_length(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
    })
}

/// Read at a time of a text: all of most.
const TEXT_BYTES: usize = 4096;

/// A small text of the kernel's or the image's as a whole; not by std, whose way of guessing a file's
/// size is 2 KB.
///
/// # Errors
/// It cannot be opened or read, or is no UTF-8.
pub(crate) fn read_text(path: &str) -> io::Result<String> {
    let text = read_bounded(path, usize::MAX)?;
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A file's content, where that is no longer than `most`.
///
/// # Errors
/// It cannot be opened or read; `EFBIG` where it is longer.
pub(crate) fn read_bounded(path: &str, most: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut content = Vec::new();
    while content.len() <= most {
        content.reserve(TEXT_BYTES);
        if read_to_spare(&file, &mut content)? == 0 {
            return Ok(content);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EFBIG))
}

/// Makes `fd` standard input, output and error.
pub(crate) fn replace_standard_streams(fd: impl AsFd) -> io::Result<()> {
    for number in 0..=2 {
        // SAFETY: takes no pointer. Nobody owns 0 to 2: std only borrows them.
        uninterrupted(|| checked(unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) }))?;
    }
    Ok(())
}
