//! A [`Request`] as the payload of its frame, as a host sends it: compact, in ASCII, members that
//! are absent left out.

use super::{
    Destination, GetFileRequest, GetTreeRequest, Leftovers, PutFileRequest, PutTreeRequest,
    Request, RunRequest, Shell, ShutdownMode, Until,
};
use crate::PROTOCOL_VERSION;
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
            Self::GetFile(GetFileRequest { path }) => {
                json.push_str(",\"op\":\"get_file\"");
                push_member(&mut json, "path", &json_string_of(path));
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
        }
        json.push('}');
        json
    }
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
    if let Until::Exit(leftovers) = run.until {
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
    if let Ok(Destination { path, name, mode }) = &put.destination {
        push_member(json, "path", &json_string_of(path));
        if let Some(name) = name {
            push_member(json, "name", &json_string_of(name));
        }
        if let Some(mode) = mode {
            push_member(json, "mode", &mode.to_string());
        }
    }
    push_member(json, "size", &put.size.to_string());
}
