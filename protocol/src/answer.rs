//! The agent's answers as a host reads them.
//!
//! Owns the reading of a control frame from an agent, today's and ours alike. Unknown members are
//! ignored; text that is no UTF-8 is shown as U+FFFD.

use crate::checksum::Checksum;
use crate::json::{self, Json, present};
use crate::response::Usage;
use crate::text::{self, shown};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// A control frame from the agent; a member that the answer has not is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the request was served.
    pub ok: bool,
    /// `pong`, `exit`, `timeout` or `error`.
    pub op: Option<String>,
    /// Why it was not served.
    pub error: Option<String>,
    /// The name of the operating system's error behind that, such as `ENOENT`.
    pub errno: Option<String>,
    /// A command's exit status, or minus the number of the signal that killed it.
    pub exit_code: Option<i32>,
    /// Whether somebody had the output open still when the command exited.
    pub output_open: Option<bool>,
    /// The name of the signal that killed it, without `SIG`.
    pub signal: Option<String>,
    /// What it has used.
    pub usage: Option<Usage>,
    /// Why control frames were not carried out; empty where all were.
    pub refused: Vec<String>,
    /// The time limit in seconds that a command overran.
    pub timeout: Option<f64>,
    /// Version of the agent's program.
    pub agent_version: Option<String>,
    /// Version of the protocol that the agent speaks.
    pub proto: Option<u32>,
    /// What the agent serves beyond version 1 as it began; empty where it tells none.
    pub features: Vec<String>,
    /// When things were done, by name: microseconds since the guest's kernel started.
    pub timings: Option<BTreeMap<String, u64>>,
    /// A file's permission bits.
    pub mode: Option<u32>,
    /// A file's size in bytes as `stat` says.
    pub size: Option<u64>,
    /// The SHA-256 sum of a file's content.
    pub sha256: Option<Checksum>,
    /// How many entries of a tree were stored or sent, the root included.
    pub entries: Option<u64>,
    /// The first paths of a tree that were left out; empty where there is none.
    pub skipped: Vec<Vec<u8>>,
    /// Whether the guest's clock had to be set.
    pub stepped: Option<bool>,
    /// By how much it was behind, in nanoseconds; negative where it was ahead.
    pub offset_ns: Option<i64>,
}

/// Why a control frame is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerError {
    reason: String,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "answer is no control message: {}", self.reason)
    }
}

impl std::error::Error for AnswerError {}

/// A control frame from the agent: its answer, or what comes before that.
#[derive(Clone, Debug, PartialEq)]
pub enum FromAgent {
    /// So many bytes more of input have been handed on.
    Credit(usize),
    /// The answer.
    Answer(Box<Answer>),
}

impl FromAgent {
    /// Parses the payload of a JSON frame: one without `ok` and with `"op": "credit"` is credit.
    ///
    /// # Errors
    /// [`AnswerError`] as [`Answer::parse`].
    pub fn parse(payload: &[u8]) -> Result<Self, AnswerError> {
        let json = std::str::from_utf8(payload).map_err(|error| broken(&error))?;
        let [ok, op, bytes] = json::members(json, "ok op bytes").map_err(|error| broken(&error))?;
        if ok.is_none() && string("op", op)?.as_deref() == Some("credit") {
            return number("bytes", bytes)?
                .map(Self::Credit)
                .ok_or_else(|| broken(&"'bytes' is missing"));
        }
        Answer::parse(payload).map(|answer| Self::Answer(Box::new(answer)))
    }
}

