//! What LLVM's unwinder prints, without the C library's formatted printing: nothing else needs that,
//! and it is 9 KB.
//!
//! Both functions take the place of C's own in the static program. Whoever adds code of the C library
//! that prints by them has to remove this file: `nm` on an unstripped build says who calls them.
#![expect(unsafe_code, reason = "takes the place of functions of the C library")]

use std::ffi::{CStr, c_char, c_int, c_void};

/// By this the unwinder tells why it is about to abort, on standard error. What would be put into the
/// format is left out: only C could look at it.
// SAFETY: the name is the C library's alone, whose function is not linked where this one is.
#[unsafe(no_mangle)]
extern "C" fn fprintf(_stream: *mut c_void, format: *const c_char) -> c_int {
    // SAFETY: `fprintf(3)`: a format is a C string.
    let format = unsafe { CStr::from_ptr(format) }.to_bytes();
    // SAFETY: the bytes live through the call.
    unsafe { libc::write(libc::STDERR_FILENO, format.as_ptr().cast(), format.len()) };
    0
}

/// By this the unwinder gives a function's name to who asks it for one, which nobody does; says that
/// there is none (`snprintf(3)`: a negative number is a failure).
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn snprintf(_text: *mut c_char, _capacity: usize, _format: *const c_char) -> c_int {
    -1
}
