//! What a user of the guest tries who is not root; the cases of `within/privilege` start this as such a user.
//!
//! Owns the attempts, and tells how each went: a line `WHAT done`, or `WHAT` and the error's kind. Refuses to judge that,
//! since each is tried on what is that user's own, too, and is done there.

mod calls;
mod upload;

pub(crate) use calls::let_go_first;
pub(crate) use upload::TAMPERED;

use calls::{pidfd_getfd, push_key, read_memory, seize, signal};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vsock::{VsockListener, VsockStream};

/// How long somebody is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// How far around the last process id the next ones are looked for.
const NUMBERS_AROUND: i32 = 8;

/// The name of the agent's thread that a child is of, until it executes its program.
const NAME_BEFORE_START: &str = "connection";

#[derive(clap::Subcommand)]
pub(crate) enum Attack {
    /// Tries to get at what a process has.
    Pry { pid: i32 },
    /// Stops the next process that becomes this user before it executes its program, and pries at it.
    Ambush,
    /// Tries to take a vsock address.
    Bind { cid: u32, port: u32 },
    /// Connects to a vsock address again and again, until the file `over` is there; fails where nobody closed a connection.
    Knock {
        cid: u32,
        port: u32,
        folder: PathBuf,
    },
    /// Connects to a Unix socket.
    Reach { path: PathBuf },
    /// Opens a file to read and to write.
    Open { path: PathBuf },
    /// Makes another name of a file.
    Keep { path: PathBuf, name: PathBuf },
    /// Tells what this process was given.
    Tell,
    /// Types a key on its own terminal.
    Push,
    /// Opens and keeps its own terminal, in a session of its own, until the file `over` is there.
    Hold { folder: PathBuf },
    /// Tries to write to each temporary file of an upload into a folder, until the file `over` is there.
    Tamper { folder: PathBuf },
    /// Puts links to a file in the place of those, and tells of each by a file, until the file `over` is there.
    Swap { folder: PathBuf, victim: PathBuf },
}

pub(crate) fn run(attack: Attack) -> ExitCode {
    match attack {
        Attack::Pry { pid } => pry(pid),
        Attack::Ambush => return ambush(),
        Attack::Bind { cid, port } => tell("bind", VsockListener::bind_with_cid_port(cid, port)),
        Attack::Knock { cid, port, folder } => return knock(cid, port, &folder),
        Attack::Reach { path } => tell("connect", UnixStream::connect(path)),
        Attack::Open { path } => {
            tell("read", open(&path, false));
            tell("write", open(&path, true));
        }
        Attack::Keep { path, name } => tell("link", fs::hard_link(path, name)),
        Attack::Tell => tell_all(),
        Attack::Push => tell("push", push_key()),
        Attack::Hold { folder } => hold(&folder),
        Attack::Tamper { folder } => upload::tamper(&folder),
        Attack::Swap { folder, victim } => upload::swap(&folder, &victim),
    }
    ExitCode::SUCCESS
}

fn tell<T>(what: &str, outcome: io::Result<T>) {
    match outcome {
        Ok(_) => println!("{what} done"),
        Err(error) => println!("{what} {:?}", error.kind()),
    }
}

/// Never waits, and makes nothing a terminal of this process.
fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(!writes)
        .write(writes)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
}

