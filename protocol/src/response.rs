//! The agent's answers, byte for byte as hosts in the field know them.
//!
//! Owns each answer's members, their order and their spacing, which are those of Python's
//! `json.dumps`. Frames of output and files are not here: they are raw bytes.

use crate::PROTOCOL_VERSION;
use crate::checksum::Checksum;
use crate::python_scalar::{float, json_string};
use crate::text::{json_string_of, word};
use std::fmt;

/// Why a request is not served: one sentence for the host's user.
///
/// Behind a pointer, since nearly every function here may return one: each place that hands one on moves
/// a word instead of six.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Reason>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    sentence: String,
    of_run: bool,
    errno: Option<&'static str>,
}

impl Refusal {
    /// A refusal with its sentence.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Self::of(sentence.into())
    }

    #[inline(never)]
    fn of(sentence: String) -> Self {
        Self(Box::new(Reason {
            sentence,
            of_run: false,
            errno: None,
        }))
    }

    /// The same as an answer to `run`, which carries `"op": "error"`.
    #[must_use]
    pub fn of_run(mut self) -> Self {
        self.0.of_run = true;
        self
    }

    /// The same with the name of the operating system's error, such as `ENOENT`, where that is known.
    #[must_use]
    pub fn with_errno(mut self, errno: Option<&'static str>) -> Self {
        self.0.errno = errno;
        self
    }

    /// What was wrong and, where that helps, what to do.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.0.sentence
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}

/// What a command has used, with those of its children that it has waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of its own, in milliseconds.
    pub user_ms: u64,
    /// Processor time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// The most that was resident of one process, in KiB.
    pub max_rss_kib: u64,
}

/// What an answer to `run` tells besides, where it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndingDetails {
    /// Whether somebody had the output open still when the command exited.
    pub output_open: Option<bool>,
    /// What was used, and the number of the signal that killed the command, if one did.
    pub usage: Option<(Option<u8>, Usage)>,
    /// Why control frames were not carried out, [`MAX_REFUSED`] at most.
    pub refused: Vec<String>,
}

/// How many refused control frames an answer tells of.
pub const MAX_REFUSED: usize = 8;

/// Linux's signals from 1 on, in order; the same on all of our architectures.
const SIGNALS: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
    TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// A signal's name without `SIG`.
#[must_use]
pub fn signal_name(number: u8) -> Option<&'static str> {
    word(SIGNALS, usize::from(number))
}

/// The number of the signal of that name.
pub(crate) fn signal_number(name: &[u8]) -> Option<u8> {
    (1..=31).find(|number| signal_name(*number).is_some_and(|each| each.as_bytes() == name))
}

impl EndingDetails {
    /// The members that end the answer, and its brace.
    fn push_to(&self, mut json: String) -> String {
        if let Some(open) = self.output_open {
            json.push_str(match open {
                true => ", \"output_open\": true",
                false => ", \"output_open\": false",
            });
        }
        if let Some((signal, usage)) = self.usage {
            if let Some(signal) = signal {
                let number = u64::from(signal).to_string();
                let name = signal_name(signal);
                for part in [", \"signal\": \"", name.unwrap_or(&number), "\""] {
                    json.push_str(part);
                }
            }
            for (name, value) in [
                (", \"usage\": {\"user_ms\": ", usage.user_ms),
                (", \"system_ms\": ", usage.system_ms),
                (", \"max_rss_kib\": ", usage.max_rss_kib),
            ] {
                json.push_str(name);
                json.push_str(&value.to_string());
            }
            json.push('}');
        }
        if !self.refused.is_empty() {
            json.push_str(", \"refused\": [");
            json.push_str(&joined(self.refused.iter().map(|each| json_string(each))));
            json.push(']');
        }
        json.push('}');
        json
    }
}

