//! How a thread is started.
//!
//! Not by std: each of its threads maps a stack for the handler of a stack's overflow, and where there is no
//! memory for that, the whole process ends. A thread of ours that overflows its stack meets its guard page.
#![expect(
    unsafe_code,
    reason = "std::thread ends the process where a thread has no memory for its signal stack"
)]

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

type Work = Box<dyn FnOnce() + Send>;

/// Starts a thread that nobody waits for; a panic ends it alone.
///
/// # Errors
/// There is none to be had.
pub(crate) fn start(name: &'static CStr, stack_bytes: usize, work: Work) -> io::Result<()> {
    let mut settings = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    let settings = settings.as_mut_ptr();
    let mut thread = MaybeUninit::<libc::pthread_t>::zeroed();
    let work = Box::into_raw(Box::new((name, work)));
    // SAFETY: there is room for the settings, here and below; they live through each call.
    unsafe { libc::pthread_attr_init(settings) };
    // SAFETY: made by the call above.
    unsafe { libc::pthread_attr_setstacksize(settings, stack_bytes) };
    // SAFETY: as above.
    unsafe { libc::pthread_attr_setdetachstate(settings, libc::PTHREAD_CREATE_DETACHED) };
    let place = thread.as_mut_ptr();
    // SAFETY: as above. `work` is the new thread's, which takes it once, and ours again where there is none.
    let failed = unsafe { libc::pthread_create(place, settings, perform, work.cast()) };
    // SAFETY: as above; nobody uses them any more.
    unsafe { libc::pthread_attr_destroy(settings) };
    if failed != 0 {
        // SAFETY: as `into_raw` gave it above, and nobody else has it.
        drop(unsafe { Box::from_raw(work) });
        return Err(io::Error::from_raw_os_error(failed));
    }
    Ok(())
}

extern "C" fn perform(work: *mut c_void) -> *mut c_void {
    // SAFETY: `start` has given it to this thread alone.
    let (name, work) = *unsafe { Box::from_raw(work.cast::<(&CStr, Work)>()) };
    // SAFETY: a C string that lives for ever. It may fail: nobody depends on a name.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    // Sound: nobody sees again what the work had.
    let _ = catch_unwind(AssertUnwindSafe(work));
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn thread_has_its_name_and_work() {
        let (tell, told) = channel();
        let work = move || {
            let name = std::fs::read_to_string("/proc/thread-self/comm");
            tell.send(name.unwrap()).unwrap();
        };
        start(c"work", 128 * 1024, Box::new(work)).unwrap();
        assert_eq!(told.recv().unwrap(), "work\n");
    }

    #[test]
    fn panic_ends_its_own_thread() {
        struct Told(std::sync::mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (tell, told) = channel();
        let told_by_drop = Told(tell);
        let work = move || {
            let _told = told_by_drop;
            panic!("on purpose");
        };
        start(c"work", 128 * 1024, Box::new(work)).unwrap();
        told.recv().unwrap();
    }

    #[test]
    fn work_without_a_thread_is_dropped() {
        let (tell, told) = channel::<()>();
        let work = move || drop(tell);
        start(c"work", 1 << 47, Box::new(work)).unwrap_err();
        assert!(told.recv().is_err());
    }
}
