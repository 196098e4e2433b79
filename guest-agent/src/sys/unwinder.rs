//! What of LLVM's unwinder and of the C library is replaced in the static program, for its size.
//!
//! - Formatted printing (9 KB), which the unwinder alone would use. Whoever adds code of the C library
//!   that prints by it has to remove the two functions: `nm` on an unstripped build says who calls them.
//! - The walk up the stack for a backtrace. A panic is told by its place alone (`log::report_panics`), but
//!   std has the code to print a backtrace, and a prebuilt one reads debug information for it, which a
//!   stripped program has not. That the walk visits no frame is seen when all crates are optimised together,
//!   and what would print frames is left out: 200 KB.
//!
//! The unwinder keeps that walk in one object file with other functions that std names. One of them
//! taken from there would bring the walk along a second time, so they are here, too.
#![expect(
    unsafe_code,
    reason = "takes the place of functions of the C library and the unwinder"
)]

use std::ffi::{CStr, c_char, c_int, c_void};

/// The frame that is looked at, as the unwinder knows it.
type Context = *mut c_void;

/// "The end of the stack": what a walk returns that nothing stopped (`_URC_END_OF_STACK`).
const END_OF_STACK: c_int = 5;

// The unwinder itself is linked by std.
unsafe extern "C" {
    fn _Unwind_GetIP(context: Context) -> usize;
}

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

/// Calls `visit` for each frame from here up; there is none.
// SAFETY: the name is the unwinder's alone, whose function is not linked where this one is.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(
    _visit: extern "C" fn(Context, *mut c_void) -> c_int,
    _argument: *mut c_void,
) -> c_int {
    END_OF_STACK
}

/// The address at which a frame goes on. It lies behind a call and not before, since no signal
/// handler of ours panics: frames that a signal interrupted are never unwound.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Unwind_GetIPInfo(context: Context, is_before: *mut c_int) -> usize {
    // SAFETY: std passes a place for the answer.
    unsafe { is_before.write(0) };
    // SAFETY: `context` is what the unwinder gave to std.
    unsafe { _Unwind_GetIP(context) }
}

/// A frame's place on the stack: asked for at the frames of a walk, and so never.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetCFA(_context: Context) -> usize {
    0
}

/// The start of the function at an address, likewise.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_FindEnclosingFunction(_address: *mut c_void) -> *mut c_void {
    std::ptr::null_mut()
}

/// The base of addresses relative to code, of which our tables have none (LLVM's aborts likewise).
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetTextRelBase(_context: Context) -> usize {
    std::process::abort()
}

/// The base of addresses relative to data, of which there are none either.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetDataRelBase(_context: Context) -> usize {
    std::process::abort()
}
