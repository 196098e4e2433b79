//! Requests as types, and the sentence of each refusal.
//!
//! Owns what a request may say (`docs/protocol.md`, "Request"): [`Request::parse`] for the agent,
//! `to_json` for a host. Refuses to look at the file system or to start anything: a request that
//! parses may still fail in the guest. A `put_file` whose size is valid always parses, since its
//! payload follows whatever is wrong with the rest.

mod encode;
mod environment;
pub(crate) mod parse;
mod resume;
mod run;
mod stream;

use crate::checksum::Checksum;
use crate::response::Refusal;
use std::time::Duration;

pub use environment::MAX_ENVIRONMENT_ENTRIES;
pub use resume::{ENTROPY_BYTES, Entropy, UnixTime};
pub use run::MAX_ARGUMENTS;

/// What a host asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Is the agent there, and which one is it?
    Ping,
    /// Run a command and stream its output.
    Run(RunRequest),
    /// Store a file in the guest.
    PutFile(PutFileRequest),
    /// Fetch a file from the guest.
    GetFile(GetFileRequest),
    /// Store a tree of files in the guest.
    PutTree(PutTreeRequest),
    /// Fetch a tree of files from the guest.
    GetTree(GetTreeRequest),
    /// End the guest.
    Shutdown(ShutdownMode),
    /// When was what done while the guest booted?
    Timings,
    /// Connect to a socket in the guest, and carry its stream.
    Connect(ConnectRequest),
    /// Set the guest's clock.
    SetClock(UnixTime),
    /// Give the guest's generator of random numbers fresh bytes.
    Reseed(Entropy),
}

/// A control frame from the host that follows its request (`run_signal`, `run_pty`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Send that signal to the command: 1 to 31.
    Signal(u8),
    /// The terminal has another size.
    Resize(TerminalSize),
}

/// Why a control frame that follows its request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlError {
    /// The reason.
    pub refusal: Refusal,
    /// Whether it is a `signal` or a `resize` at all.
    pub is_control: bool,
}

/// The most payload that a control frame after its request may have, in bytes.
pub const MAX_CONTROL_BYTES: usize = 4096;

/// Payload of DATA that a host may have under way to a command's input or a forwarded stream: sent,
/// and not credited, in bytes.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// The most rows or columns of a terminal.
pub const MAX_CELLS: u16 = 10_000;

/// The most bytes of a host's name, as DNS has it.
const MAX_HOST_BYTES: usize = 253;

/// The most bytes of a Unix socket's path (`unix(7)`).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// `TERM` where a request for a terminal says none.
const DEFAULT_TERM: &[u8] = b"xterm";

/// How a guest ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShutdownMode {
    /// It powers off.
    #[default]
    PowerOff,
    /// It starts anew.
    Reboot,
}

/// Variables by name, in the order given.
pub type Environment = Vec<(Vec<u8>, Vec<u8>)>;

/// A command to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRequest {
    /// The command line, interpreted by the shell; empty where there is `argv` alone.
    pub command: Vec<u8>,
    /// Which shell interprets it.
    pub shell: Shell,
    /// When the command's process group is killed.
    pub timeout: Option<Timeout>,
    /// Variables on top of the agent's own; a later entry of a name wins.
    pub environment: Environment,
    /// A program and its arguments, in place of `command` and `shell` where it is not empty
    /// (`run_argv`).
    pub argv: Vec<Vec<u8>>,
    /// The working directory; where it is empty, the agent's own (`run_cwd`).
    pub directory: Vec<u8>,
    /// Whom it runs as, `NAME` or `UID` with perhaps a `:GROUP`; where it is empty, as the agent
    /// (`run_user`).
    pub user: Vec<u8>,
    /// Whether the answer tells the signal and what was used (`run_usage`).
    pub usage: bool,
    /// When it is over (`run_until_exit`); with a terminal always at its exit.
    pub until: Until,
    /// Whether DATA that follows the request is its standard input (`run_stdin`); with a terminal
    /// always so.
    pub stdin: bool,
    /// The terminal that it gets (`run_pty`).
    pub terminal: Option<Terminal>,
}

