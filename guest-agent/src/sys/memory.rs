//! Memory: an allocation that finds none waits for some.
//!
//! Rust ends the process where an allocation fails, and the agent with all that it serves, or process 1 and the guest,
//! would go for what another process may give back in the next moment.
#![expect(unsafe_code, reason = "an allocator's trait is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::time::Duration;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(10);

/// Tries: 5 s in all.
const TRIES: u32 = 500;

/// Longer ones are for requests, which are refused where there is no memory for them.
const MOST_BYTES: usize = 1024 * 1024;

struct Patient;

#[global_allocator]
static ALLOCATOR: Patient = Patient;

/// Allocates by `allocate`, trying again where there is no memory for `bytes`.
fn patiently(bytes: usize, allocate: &dyn Fn() -> *mut u8) -> *mut u8 {
    let tries = if bytes > MOST_BYTES { 1 } else { TRIES };
    for _ in 1..tries {
        let allocated = allocate();
        if !allocated.is_null() {
            return allocated;
        }
        std::thread::sleep(RETRY);
    }
    allocate()
}

// SAFETY: all is the system's allocator's, whose tries that fail change nothing.
unsafe impl GlobalAlloc for Patient {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        patiently(layout.size(), &|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, allocated: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(allocated, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        patiently(layout.size(), &|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, allocated: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above; one that fails has left the memory as it was.
        patiently(bytes, &|| unsafe {
            System.realloc(allocated, layout, bytes)
        })
    }
}
