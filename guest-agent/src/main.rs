//! The program in the guest: serves the VM's host, and is process 1 where it is started as that.
//!
//! `main` turns a result into an exit code: 0 after a stop or once an inherited connection is
//! served, 1 where the agent could not start or go on, 2 for a wrong command line.

mod accounts;
mod arguments;
mod connection;
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
mod process;
mod process_one;
mod resolver;
mod server;
mod session;
mod staged_file;
mod sys;

use arguments::{Arguments, Parsed};
use std::process::ExitCode;

/// This program's version, as `ping` tells it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints. Image builders read the version off the binary by this line
/// (src/image/build.rs), so it stands there as a whole.
const VERSION_LINE: &str = concat!("smolvm-guest-agent ", env!("CARGO_PKG_VERSION"), "\n");

fn main() -> ExitCode {
    if init::is_asked_for(std::env::args_os()) {
        return init::run();
    }
    match Arguments::parse(std::env::args_os().skip(1), |name| std::env::var_os(name)) {
        Ok(Parsed::Serve(arguments)) => match server::serve(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::failure(&error);
                ExitCode::from(1)
            }
        },
        Ok(Parsed::Print(text)) => {
            log::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::failure(&format_args!("{error}; see --help"));
            ExitCode::from(2)
        }
    }
}