/// A control frame from the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Response<'a> {
    /// To `ping`.
    Pong {
        /// Version of the agent's program.
        agent_version: &'a str,
        /// What the agent serves beyond version 1 as it began.
        features: &'a [&'a str],
    },
    /// The request is not served.
    Refused(&'a Refusal),
    /// A command has ended.
    Exit {
        /// Its exit status, or minus the number of the signal that killed it.
        exit_code: i32,
        /// What was asked for besides.
        more: EndingDetails,
    },
    /// A command was killed at its deadline.
    TimedOut {
        /// The request's time limit, repeated.
        seconds: f64,
        /// What was asked for besides.
        more: EndingDetails,
    },
    /// A file is stored.
    Stored,
    /// A file's content follows.
    File {
        /// Permission bits, 0o7777 at most.
        mode: u32,
        /// What `stat` says; the content may be longer or shorter.
        size: u64,
    },
    /// All of a file's content was sent.
    FileSent {
        /// The sum of what was sent.
        sha256: Checksum,
        /// How many bytes that were.
        size: u64,
    },
    /// A tree is stored, or all of it was sent.
    Tree {
        /// How many entries there were, the root included, without what was left out.
        entries: u64,
        /// The first paths that were left out, [`crate::tree::MAX_SKIPPED_SHOWN`] at most.
        skipped: &'a [Vec<u8>],
    },
    /// The guest will end.
    ShuttingDown,
    /// A stream is open.
    Connected,
    /// So many bytes more of input have been handed on; no answer, and without `ok`.
    Credit(usize),
    /// When things were done, by name: microseconds since the kernel started.
    Timings(&'a [(&'a str, u64)]),
    /// The clock is right.
    Clock {
        /// Whether it had to be set.
        stepped: bool,
        /// The host's time minus the guest's before.
        offset_ns: i64,
    },
    /// The generator of random numbers has taken the bytes.
    Reseeded,
}

impl Response<'_> {
    /// The payload of the answer's frame.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Pong {
                agent_version,
                features,
            } => format!(
                "{{\"ok\": true, \"op\": \"pong\", \"agent_version\": {}, \"proto\": {PROTOCOL_VERSION}, \"features\": [{}]}}",
                json_string(agent_version),
                joined(features.iter().map(|feature| json_string(feature)))
            ),
            Self::Refused(refusal) => [
                "{\"ok\": false, ",
                if refusal.0.of_run {
                    "\"op\": \"error\", "
                } else {
                    ""
                },
                "\"error\": ",
                &json_string(refusal.sentence()),
                &match refusal.0.errno {
                    Some(errno) => [", \"errno\": \"", errno, "\""].concat(),
                    None => String::new(),
                },
                "}",
            ]
            .concat(),
            Self::Exit { exit_code, more } => more.push_to(format!(
                "{{\"ok\": true, \"op\": \"exit\", \"exit_code\": {exit_code}"
            )),
            Self::TimedOut { seconds, more } => more.push_to(format!(
                "{{\"ok\": true, \"op\": \"timeout\", \"timeout\": {}",
                float(*seconds)
            )),
            Self::Stored | Self::ShuttingDown | Self::Connected | Self::Reseeded => {
                "{\"ok\": true}".to_owned()
            }
            Self::Credit(bytes) => format!("{{\"op\": \"credit\", \"bytes\": {bytes}}}"),
            Self::File { mode, size } => {
                format!("{{\"ok\": true, \"mode\": {mode}, \"size\": {size}}}")
            }
            Self::FileSent { sha256, size } => {
                format!("{{\"ok\": true, \"sha256\": \"{sha256}\", \"size\": {size}}}")
            }
            Self::Tree { entries, skipped } => format!(
                "{{\"ok\": true, \"entries\": {entries}, \"skipped\": [{}]}}",
                joined(skipped.iter().map(|path| json_string_of(path)))
            ),
            Self::Timings(timings) => {
                let members = timings
                    .iter()
                    .map(|(name, microseconds)| format!("{}: {microseconds}", json_string(name)));
                format!("{{\"ok\": true, \"timings\": {{{}}}}}", joined(members))
            }
            Self::Clock { stepped, offset_ns } => {
                format!("{{\"ok\": true, \"stepped\": {stepped}, \"offset_ns\": {offset_ns}}}")
            }
        }
    }
}

