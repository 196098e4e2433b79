//! What streams need: a terminal, the control frames that follow a request, the target of a
//! forwarded stream.

use super::parse::{Members, required_bytes, unknown_operation};
use super::{
    ConnectRequest, Control, ControlError, DEFAULT_TERM, MAX_CELLS, MAX_HOST_BYTES,
    MAX_SOCKET_PATH_BYTES, Target, Terminal, TerminalSize,
};
use crate::json::Json;
use crate::python_scalar::quoted;
use crate::response::{Refusal, signal_number};
use crate::text::shown;
use std::fmt;
use std::str::FromStr;

/// Parses the members of a `connect`.
pub(super) fn connect(members: &Members<'_>) -> Result<ConnectRequest, Refusal> {
    match members.present("to") {
        Some(to) => Target::parse(&required_bytes("to", to)?).map(|to| ConnectRequest { to }),
        None => Err(Refusal::new("missing 'to'")),
    }
}

/// A terminal's size.
fn size(members: &Members<'_>) -> Result<TerminalSize, Refusal> {
    Ok(TerminalSize {
        rows: cells("rows", members.get("rows"))?,
        cols: cells("cols", members.get("cols"))?,
    })
}

impl Control {
    /// Parses the payload of a control frame that follows its request.
    ///
    /// # Errors
    /// Why it is not carried out, for the answer's `refused`.
    pub fn parse(payload: &[u8]) -> Result<Self, ControlError> {
        let unknown = |refusal| ControlError {
            refusal,
            is_control: false,
        };
        let members = Members::parse(payload).map_err(unknown)?;
        match members.operation().map_err(unknown)?.as_slice() {
            b"resize" => size(&members).map(Self::Resize),
            b"signal" => signal(&members).map(Self::Signal),
            _ => return Err(unknown(unknown_operation(members.get("op")))),
        }
        .map_err(|refusal| ControlError {
            refusal,
            is_control: true,
        })
    }
}

impl FromStr for Target {
    type Err = Refusal;

    fn from_str(to: &str) -> Result<Self, Refusal> {
        Self::parse(to.as_bytes())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(&self.to_bytes()))
    }
}

fn signal(members: &Members<'_>) -> Result<u8, Refusal> {
    let name = match members.present("signal") {
        Some(name) => required_bytes("signal", name)?,
        None => return Err(Refusal::new("missing 'signal'")),
    };
    signal_number(&name).ok_or_else(|| {
        let quoted = quoted(&shown(&name));
        Refusal::new(format!(
            "unknown signal {quoted}: use a name without SIG, such as 'TERM'"
        ))
    })
}

/// A terminal as an object says it.
pub(super) fn terminal(value: Json<'_>) -> Result<Terminal, Refusal> {
    if !value.get().starts_with('{') {
        return Err(Refusal::new(
            "'pty' must be an object with 'rows' and 'cols'",
        ));
    }
    let members = Members::parse(value.get().as_bytes())?;
    let size = size(&members)?;
    let term = match members.present("term") {
        Some(term) => required_bytes("term", term)?,
        None => DEFAULT_TERM.to_vec(),
    };
    if term.is_empty() || term.contains(&0) {
        return Err(Refusal::new("'term' is empty or has a NUL byte"));
    }
    Ok(Terminal { size, term })
}

/// A number of a terminal's rows or columns.
fn cells(member: &str, value: Option<Json<'_>>) -> Result<u16, Refusal> {
    match value.and_then(|value| value.get().parse().ok()) {
        Some(cells @ 1..=MAX_CELLS) => Ok(cells),
        _ => Err(Refusal::new(format!(
            "'{member}' must be a whole number from 1 to {MAX_CELLS}"
        ))),
    }
}

