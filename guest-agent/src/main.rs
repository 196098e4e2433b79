//! The program in the guest: serves the VM's host, and is process 1 where it is started as that.
//!
//! `run` turns a result into an exit code: 0 after a stop or once an inherited connection is
//! served, 1 where the agent could not start or go on, 2 for a wrong command line.

// The C library calls `sys::entry::main`.
#![cfg_attr(not(any(test, feature = "fuzzing")), no_main)]

mod accounts;
mod arguments;
mod connection;
mod connections;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod host_frames;
mod init;
mod input;
mod listener;
mod log;
mod oom_score;
mod operation;
mod os_error;
mod path;
mod permits;
mod pings;
mod process;
mod process_one;
mod resolver;
mod server;
mod session;
mod staged_file;
mod sys;

use arguments::{Arguments, Parsed};

/// This program's version, as `ping` tells it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints. Image builders read the version off the binary by this line
/// (src/image/build.rs), so it stands there as a whole.
const VERSION_LINE: &str = concat!("smolvm-guest-agent ", env!("CARGO_PKG_VERSION"), "\n");

/// What the process exits with.
fn run() -> u8 {
    let words = sys::entry::words();
    if init::is_asked_for(words.iter().cloned()) {
        return init::run();
    }
    match Arguments::parse(words.into_iter().skip(1), |name| std::env::var_os(name)) {
        Ok(Parsed::Serve(arguments)) => match server::serve(&arguments) {
            Ok(()) => 0,
            Err(error) => {
                log::failure(&error);
                1
            }
        },
        Ok(Parsed::Print(text)) => {
            log::print(&text);
            0
        }
        Err(error) => {
            log::failure(&format_args!("{error}; see --help"));
            2
        }
    }
}