impl RunRequest {
    /// Whether it asks for an addition, which other agents do not know and answers tell more of.
    #[must_use]
    pub fn uses_additions(&self) -> bool {
        !self.argv.is_empty()
            || !self.directory.is_empty()
            || !self.user.is_empty()
            || self.usage
            || self.until != Until::Eof
            || self.stdin
    }
}

/// A terminal for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its size.
    pub size: TerminalSize,
    /// What the command gets as `TERM`, never empty.
    pub term: Vec<u8>,
}

/// A terminal's size in characters, each from 1 to [`MAX_CELLS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub cols: u16,
}

/// A stream to carry (`connect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Its other end.
    pub to: Target,
}

/// A socket to connect to, in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TCP.
    Tcp {
        /// A name, or an address without brackets.
        host: Vec<u8>,
        /// 1 or more.
        port: u16,
    },
    /// A Unix stream socket.
    Unix {
        /// At most [`MAX_SOCKET_PATH_BYTES`].
        path: Vec<u8>,
    },
}

/// When a command is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When it has exited and nobody has its output open any more.
    #[default]
    Eof,
    /// When it has exited.
    Exit(Leftovers),
}

/// What becomes of the rest of a command's group at its exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// It lives on.
    #[default]
    Keep,
    /// It is killed.
    Kill,
}

/// How a command line is interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// `$SHELL -lc`, as a login over SSH would.
    #[default]
    Login,
    /// `/bin/sh -c`.
    Raw,
}

/// A command's time limit: positive and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeout {
    seconds: f64,
}

impl Timeout {
    /// A limit of `seconds`, fractions allowed; `None` where that is not positive and finite.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        (seconds > 0.0 && seconds.is_finite()).then_some(Self { seconds })
    }

    /// The limit in seconds, as the answer repeats it.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.seconds
    }

    /// The limit for a clock; `None` where it is too long for one, which means no limit.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds).ok()
    }
}

/// A file to store.
#[derive(Clone, Debug, PartialEq)]
pub struct PutFileRequest {
    /// Bytes of payload that follow the request.
    pub size: u64,
    /// Where they go, or why they go nowhere; the payload is read either way.
    pub destination: Result<Destination, Refusal>,
}

/// Where an uploaded file goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// Target file or directory, never empty.
    pub path: Vec<u8>,
    /// The name within `path` where that is a directory.
    pub name: Option<Vec<u8>>,
    /// Permission bits (at most 0o7777) of the new file; absent leaves 0600.
    pub mode: Option<u32>,
    /// What the bytes' sum must be for them to be stored.
    pub sha256: Option<ExpectedSum>,
    /// The user and the group that the new file gets, each where it is there (`file_owner`).
    pub owner: Owner,
    /// Whether the file is on disk, and its name too, before the answer (`put_sync`).
    pub sync: bool,
}

/// The sum that the bytes of an upload must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedSum {
    /// This one (`sha256`).
    Given(Checksum),
    /// One that the host says behind the bytes, by a frame with a [`FollowingSum`] (`sha256_follows`).
    Follows,
}

/// The frame behind an upload whose sum follows; at most [`MAX_CONTROL_BYTES`] of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowingSum(pub Checksum);

/// Whose a file becomes; what is absent stays the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user's number, [`MAX_ID`] at most.
    pub uid: Option<u32>,
    /// The group's number, [`MAX_ID`] at most.
    pub gid: Option<u32>,
}

/// The largest number of a user or group: the one above means "as it is" to `chown(2)`.
pub const MAX_ID: u32 = u32::MAX - 1;

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetFileRequest {
    /// The file, as given; never empty.
    pub path: Vec<u8>,
    /// Whether the bytes' sum follows them (`sha256`).
    pub sha256: bool,
}

/// A tree to store; its entries follow the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutTreeRequest {
    /// Where the root goes, or the directory that it goes into; never empty.
    pub path: Vec<u8>,
    /// The root's name within `path` where that is a directory; without one, a root that is a
    /// directory is `path` itself.
    pub name: Option<Vec<u8>>,
}

/// A tree to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetTreeRequest {
    /// Its root, as given; never empty.
    pub path: Vec<u8>,
}