fn pry(pid: i32) {
    let of = |what: &str| PathBuf::from(format!("/proc/{pid}/{what}"));
    for what in ["environ", "mem", "maps", "auxv", "io"] {
        let opened = open(&of(what), false);
        // The memory's first page is nobody's.
        tell(
            what,
            opened.and_then(|mut file| {
                if what == "mem" {
                    Ok(0)
                } else {
                    file.read(&mut [0])
                }
            }),
        );
    }
    for what in ["cwd", "root", "exe"] {
        tell(what, fs::read_link(of(what)));
    }
    tell("descriptors", fs::read_dir(of("fd")));
    tell("descriptor", pidfd_getfd(pid, 0));
    tell("vm_readv", read_memory(pid));
    tell("oom_score", fs::write(of("oom_score_adj"), "1000"));
    // Ignored by who gets it. A session's processes may all send each other SIGCONT.
    tell("signal", signal(pid, libc::SIGURG));
    // The last: whoever is traced hears of its tracer's end.
    tell("ptrace", seize(pid));
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether a stopped process is one that has not executed its program.
fn has_not_started(pid: i32) -> bool {
    let deadline = Instant::now() + LIMIT;
    // It may run on, on another processor, until it hears of the signal.
    while Instant::now() < deadline {
        let stat = text(format!("/proc/{pid}/stat"));
        match stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
        {
            Some('T') => return text(format!("/proc/{pid}/comm")).trim_end() == NAME_BEFORE_START,
            None | Some('Z' | 'X') => return false,
            _ => {}
        }
    }
    false
}

fn ambush() -> ExitCode {
    println!("ready");
    let own = std::process::id() as i32;
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let last = text("/proc/loadavg");
        let Some(last) = last
            .split_ascii_whitespace()
            .last()
            .and_then(|last| last.parse::<i32>().ok())
        else {
            break;
        };
        for pid in last - NUMBERS_AROUND..=last + NUMBERS_AROUND {
            if pid <= own || signal(pid, libc::SIGSTOP).is_err() {
                continue;
            }
            let is_caught = has_not_started(pid);
            if is_caught {
                pry(pid);
            }
            let _ = signal(pid, libc::SIGKILL);
            if is_caught {
                return ExitCode::SUCCESS;
            }
        }
    }
    println!("nobody was caught");
    ExitCode::FAILURE
}

fn knock(cid: u32, port: u32, folder: &Path) -> ExitCode {
    let mut closed = 0;
    while !upload::is_over(folder) {
        // Where the queue is full, the kernel refuses, and the agent hears nothing of it.
        if let Ok(stream) = VsockStream::connect_with_cid_port(cid, port) {
            closed += usize::from(is_closed_unasked(stream));
        }
    }
    println!("closed {closed}");
    ExitCode::from(u8::from(closed == 0))
}

/// Whether the other side accepts a connection and closes it, though it was sent nothing.
fn is_closed_unasked(mut stream: VsockStream) -> bool {
    let read = stream
        .set_read_timeout(Some(LIMIT))
        .and_then(|()| stream.read(&mut [0]));
    match read {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

fn tell_all() {
    for line in text("/proc/self/status").lines() {
        let is_told = ["Uid", "Gid", "Groups", "Cap"]
            .iter()
            .any(|name| line.starts_with(name));
        if let (true, Some((name, value))) = (is_told, line.split_once(':')) {
            let words: Vec<_> = value.split_ascii_whitespace().collect();
            println!("{name} {}", words.join(","));
        }
    }
    // One of them is the listing's own.
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    println!("descriptors {}", descriptors - 1);
    let group = text("/proc/self/cgroup");
    let group = PathBuf::from(format!(
        "/sys/fs/cgroup{}",
        group.trim_end().trim_start_matches("0::")
    ));
    let own = std::process::id().to_string();
    tell("leave_group", fs::write("/sys/fs/cgroup/cgroup.procs", own));
    tell("kill_group", open(&group.join("cgroup.kill"), true));
    tell("vsock_device", open(Path::new("/dev/vsock"), false));
    tell("kernel_log", open(Path::new("/dev/kmsg"), true));
    tell("console", open(Path::new("/dev/console"), true));
}

fn hold(folder: &Path) {
    // Its parent leads a session, and a process group that this one is no leader of.
    let terminal = calls::leave_session().and_then(|()| fs::read_link("/proc/self/fd/0"));
    let opened = terminal.and_then(|path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(path)
    });
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(error) => return tell("hold", Err::<(), _>(error)),
    };
    let _ = fs::write(folder.join("held"), "");
    let outcome = upload::wait_for_over(folder).and_then(|()| opened.read(&mut [0; 64]));
    let found = match outcome {
        Ok(bytes) => bytes.to_string(),
        Err(error) => format!("{:?}", error.kind()),
    };
    let _ = fs::write(folder.join("written"), found);
    // Whoever waits for the file finds all of it.
    let _ = fs::rename(folder.join("written"), folder.join("found"));
}
