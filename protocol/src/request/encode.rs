//! A [`Request`] as the payload of its frame, as a host sends it: compact, in ASCII, members that
//! are absent left out.

use super::{
    ConnectRequest, Control, Entropy, ExpectedSum, FollowingSum, GetFileRequest, GetTreeRequest,
    Leftovers, PutFileRequest, PutTreeRequest, Request, RunRequest, Shell, ShutdownMode, Target,
    Terminal, TerminalSize, Until,
};
use crate::PROTOCOL_VERSION;
use crate::response::signal_name;
use crate::text::json_string_of;
use std::fmt::Write as _;

impl Request {
    /// The request's JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"v\":{PROTOCOL_VERSION}");
        match self {
            Self::Ping => json.push_str(",\"op\":\"ping\""),
            Self::Run(run) => push_run(&mut json, run),
            Self::PutFile(put) => push_put_file(&mut json, put),
            Self::GetFile(GetFileRequest { path, sha256 }) => {
                json.push_str(",\"op\":\"get_file\"");
                push_member(&mut json, "path", &json_string_of(path));
                if *sha256 {
                    push_member(&mut json, "sha256", "true");
                }
            }
            Self::PutTree(PutTreeRequest { path, name }) => {
                json.push_str(",\"op\":\"put_tree\"");
                push_member(&mut json, "path", &json_string_of(path));
                if let Some(name) = name {
                    push_member(&mut json, "name", &json_string_of(name));
                }
            }
            Self::GetTree(GetTreeRequest { path }) => {
                json.push_str(",\"op\":\"get_tree\"");
                push_member(&mut json, "path", &json_string_of(path));
            }
            Self::Shutdown(mode) => {
                json.push_str(",\"op\":\"shutdown\"");
                let mode = match mode {
                    ShutdownMode::PowerOff => "\"poweroff\"",
                    ShutdownMode::Reboot => "\"reboot\"",
                };
                push_member(&mut json, "mode", mode);
            }
            Self::Timings => json.push_str(",\"op\":\"timings\""),
            Self::Connect(ConnectRequest { to }) => {
                json.push_str(",\"op\":\"connect\"");
                push_member(&mut json, "to", &json_string_of(&to.to_bytes()));
            }
            Self::SetClock(time) => {
                json.push_str(",\"op\":\"set_clock\"");
                push_member(&mut json, "unix_ns", &time.nanoseconds().to_string());
            }
            Self::Reseed(entropy) => push_reseed(&mut json, entropy),
        }
        json.push('}');
        json
    }
}

impl FollowingSum {
    /// The frame's JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{{\"sha256\":\"{}\"}}", self.0)
    }
}

impl Control {
    /// The frame's JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Signal(number) => {
                let name = signal_name(*number).map_or_else(|| number.to_string(), str::to_owned);
                format!("{{\"op\":\"signal\",\"signal\":\"{name}\"}}")
            }
            Self::Resize(size) => format!("{{\"op\":\"resize\",{}}}", size_members(*size)),
        }
    }
}

impl Target {
    /// As the request's `to` says it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Tcp { host, port } => {
                // A name that has brackets itself would lose them without.
                let (open, close) = if host.contains(&b':') || host.starts_with(b"[") {
                    ("[", "]")
                } else {
                    ("", "")
                };
                let port = format!("{close}:{port}");
                [b"tcp:", open.as_bytes(), host, port.as_bytes()].concat()
            }
            Self::Unix { path } => [b"unix:".as_slice(), path].concat(),
        }
    }
}

fn size_members(TerminalSize { rows, cols }: TerminalSize) -> String {
    format!("\"rows\":{rows},\"cols\":{cols}")
}

fn push_reseed(json: &mut String, entropy: &Entropy) {
    json.push_str(",\"op\":\"reseed\",\"entropy\":\"");
    for byte in entropy.bytes() {
        let _ = write!(json, "{byte:02x}");
    }
    json.push('"');
}

fn push_member(json: &mut String, name: &str, value: &str) {
    let _ = write!(json, ",\"{name}\":{value}");
}

fn push_run(json: &mut String, run: &RunRequest) {
    json.push_str(",\"op\":\"run\"");
    if run.argv.is_empty() {
        push_member(json, "cmd", &json_string_of(&run.command));
        let shell = match run.shell {
            Shell::Login => "\"login\"",
            Shell::Raw => "\"raw\"",
        };
        push_member(json, "shell", shell);
    } else {
        let argv: Vec<String> = run.argv.iter().map(|entry| json_string_of(entry)).collect();
        push_member(json, "argv", &format!("[{}]", argv.join(",")));
    }
    if !run.directory.is_empty() {
        push_member(json, "cwd", &json_string_of(&run.directory));
    }
    if !run.user.is_empty() {
        push_member(json, "user", &json_string_of(&run.user));
    }
    // A terminal implies it.
    if let (Until::Exit(leftovers), None) = (run.until, &run.terminal) {
        push_member(json, "until", "\"exit\"");
        let leftovers = match leftovers {
            Leftovers::Keep => "\"keep\"",
            Leftovers::Kill => "\"kill\"",
        };
        push_member(json, "leftovers", leftovers);
    }
    if run.usage {
        push_member(json, "usage", "true");
    }
    match &run.terminal {
        Some(Terminal { size, term }) => {
            let term = json_string_of(term);
            let pty = format!("{{{},\"term\":{term}}}", size_members(*size));
            push_member(json, "pty", &pty);
        }
        None if run.stdin => push_member(json, "stdin", "true"),
        None => {}
    }
    if let Some(timeout) = run.timeout {
        push_member(json, "timeout", &format!("{:?}", timeout.seconds()));
    }
    if !run.environment.is_empty() {
        let entries: Vec<String> = run
            .environment
            .iter()
            .map(|(name, value)| format!("{}:{}", json_string_of(name), json_string_of(value)))
            .collect();
        push_member(json, "env", &format!("{{{}}}", entries.join(",")));
    }
}

fn push_put_file(json: &mut String, put: &PutFileRequest) {
    json.push_str(",\"op\":\"put_file\"");
    if let Ok(to) = &put.destination {
        push_member(json, "path", &json_string_of(&to.path));
        if let Some(name) = &to.name {
            push_member(json, "name", &json_string_of(name));
        }
        for (name, number) in [
            ("mode", to.mode),
            ("uid", to.owner.uid),
            ("gid", to.owner.gid),
        ] {
            if let Some(number) = number {
                push_member(json, name, &number.to_string());
            }
        }
        match to.sha256 {
            None => {}
            Some(ExpectedSum::Given(sum)) => push_member(json, "sha256", &format!("\"{sum}\"")),
            Some(ExpectedSum::Follows) => push_member(json, "sha256", "\"follows\""),
        }
        if to.sync {
            push_member(json, "sync", "true");
        }
    }
    push_member(json, "size", &put.size.to_string());
}
