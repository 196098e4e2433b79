//! The command line: `smolctl VERB TARGET …`.
//!
//! Owns the way from arguments to an exit code. Arguments are read twice: as typed ([`arguments`]),
//! then as meant, in the verb's own file. Standard output carries a verb's result alone; all else goes
//! to standard error. What a program would want, too, is the library's.

mod arguments;
mod cp;
mod doctor;
mod documentation;
mod environment;
mod escape;
mod failure;
mod forward;
mod get;
mod guest;
mod image;
mod interrupt;
mod output;
mod ping;
mod progress;
mod put;
mod resume;
mod run;
mod session;
mod shell;
mod shutdown;
mod ssh_key;
mod terminal;
mod timings;
mod version;
mod vm;
mod wrong_call;

use arguments::{Arguments, Verb};
use clap::Parser;
use failure::Failure;
use interrupt::Interrupt;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return end(&Failure::usage(wrong_call::sentence(&error, &words)));
        }
        // The help, or the version.
        Err(error) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return end(&Failure::local(error)),
    };
    match perform(arguments.verb, &interrupt) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => end(&failure.seen_with(interrupt.signal())),
    }
}

fn perform(verb: Verb, interrupt: &Interrupt) -> Result<u8, Failure> {
    let cancel = interrupt.cancel();
    smolvm_host::places::check().map_err(Failure::usage)?;
    match verb {
        Verb::Ping(arguments) => ping::ping(&arguments, cancel),
        Verb::WaitReady(arguments) => ping::wait_ready(&arguments, cancel),
        Verb::Run(arguments) => run::run(&arguments, cancel),
        Verb::Shell(arguments) => shell::shell(&arguments, cancel),
        Verb::Put(arguments) => put::put(&arguments, cancel),
        Verb::Get(arguments) => get::get(&arguments, cancel),
        Verb::Cp(arguments) => cp::cp(&arguments, cancel),
        Verb::Forward(arguments) => forward::forward(&arguments, cancel),
        Verb::Shutdown(arguments) => shutdown::shutdown(&arguments, cancel),
        Verb::Clock(arguments) => resume::clock(&arguments, cancel),
        Verb::Resume(arguments) => resume::resume(&arguments, cancel),
        Verb::Image(arguments) => image::image(arguments, cancel),
        Verb::Vm(arguments) => vm::vm(arguments, cancel),
        Verb::Doctor(arguments) => doctor::doctor(&arguments, cancel),
        Verb::Version(arguments) => version::version(&arguments),
        Verb::Completions(arguments) => documentation::completions(&arguments),
        Verb::Manual(arguments) => documentation::manual(&arguments),
    }
}

/// Says why, unless there is nothing to say, and gives the exit code.
fn end(failure: &Failure) -> ExitCode {
    if let Some(sentence) = failure.sentence() {
        // A standard error that is gone is no reason to end in another way.
        let _ = writeln!(std::io::stderr(), "smolctl: {sentence}");
    }
    ExitCode::from(failure.code())
}
