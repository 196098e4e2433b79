//! The machine as a whole: its name, its clocks, modules, device nodes, entropy, random numbers, its end.
#![expect(
    unsafe_code,
    reason = "sethostname, clock_gettime, clock_settime, finit_module, mknod, getrandom, RNDADDENTROPY, RNDRESEEDCRNG and reboot have no safe wrapper in std"
)]

use super::checked;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel unpacks by itself (Linux 5.17).
const COMPRESSED_FILE: libc::c_int = 4;

/// `RNDADDENTROPY` of `linux/random.h`, the same number on all architectures that we build for.
const RNDADDENTROPY: u32 = 0x4008_5203;

/// `RNDRESEEDCRNG` of the same file (Linux 4.14), likewise.
const RNDRESEEDCRNG: u32 = 0x5207;

const NANOSECONDS: i64 = 1_000_000_000;

/// Entropy that is credited at a time, in bytes; also the longest seed that is taken.
pub(crate) const MAX_SEED_BYTES: usize = 512;

/// The time since the kernel started, suspended time included.
pub(crate) fn since_kernel_start() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call. It cannot fail: the clock is there since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the machine's clock says: nanoseconds since 1970, never negative.
pub(crate) fn clock_ns() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call. It cannot fail: every kernel has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    // The kernel counts them in as many bits itself.
    time.tv_sec * NANOSECONDS + time.tv_nsec
}

/// Sets the machine's clock: nanoseconds since 1970.
///
/// # Errors
/// `EPERM` where that is not permitted; `EINVAL` where the time is negative, after the year 2232, or so early that the
/// machine would have started before 1970.
pub(crate) fn set_clock_ns(nanoseconds: i64) -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: nanoseconds / NANOSECONDS,
        tv_nsec: nanoseconds % NANOSECONDS,
    };
    // SAFETY: `time` lives through the call.
    checked(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) })?;
    Ok(())
}

/// Names the machine.
pub(crate) fn set_host_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: `name` lives through the call and has that length.
    checked(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// Loads a module from its file, without parameters.
pub(crate) fn load_module(file: &File, compressed: bool) -> io::Result<()> {
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    // SAFETY: the parameters are a C string that lives for ever; `file` is borrowed.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    checked(returned as libc::c_int)?;
    Ok(())
}

/// Makes a character device's node, whatever the file mode creation mask is not against.
pub(crate) fn make_device(path: &CStr, mode: u32, major: u32, minor: u32) -> io::Result<()> {
    let device = libc::makedev(major, minor);
    // SAFETY: a C string that lives through the call.
    checked(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | mode, device) })?;
    // SAFETY: as above.
    checked(unsafe { libc::chmod(path.as_ptr(), mode) })?;
    Ok(())
}

/// Gives a seed to the kernel's generator as `credited` bytes of entropy; `random` is its device.
/// What is longer than [`MAX_SEED_BYTES`] is cut.
pub(crate) fn add_entropy(random: BorrowedFd<'_>, seed: &[u8], credited: bool) -> io::Result<()> {
    /// `struct rand_pool_info` of `linux/random.h`.
    #[repr(C)]
    struct Pool {
        entropy_bits: libc::c_int,
        bytes: libc::c_int,
        buffer: [u8; MAX_SEED_BYTES],
    }
    let seed = &seed[..seed.len().min(MAX_SEED_BYTES)];
    let length = seed.len() as libc::c_int;
    let mut pool = Pool {
        entropy_bits: if credited { 8 * length } else { 0 },
        bytes: length,
        buffer: [0; MAX_SEED_BYTES],
    };
    pool.buffer[..seed.len()].copy_from_slice(seed);
    let random = random.as_raw_fd();
    // SAFETY: the kernel reads `bytes` bytes of `buffer`, which has so many, during the call.
    checked(unsafe { libc::ioctl(random, RNDADDENTROPY as libc::Ioctl, &raw const pool) })?;
    Ok(())
}

/// Has the kernel's generator use at once what was added to it; `random` is its device.
///
/// # Errors
/// `EPERM` where that is not permitted; `ENODATA` where the generator has not had enough entropy yet.
pub(crate) fn reseed(random: BorrowedFd<'_>) -> io::Result<()> {
    let random = random.as_raw_fd();
    // SAFETY: takes no pointer.
    checked(unsafe { libc::ioctl(random, RNDRESEEDCRNG as libc::Ioctl) })?;
    Ok(())
}

/// A number that hardly ever comes twice. It does not wait for entropy, as no secret depends on it;
/// before Linux 5.6 it does, shortly after the kernel's start.
pub(crate) fn random() -> u64 {
    let mut number = 0u64;
    for flags in [libc::GRND_INSECURE, 0] {
        let size = size_of::<u64>();
        // SAFETY: `number` lives through the call and has that size.
        if unsafe { libc::getrandom((&raw mut number).cast(), size, flags) } != -1 {
            break;
        }
    }
    number
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    Restart,
}

/// Ends the machine at once, writing nothing out.
///
/// # Errors
/// It returns only where the kernel refuses.
pub(crate) fn end(end: End) -> io::Error {
    let command = match end {
        End::PowerOff => libc::RB_POWER_OFF,
        End::Restart => libc::RB_AUTOBOOT,
    };
    // SAFETY: takes no pointer.
    unsafe { libc::reboot(command) };
    io::Error::last_os_error()
}

/// Makes Ctrl-Alt-Del a `SIGINT` for process 1, where it would restart the machine at once
/// (`reboot(2)`).
pub(crate) fn take_ctrl_alt_del() -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::reboot(libc::RB_DISABLE_CAD) })?;
    Ok(())
}
