//! Process 1 of a guest: boots it, keeps the agent running, ends it in order.
//!
//! Owns the order of the boot. The agent's listener is bound here, once, and never closed while the
//! guest lives: no guest process can take the port while the agent is away, and hosts that connect
//! meanwhile wait in the kernel. Refuses to serve anything itself. It never exits and never panics:
//! what fails unexpectedly is told, and supervision goes on.
//!
//! | file | owns |
//! |---|---|
//! | [`mounts`], [`modules`], [`settings`], [`network`], [`entropy`] | what is set up before the agent starts |
//! | [`root`] | stage one: the switch from an initramfs to a disk |
//! | [`supervision`] | the loop: signals, orphans, the agent, the scripts |
//! | [`agent`] | the agent's life: its control group, its end, its restarts |
//! | [`boot_scripts`] | `/etc/smolvm/boot.d`, after the agent |
//! | [`child`] | how any child of process 1 is started |
//! | [`ending`] | the guest's end |
//! | [`timings`] | when what was done |

mod agent;
mod boot_scripts;
mod child;
mod ending;
mod entropy;
mod modules;
mod mounts;
mod network;
mod root;
mod settings;
mod supervision;
pub(crate) mod timings;

use crate::log;
use crate::sys::machine::{self, End};
use crate::sys::{file, mount, process, signal, socket};
use agent::AgentKeeper;
use root::{Root, RootError};
use smolvm_protocol::AGENT_PORT;
use std::ffi::{CStr, OsString};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;
use supervision::Supervision;
use timings::Timings;

/// How long supervision rests after it has failed.
const REST: Duration = Duration::from_secs(1);

/// What process 1 waits for; all else that may come is ignored by the kernel, as process 1 has no
/// handlers (`kill(2)`). `SIGUSR1` and `SIGUSR2` are what busybox's `halt` and `poweroff` send. Its `reboot`
/// sends `SIGTERM`, by which everybody else ends a guest: that powers off, and who sent it is not asked,
/// since that process may be gone before it can be looked at.
const SIGNALS: [libc::c_int; 6] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGPWR,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Whether the command line, the program's name first, asks for process 1: by the word `init`, or by
/// the name under which a kernel starts it. Words of the kernel's own may follow that.
pub(crate) fn is_asked_for(mut arguments: impl Iterator<Item = OsString>) -> bool {
    let program = arguments.next().unwrap_or_default();
    let is_kernels = || {
        Path::new(&program)
            .file_name()
            .is_some_and(|name| name == "init")
    };
    (std::process::id() == 1 && is_kernels()) || arguments.next().is_some_and(|word| word == "init")
}

/// What of a command line that asks for process 1 is for the init that takes its place.
fn words_for_an_init(
    mut arguments: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    arguments.next();
    arguments.skip_while(|word| word == "init")
}

/// What process 1 takes a kernel's command line for.
#[cfg(feature = "fuzzing")]
pub(crate) fn command_line(text: &str) -> crate::fuzzing::CommandLine {
    use crate::fuzzing::{CommandLine, NetworkWords, RootWords};
    CommandLine {
        root: Root::parse(text).map(|root| RootWords {
            device: root.device.to_owned(),
            kinds: root.kinds.map(str::to_owned),
            options: root.options.to_owned(),
            read_only: root.read_only,
            init: root.init.map(str::to_owned),
        }),
        network: network::asked_for(text).map(|network| NetworkWords {
            device: network.device.to_owned(),
            address: network.address,
            netmask: network.netmask,
            gateway: network.gateway,
        }),
        is_ended_by_a_restart: ending::as_the_machine_can(End::PowerOff, text) == End::Restart,
    }
}

/// Boots and supervises; returns only where this is not process 1.
pub(crate) fn run() -> u8 {
    log::speak_as_init();
    if std::process::id() != 1 {
        log::failure(&"this is not process 1; a kernel or a container starts it as that");
        return 2;
    }
    log::report_panics();
    match guarded(boot) {
        Some(Ok(supervision)) => supervise(supervision),
        Some(Err(error)) => log::failure(&format_args!("{error}; powering off")),
        None => log::failure(&"the boot failed; powering off"),
    }
    guarded(ending::write_out);
    end_machine(End::PowerOff)
}

/// Why the guest cannot be reached, and is of no use to anyone.
enum BootError {
    Root(RootError),
    NoPlace(&'static CStr),
    NoTransport,
    Listen(io::Error),
    System(io::Error),
}

impl fmt::Display for BootError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(error) => error.fmt(formatter),
            Self::NoPlace(path) => root::no_place(path, formatter),
            Self::NoTransport => formatter.write_str(
                "no vsock transport: this kernel has no vmw_vsock_virtio_transport, built in or \
                 among the image's modules",
            ),
            Self::Listen(error) => {
                write!(
                    formatter,
                    "cannot listen on vsock port {AGENT_PORT}: {error}"
                )
            }
            Self::System(error) => write!(formatter, "cannot supervise: {error}"),
        }
    }
}