impl Answer {
    /// Parses the payload of a JSON frame.
    ///
    /// # Errors
    /// [`AnswerError`] where it is no JSON object with a boolean `ok`, or a member has another type
    /// than it should.
    pub fn parse(payload: &[u8]) -> Result<Self, AnswerError> {
        let json = std::str::from_utf8(payload).map_err(|error| broken(&error))?;
        let names = "ok op error errno exit_code output_open signal usage refused timeout agent_version proto \
            features timings mode size sha256 entries skipped stepped offset_ns";
        let [
            ok,
            op,
            error,
            errno,
            exit_code,
            output_open,
            signal,
            usage,
            refused,
            timeout,
            agent_version,
            proto,
            features,
            timings,
            mode,
            size,
            sha256,
            entries,
            skipped,
            stepped,
            offset_ns,
        ] = json::members(json, names).map_err(|error| broken(&error))?;
        let ok = match ok.map(Json::get) {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(broken(&"'ok' is no boolean")),
        };
        Ok(Self {
            ok,
            op: string("op", op)?,
            error: string("error", error)?,
            errno: string("errno", errno)?,
            exit_code: number("exit_code", exit_code)?,
            output_open: number("output_open", output_open)?,
            signal: string("signal", signal)?,
            usage: collection::<BTreeMap<String, u64>>("usage", usage)?.map(|of| {
                let named = |name| of.get(name).copied().unwrap_or_default();
                Usage {
                    user_ms: named("user_ms"),
                    system_ms: named("system_ms"),
                    max_rss_kib: named("max_rss_kib"),
                }
            }),
            refused: collection("refused", refused)?.unwrap_or_default(),
            timeout: number("timeout", timeout)?,
            agent_version: string("agent_version", agent_version)?,
            proto: number("proto", proto)?,
            features: collection("features", features)?.unwrap_or_default(),
            timings: collection("timings", timings)?,
            mode: number("mode", mode)?,
            size: number("size", size)?,
            sha256: present(sha256)
                .map(|sum| {
                    Checksum::from_hex(&bytes("sha256", sum)?)
                        .ok_or_else(|| broken(&"'sha256' is no SHA-256 sum"))
                })
                .transpose()?,
            entries: number("entries", entries)?,
            skipped: match present(skipped) {
                Some(paths) => paths
                    .elements()
                    .ok_or_else(|| broken(&"'skipped' is no array"))?
                    .map(|path| bytes("skipped", path))
                    .collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
            stepped: number("stepped", stepped)?,
            offset_ns: number("offset_ns", offset_ns)?,
        })
    }
}

fn broken(reason: &dyn fmt::Display) -> AnswerError {
    AnswerError {
        reason: reason.to_string(),
    }
}

fn string(member: &str, value: Option<Json<'_>>) -> Result<Option<String>, AnswerError> {
    present(value)
        .map(|value| bytes(member, value).map(|bytes| shown(&bytes)))
        .transpose()
}

fn bytes(member: &str, value: Json<'_>) -> Result<Vec<u8>, AnswerError> {
    text::bytes_of(value).map_err(|error| broken(&format_args!("'{member}' {error}")))
}

fn number<N: std::str::FromStr>(
    member: &str,
    value: Option<Json<'_>>,
) -> Result<Option<N>, AnswerError> {
    present(value)
        .map(|value| {
            value
                .get()
                .parse()
                .map_err(|_| broken(&format_args!("'{member}' is no such number")))
        })
        .transpose()
}

/// An array or an object of plain values.
fn collection<'answer, T: Deserialize<'answer>>(
    member: &str,
    value: Option<Json<'answer>>,
) -> Result<Option<T>, AnswerError> {
    present(value)
        .map(|value| {
            serde_json::from_str(value.get())
                .map_err(|error| broken(&format_args!("'{member}': {error}")))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_unknown_members_ignored() {
        let answer =
            Answer::parse(br#"{"ok": true, "op": "exit", "exit_code": -9, "x": {}}"#).unwrap();
        assert_eq!(
            answer,
            Answer {
                ok: true,
                op: Some("exit".into()),
                exit_code: Some(-9),
                ..Answer::default()
            }
        );
        let answer =
            Answer::parse(br#"{"ok": true, "signal": "KILL", "usage": {"user_ms": 7, "x_ms": 1}}"#)
                .unwrap();
        assert_eq!(answer.signal.as_deref(), Some("KILL"));
        assert_eq!(answer.usage.map(|usage| usage.user_ms), Some(7));
        let answer =
            Answer::parse(br#"{"ok": true, "features": ["a"], "timings": {"b_us": 7}}"#).unwrap();
        assert_eq!(answer.features, ["a"]);
        assert_eq!(answer.timings, Some([("b_us".to_owned(), 7)].into()));
        let answer = Answer::parse(br#"{"ok": true, "stepped": false, "offset_ns": -7}"#).unwrap();
        assert_eq!((answer.stepped, answer.offset_ns), (Some(false), Some(-7)));
        let sum = Checksum([0xa5; 32]);
        let answer = Answer::parse(format!(r#"{{"ok": true, "sha256": "{sum}"}}"#).as_bytes());
        assert_eq!(answer.unwrap().sha256, Some(sum));
        let answer = Answer::parse(br#"{"ok": false, "error": "no \udc80"}"#).unwrap();
        assert_eq!(answer.error.as_deref(), Some("no \u{fffd}"));
    }

    #[test]
    fn credit_is_told_from_an_answer() {
        let parse = |json: &str| FromAgent::parse(json.as_bytes());
        assert_eq!(
            parse(r#"{"op": "credit", "bytes": 65536}"#),
            Ok(FromAgent::Credit(65536))
        );
        for answer in [
            r#"{"ok": true, "refused": ["a"]}"#,
            r#"{"ok": true, "op": "credit", "bytes": 1}"#,
        ] {
            assert!(
                matches!(parse(answer), Ok(FromAgent::Answer(_))),
                "{answer}"
            );
        }
        for broken in [
            r#"{"op": "credit"}"#,
            r#"{"op": "credit", "bytes": -1}"#,
            r#"{"op": "x"}"#,
        ] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn frames_that_are_no_answers_are_errors() {
        for payload in [
            &b"[]"[..],
            b"{}",
            b"\xff",
            b"{\"ok\":1}",
            b"{\"ok\":true,\"exit_code\":\"0\"}",
            b"{\"ok\":true,\"sha256\":\"00\"}",
            b"{\"ok\":true,\"features\":[1]}",
            b"{\"ok\":true,\"skipped\":[1]}",
            b"{\"ok\":true,\"stepped\":1,\"offset_ns\":0}",
            b"{\"ok\":true,\"stepped\":true,\"offset_ns\":9223372036854775808}",
            b"{\"ok\":true,\"timings\":{\"a\":-1}}",
        ] {
            assert!(Answer::parse(payload).is_err());
        }
    }
}
