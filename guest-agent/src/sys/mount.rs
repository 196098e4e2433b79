//! Mounting, and what a file system is made of.
#![expect(
    unsafe_code,
    reason = "mount, umount2, statfs and sync have no safe wrapper in std"
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

/// Mounts a file system that has no device; its type names it in `/proc/mounts`, too.
pub(crate) fn mount(kind: &CStr, target: &CStr, flags: Flags, options: &CStr) -> io::Result<()> {
    // SAFETY: C strings that live through the call.
    checked(unsafe {
        libc::mount(
            kind.as_ptr(),
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
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    // SAFETY: as above; a remount reads neither source nor type nor data, which null pointers say.
    checked(unsafe {
        libc::mount(
            ptr::null(),
            target.as_ptr(),
            ptr::null(),
            flags,
            ptr::null(),
        )
    })?;
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

/// Writes everything out to the disks; returns when that is done.
pub(crate) fn sync() {
    // SAFETY: takes no pointer and cannot fail.
    unsafe { libc::sync() };
}
