//! Mounting, and what a file system is made of.
#![expect(
    unsafe_code,
    reason = "mount, umount2, statfs, statvfs and sync have no safe wrapper in std"
)]

use super::checked;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Flags of a mount: `MS_NOSUID` and its like.
pub(crate) type Flags = libc::c_ulong;

/// `RAMFS_MAGIC` of `linux/magic.h`.
const RAMFS_MAGIC: u64 = 0x8584_58f6;
/// `TMPFS_MAGIC` of the same.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Mounts a file system; `source` is its device, or a name for `/proc/mounts` where it has none.
pub(crate) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: Flags,
    options: &CStr,
) -> io::Result<()> {
    // SAFETY: C strings that live through the call.
    checked(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    })?;
    Ok(())
}

/// Unmounts `target`, or makes it read-only where somebody still uses it.
pub(crate) fn unmount_or_make_read_only(target: &CStr) -> io::Result<()> {
    // SAFETY: a C string that lives through the call.
    if checked(unsafe { libc::umount2(target.as_ptr(), 0) }).is_ok() {
        return Ok(());
    }
    change(ptr::null(), target, libc::MS_REMOUNT | libc::MS_RDONLY)
}

/// Makes a file system writable that is mounted read-only.
pub(crate) fn make_writable(target: &CStr) -> io::Result<()> {
    change(ptr::null(), target, libc::MS_REMOUNT)
}

/// Moves what is mounted at `from`, with all below it, to `to`.
pub(crate) fn move_mount(from: &CStr, to: &CStr) -> io::Result<()> {
    change(from.as_ptr(), to, libc::MS_MOVE)
}

/// Changes a mount. Neither its type nor its options are read then, which null pointers say.
fn change(source: *const libc::c_char, target: &CStr, flags: Flags) -> io::Result<()> {
    // SAFETY: a null pointer or a C string of a caller's, and another; both live through the call.
    checked(unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) })?;
    Ok(())
}

/// Takes a mount out of sight at once; it ends when nobody uses it any more.
pub(crate) fn detach(target: &CStr) -> io::Result<()> {
    // SAFETY: a C string that lives through the call.
    checked(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })?;
    Ok(())
}

/// Whether what lies at `path` is kept in memory, and so is gone when the machine is.
pub(crate) fn is_in_memory(path: &CStr) -> bool {
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: a C string, and room for the answer; both live through the call.
    let asked = checked(unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) });
    // SAFETY: zeroed is a valid value, and a successful call has filled it.
    let kind = unsafe { found.assume_init() }.f_type as u64;
    asked.is_ok() && matches!(kind & 0xffff_ffff, RAMFS_MAGIC | TMPFS_MAGIC)
}

/// Whether nothing can be written at `path`, as it is mounted.
pub(crate) fn is_read_only(path: &CStr) -> bool {
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a C string, and room for the answer; both live through the call.
    let asked = checked(unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) });
    // SAFETY: zeroed is a valid value, and a successful call has filled it.
    asked.is_ok() && unsafe { found.assume_init() }.f_flag & libc::ST_RDONLY != 0
}

/// Writes everything out to the disks; returns when that is done.
pub(crate) fn sync() {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::sync() };
}
