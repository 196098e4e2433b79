//! How a thread is started: by the C library.
//!
//! Not by std: each of its threads maps a stack for the handler of a stack's overflow, and where there is no memory for
//! that, the whole process ends; and they bring 15 KB, for who waits for one and for a table of all (`entry.rs`). A
//! thread of ours that overflows its stack meets its guard page.
#![expect(unsafe_code, reason = "the C library is handed a pointer")]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// What a new thread is given.
struct Start {
    name: &'static CStr,
    work: Box<dyn FnOnce() + Send>,
}

/// Starts a thread that nobody waits for. A panic in it is told as any, and ends it alone.
///
/// The name has at most 15 bytes: the kernel cuts the rest off.
///
/// # Errors
/// There is none to be had; `work` is dropped then.
pub(crate) fn start(
    name: &'static CStr,
    stack_bytes: usize,
    work: Box<dyn FnOnce() + Send>,
) -> io::Result<()> {
    let start = Box::into_raw(Box::new(Start { name, work }));
    create(stack_bytes, start.cast()).inspect_err(|_| {
        // SAFETY: from `into_raw`, and no thread has it.
        drop(unsafe { Box::from_raw(start) });
    })
}

/// Has a detached thread [`run`] with `start`.
fn create(stack_bytes: usize, start: *mut c_void) -> io::Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: `attributes` has the size of what is made there.
    checked(unsafe { libc::pthread_attr_init(attributes) })?;
    // SAFETY: initialised above.
    let detached = checked(unsafe {
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED)
    });
    // SAFETY: initialised above.
    let sized = checked(unsafe { libc::pthread_attr_setstacksize(attributes, stack_bytes) });
    let created = detached.and(sized).and_then(|()| {
        // SAFETY: initialised above; `run` is what takes `start`, which lives until it does.
        checked(unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes, run, start) })
    });
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes) };
    created
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `start` above has given away, to this thread alone.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    // SAFETY: `prctl(2)`: a C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, start.name.as_ptr()) };
    let _ = catch_unwind(AssertUnwindSafe(start.work));
    ptr::null_mut()
}

/// These calls return the error's number.
fn checked(number: c_int) -> io::Result<()> {
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::start;
    use std::sync::mpsc;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Says when it is dropped.
    struct Dropped(mpsc::Sender<&'static str>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    #[test]
    fn started_work_runs_in_a_thread_of_that_name() {
        let (say, hear) = mpsc::channel();
        let work = move || {
            let _ = say.send(std::fs::read_to_string("/proc/thread-self/comm"));
        };
        start(c"worker", 64 * 1024, Box::new(work)).expect("a thread");
        let name = hear.recv_timeout(DEADLINE).expect("an answer");
        assert_eq!(name.expect("a name"), "worker\n");
    }

    #[test]
    fn panicking_work_ends_its_thread_alone_and_drops_what_it_has() {
        let (say, hear) = mpsc::channel();
        let dropped = Dropped(say);
        let work = move || {
            let _dropped = dropped;
            panic!("as the test wants");
        };
        start(c"worker", 64 * 1024, Box::new(work)).expect("a thread");
        assert_eq!(hear.recv_timeout(DEADLINE), Ok("dropped"));
    }

    #[test]
    fn work_that_gets_no_thread_is_dropped() {
        let (say, hear) = mpsc::channel();
        let dropped = Dropped(say);
        let work = move || drop(dropped);
        start(c"worker", 1, Box::new(work)).expect_err("too small a stack");
        assert_eq!(hear.recv_timeout(DEADLINE), Ok("dropped"));
    }
}