impl Target {
    /// Parses what a request's `to` says: `tcp:HOST:PORT`, an IPv6 address in brackets, or `unix:PATH`.
    ///
    /// # Errors
    /// [`Refusal`], whose sentence names the forms.
    pub fn parse(to: &[u8]) -> Result<Self, Refusal> {
        if let Some(path) = to.strip_prefix(b"unix:") {
            if path.is_empty() || path.contains(&0) || path.len() > MAX_SOCKET_PATH_BYTES {
                return Err(Refusal::new(format!(
                    "the path of 'to' must have 1 to {MAX_SOCKET_PATH_BYTES} bytes, and no NUL byte"
                )));
            }
            return Ok(Self::Unix {
                path: path.to_vec(),
            });
        }
        let parsed = to.strip_prefix(b"tcp:").and_then(|rest| {
            let colon = rest.iter().rposition(|byte| *byte == b':')?;
            let digits = std::str::from_utf8(&rest[colon + 1..]).ok()?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let port: u16 = digits.parse().ok().filter(|_| is_number)?;
            let host = match &rest[..colon] {
                [b'[', within @ .., b']'] => within,
                // An address with colons of its own needs brackets.
                plain if !plain.contains(&b':') => plain,
                _ => return None,
            };
            let is_host = !host.is_empty() && host.len() <= MAX_HOST_BYTES && !host.contains(&0);
            (is_host && port > 0).then(|| Self::Tcp {
                host: host.to_vec(),
                port,
            })
        });
        parsed.ok_or_else(|| {
            let quoted = quoted(&shown(to));
            Refusal::new(format!(
                "cannot connect to {quoted}: use 'tcp:HOST:PORT', with an IPv6 address in brackets, or 'unix:PATH'"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Leftovers, Request, RunRequest, Until};

    fn refused<T: std::fmt::Debug>(parsed: Result<T, Refusal>) -> String {
        parsed.unwrap_err().sentence().to_owned()
    }

    #[test]
    fn control_frames_are_read_as_they_are_written() {
        let size = TerminalSize {
            rows: 1,
            cols: 10_000,
        };
        for control in [
            Control::Signal(1),
            Control::Signal(31),
            Control::Resize(size),
        ] {
            assert_eq!(Control::parse(control.to_json().as_bytes()), Ok(control));
        }
    }

    #[test]
    fn control_frames_that_are_none_are_refused_by_a_sentence() {
        for (json, sentence) in [
            (r#"{"op":"x"}"#, "unknown op 'x'"),
            ("{}", "unknown op None"),
            (r#"{"op":"signal"}"#, "missing 'signal'"),
            (r#"{"op":"signal","signal":9}"#, "'signal' must be a string"),
            (
                r#"{"op":"signal","signal":"SIGTERM"}"#,
                "unknown signal 'SIGTERM': use a name without SIG, such as 'TERM'",
            ),
            (
                r#"{"op":"signal","signal":""}"#,
                "unknown signal '': use a name without SIG, such as 'TERM'",
            ),
            (
                r#"{"op":"resize","rows":0,"cols":1}"#,
                "'rows' must be a whole number from 1 to 10000",
            ),
            (
                r#"{"op":"resize","rows":1,"cols":10001}"#,
                "'cols' must be a whole number from 1 to 10000",
            ),
            (
                r#"{"op":"resize","rows":1}"#,
                "'cols' must be a whole number from 1 to 10000",
            ),
        ] {
            let error = Control::parse(json.as_bytes()).unwrap_err();
            assert_eq!(error.refusal.sentence(), sentence, "{json}");
            assert_eq!(error.is_control, !sentence.starts_with("unknown op"));
        }
    }

    #[test]
    fn terminal_implies_input_and_the_end_at_the_exit() {
        let request = Request::parse(br#"{"op":"run","cmd":"a","pty":{"rows":24,"cols":80}}"#);
        let Ok(Request::Run(run)) = request else {
            panic!("{request:?}")
        };
        let terminal = Terminal {
            size: TerminalSize { rows: 24, cols: 80 },
            term: b"xterm".to_vec(),
        };
        assert_eq!(
            run,
            RunRequest {
                command: b"a".to_vec(),
                stdin: true,
                terminal: Some(terminal),
                until: Until::Exit(Leftovers::Keep),
                ..RunRequest::default()
            }
        );
        let sent = Request::Run(run.clone()).to_json();
        assert_eq!(Request::parse(sent.as_bytes()), Ok(Request::Run(run)));
    }

    #[test]
    fn bad_terminals_and_inputs_are_refused() {
        for (members, sentence) in [
            (r#""stdin":1"#, "'stdin' must be true or false"),
            (
                r#""pty":true"#,
                "'pty' must be an object with 'rows' and 'cols'",
            ),
            (
                r#""pty":{"rows":0,"cols":0}"#,
                "'rows' must be a whole number from 1 to 10000",
            ),
            (
                r#""pty":{"rows":1,"cols":"1"}"#,
                "'cols' must be a whole number from 1 to 10000",
            ),
            (
                r#""pty":{"rows":1,"cols":1,"term":""}"#,
                "'term' is empty or has a NUL byte",
            ),
            (
                r#""pty":{"rows":1,"cols":1},"until":"eof""#,
                "'until' must be 'exit' beside 'pty'",
            ),
            (
                r#""pty":{"rows":1,"cols":1},"until":"exit","leftovers":"keep""#,
                "'leftovers' goes without 'pty': the end of a terminal is the end of all its processes",
            ),
        ] {
            let json = format!(r#"{{"op":"run","cmd":"a",{members}}}"#);
            assert_eq!(
                refused(Request::parse(json.as_bytes())),
                sentence,
                "{members}"
            );
        }
    }

    #[test]
    fn targets_are_read_as_they_are_written() {
        for (to, target) in [
            (
                "tcp:localhost:80",
                Target::Tcp {
                    host: b"localhost".to_vec(),
                    port: 80,
                },
            ),
            (
                "tcp:[::1]:65535",
                Target::Tcp {
                    host: b"::1".to_vec(),
                    port: 65535,
                },
            ),
            (
                "unix:/run/x:y",
                Target::Unix {
                    path: b"/run/x:y".to_vec(),
                },
            ),
        ] {
            let request = Request::Connect(ConnectRequest { to: target });
            assert_eq!(
                Request::parse(format!(r#"{{"op":"connect","to":"{to}"}}"#).as_bytes()),
                Ok(request.clone())
            );
            assert_eq!(Request::parse(request.to_json().as_bytes()), Ok(request));
        }
    }

    #[test]
    fn host_in_brackets_of_its_own_is_read_as_it_was_once_it_is_written_anew() {
        for to in ["tcp:[[x]]:80", "tcp:[[]:80", "tcp:[:80"] {
            let target = Target::parse(to.as_bytes()).unwrap();
            assert_eq!(Target::parse(&target.to_bytes()), Ok(target), "{to}");
        }
    }

    #[test]
    fn targets_that_are_none_are_refused() {
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH_BYTES));
        let path = "the path of 'to' must have 1 to 107 bytes, and no NUL byte";
        for (to, sentence) in [("unix:", path), (&*long, path)] {
            assert_eq!(refused(Target::parse(to.as_bytes())), sentence);
        }
        for to in [
            "",
            "80",
            "tcp:",
            "tcp:80",
            "tcp::80",
            "tcp:a:",
            "tcp:a:0",
            "tcp:a:65536",
            "tcp:a:b",
            "tcp:a:+8",
            "tcp:::1:80",
            "udp:a:1",
            "tcp:a\0b:1",
        ] {
            assert_eq!(
                refused(Target::parse(to.as_bytes())),
                format!(
                    "cannot connect to {}: use 'tcp:HOST:PORT', with an IPv6 address in brackets, or 'unix:PATH'",
                    quoted(&shown(to.as_bytes()))
                )
            );
        }
        assert_eq!(
            refused(Request::parse(br#"{"op":"connect"}"#)),
            "missing 'to'"
        );
    }
}
