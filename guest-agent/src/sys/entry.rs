//! Where the C library enters the program, in place of std's own start.
//!
//! std's start brings handlers that tell a stack's overflow from another bad access: 8 KB of code, and for each
//! thread a stack for them, which is six system calls a connection. Without them an overflow ends at the guard
//! page all the same, with the signal in place of a line. What else std's start does is done here.
#![expect(
    unsafe_code,
    reason = "takes the place of std's start, which is given pointers"
)]

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt as _;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What std's start returns after a panic.
const PANICKED: u8 = 101;

/// The command line as the kernel gave it: pointers to C strings, the last one null.
static WORDS: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());

/// The words of the command line, the program's name first.
pub(crate) fn words() -> Vec<OsString> {
    let mut words = Vec::new();
    let mut next = WORDS.load(Ordering::Relaxed).cast_const();
    while !next.is_null() {
        // SAFETY: `next` is within the array, whose last pointer is null and ended the loop.
        let word = unsafe { *next };
        if word.is_null() {
            break;
        }
        // SAFETY: `execve(2)`: each is a C string; nothing here changes them, and they last as long as the process.
        let word = unsafe { CStr::from_ptr(word) };
        words.push(OsString::from_vec(word.to_bytes().to_vec()));
        // SAFETY: this was not the last pointer.
        next = unsafe { next.add(1) };
    }
    words
}

// SAFETY: the C library calls the function of this name, and no other of it is linked.
#[cfg_attr(not(any(test, feature = "fuzzing")), unsafe(no_mangle))]
#[cfg_attr(test, expect(dead_code, reason = "tests have a main of their own"))]
extern "C" fn main(_count: c_int, words: *mut *const c_char) -> c_int {
    WORDS.store(words, Ordering::Relaxed);
    open_standard_descriptors();
    // SAFETY: runs no code of ours at a signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    c_int::from(catch_unwind(crate::run).unwrap_or(PANICKED))
}

/// Opens `/dev/null` in the place of a standard descriptor that is closed: nothing else may get its number.
fn open_standard_descriptors() {
    for number in libc::STDIN_FILENO..=libc::STDERR_FILENO {
        // SAFETY: takes no pointer.
        let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
        // SAFETY: the path is a C string. What is opened gets the lowest free number, which is this one.
        if !is_open && unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } == -1 {
            std::process::abort();
        }
    }
}