fn boot() -> Result<Supervision, BootError> {
    let mut timings = Timings::begin();
    // Before the first fork: no child's end may be missed.
    let signals = signal::block_and_watch(&SIGNALS).map_err(BootError::System)?;
    signal::set_dispositions();
    let mut command_line = mounts::command_line();
    mounts::make_root_writable(&command_line);
    mounts::mount_all();
    mounts::speak_on_console();
    if let Some(path) = mounts::missing_place() {
        return Err(BootError::NoPlace(path));
    }
    if command_line.is_empty() {
        // Its place could not be made before the root was writable.
        command_line = mounts::command_line();
    }
    timings.take_over();
    timings.mark(timings::MOUNTS_DONE);
    modules::load_all();
    timings.mark(timings::MODULES_DONE);
    if mount::is_in_memory(c"/") {
        if let Some(root) = Root::parse(&command_line) {
            return Err(BootError::Root(root.switch(&mut timings)));
        }
    }
    mounts::mount_tmp();
    settings::set_all();
    network::set_host_name_and_loopback();
    if !modules::has_vsock_transport() {
        return Err(BootError::NoTransport);
    }
    let listener = socket::listen_vsock(AGENT_PORT).map_err(BootError::Listen)?;
    timings.mark(timings::LISTENER_BOUND);
    network::set_up(&command_line);
    timings.mark(timings::NETWORK_DONE);
    entropy::use_seed();
    if let Err(error) = machine::take_ctrl_alt_del() {
        log::failure(&format_args!("cannot take Ctrl-Alt-Del: {error}"));
    }
    let agent = AgentKeeper::new(listener);
    Supervision::new(signals, agent, timings).map_err(BootError::System)
}

/// Keeps the guest going until somebody ends it.
fn supervise(mut supervision: Supervision) -> ! {
    let end = until_it_succeeds(|| supervision.until_the_end(), REST);
    guarded(|| ending::end_processes(&mut supervision));
    guarded(ending::write_out);
    end_machine(end);
}

/// Carries out a step again, after a rest, whenever it has failed or panicked.
fn until_it_succeeds<T>(mut step: impl FnMut() -> io::Result<T>, rest: Duration) -> T {
    loop {
        match guarded(&mut step) {
            Some(Ok(value)) => return value,
            Some(Err(error)) => log::failure(&format_args!("cannot supervise: {error}")),
            // Its place is told already.
            None => {}
        }
        thread::sleep(rest);
    }
}

/// Ends the machine; where the kernel refuses, goes on reaping.
fn end_machine(end: End) -> ! {
    let command_line = file::read_text("/proc/cmdline").unwrap_or_default();
    let error = machine::end(ending::as_the_machine_can(end, &command_line));
    log::failure(&format_args!("cannot end the machine: {error}"));
    loop {
        while let process::Reaped::Child(..) = process::reap_any() {}
        thread::sleep(REST);
    }
}

/// Carries out a step such that a panic costs that step alone.
fn guarded<T>(step: impl FnOnce() -> T) -> Option<T> {
    // Sound: what a panic leaves half done is state of our own, which each step looks at anew.
    catch_unwind(AssertUnwindSafe(step)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_init_asks_for_process_1_and_the_name_alone_does_not_elsewhere() {
        let asked = |words: &[&str]| is_asked_for(words.iter().map(OsString::from));
        assert!(asked(&["smolvm-guest-agent", "init"]));
        assert!(!asked(&["smolvm-guest-agent"]));
        assert!(!asked(&["smolvm-guest-agent", "--listen", "init"]));
        assert!(!asked(&["/init"]));
        assert!(!asked(&[]));
    }

    #[test]
    fn supervision_goes_on_after_a_panic_and_after_a_failure() {
        let mut tries = 0;
        let step = || {
            tries += 1;
            match tries {
                1 => panic!("a step that fails unexpectedly"),
                2 => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(End::Restart),
            }
        };
        assert_eq!(until_it_succeeds(step, Duration::ZERO), End::Restart);
        assert_eq!(tries, 3);
        assert_eq!(guarded(|| panic!("another one")), None::<()>);
    }

    #[test]
    fn another_init_gets_the_kernels_words_and_not_ours() {
        let left = |words: &[&str]| -> Vec<OsString> {
            words_for_an_init(words.iter().map(OsString::from)).collect()
        };
        assert_eq!(left(&["/init", "single", "init"]), ["single", "init"]);
        assert_eq!(left(&["smolvm-guest-agent", "init", "3"]), ["3"]);
        assert!(left(&[]).is_empty());
    }
}