/// Elements of an array or members of an object, spaced as Python does.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let mut joined = String::new();
    for part in parts {
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(&part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(signal: Option<u8>) -> EndingDetails {
        let usage = Usage {
            user_ms: 1,
            system_ms: 2,
            max_rss_kib: 3,
        };
        EndingDetails {
            output_open: signal.map(|_| true),
            usage: Some((signal, usage)),
            refused: Vec::new(),
        }
    }

    #[test]
    fn signals_are_named_and_those_without_a_name_numbered() {
        for (number, name) in [
            (1, "HUP"),
            (9, "KILL"),
            (15, "TERM"),
            (31, "SYS"),
            (34, "34"),
        ] {
            let json = used(Some(number)).push_to(String::new());
            assert!(
                json.starts_with(&format!(", \"output_open\": true, \"signal\": \"{name}\"")),
                "{json}"
            );
        }
    }

    #[test]
    fn answers_are_byte_for_byte_those_of_the_field() {
        let refusal = Refusal::new("no 'é'");
        for (response, json) in [
            (
                Response::Pong {
                    agent_version: "1.0",
                    features: &["a", "b"],
                },
                r#"{"ok": true, "op": "pong", "agent_version": "1.0", "proto": 1, "features": ["a", "b"]}"#,
            ),
            (
                Response::Refused(&refusal),
                r#"{"ok": false, "error": "no '\u00e9'"}"#,
            ),
            (
                Response::Refused(&refusal.clone().of_run()),
                r#"{"ok": false, "op": "error", "error": "no '\u00e9'"}"#,
            ),
            (
                Response::Refused(&refusal.clone().of_run().with_errno(Some("ENOENT"))),
                r#"{"ok": false, "op": "error", "error": "no '\u00e9'", "errno": "ENOENT"}"#,
            ),
            (
                Response::Exit {
                    exit_code: -9,
                    more: EndingDetails::default(),
                },
                r#"{"ok": true, "op": "exit", "exit_code": -9}"#,
            ),
            (
                Response::TimedOut {
                    seconds: 1.0,
                    more: EndingDetails::default(),
                },
                r#"{"ok": true, "op": "timeout", "timeout": 1.0}"#,
            ),
            (
                Response::Exit {
                    exit_code: 0,
                    more: used(None),
                },
                r#"{"ok": true, "op": "exit", "exit_code": 0, "usage": {"user_ms": 1, "system_ms": 2, "max_rss_kib": 3}}"#,
            ),
            (
                Response::TimedOut {
                    seconds: 1.0,
                    more: used(Some(9)),
                },
                r#"{"ok": true, "op": "timeout", "timeout": 1.0, "output_open": true, "signal": "KILL", "usage": {"user_ms": 1, "system_ms": 2, "max_rss_kib": 3}}"#,
            ),
            (Response::Stored, r#"{"ok": true}"#),
            (
                Response::Tree {
                    entries: 3,
                    skipped: &[b"a\xff".to_vec(), b"b".to_vec()],
                },
                r#"{"ok": true, "entries": 3, "skipped": ["a\udcff", "b"]}"#,
            ),
            (
                Response::FileSent {
                    sha256: Checksum([0xa5; 32]),
                    size: 7,
                },
                r#"{"ok": true, "sha256": "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", "size": 7}"#,
            ),
            (Response::ShuttingDown, r#"{"ok": true}"#),
            (Response::Connected, r#"{"ok": true}"#),
            (
                Response::Credit(65_536),
                r#"{"op": "credit", "bytes": 65536}"#,
            ),
            (
                Response::Exit {
                    exit_code: 0,
                    more: EndingDetails {
                        output_open: Some(false),
                        usage: None,
                        refused: vec!["no 'é'".into(), "b".into()],
                    },
                },
                r#"{"ok": true, "op": "exit", "exit_code": 0, "output_open": false, "refused": ["no '\u00e9'", "b"]}"#,
            ),
            (
                Response::Timings(&[("a_us", 1), ("b_us", 20)]),
                r#"{"ok": true, "timings": {"a_us": 1, "b_us": 20}}"#,
            ),
            (
                Response::Clock {
                    stepped: true,
                    offset_ns: -5,
                },
                r#"{"ok": true, "stepped": true, "offset_ns": -5}"#,
            ),
            (Response::Reseeded, r#"{"ok": true}"#),
            (
                Response::File { mode: 420, size: 7 },
                r#"{"ok": true, "mode": 420, "size": 7}"#,
            ),
        ] {
            assert_eq!(response.to_json(), json);
        }
    }
}
