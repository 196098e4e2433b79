//! The command line and the environment variables that stand in for it.
//!
//! Owns their syntax; refuses to open anything. By hand, because the agent carries no
//! argument-parsing library.

use crate::VERSION_LINE;
use crate::listener::PeerRule;
use smolvm_protocol::AGENT_PORT;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

const HELP: &str = "\
Serves the host of this VM: commands and terminals, files and trees, streams, clock and seed, shutdown.

usage: smolvm-guest-agent [options]
       smolvm-guest-agent init     be process 1: boot the guest, keep the agent running

  --listen vsock:PORT   listen on a vsock port (default: vsock:1024)
  --listen unix:PATH    listen on a Unix socket, mode 0600
  --listen fd:N         serve an inherited socket: a listening one like any listener,
                        a connected one once
  --port N              the same as --listen vsock:N
  --allow-cid N         serve vsock peers with this CID, too (the host, CID 2, always is);
                        'any' serves every peer; may be repeated
  --init fd:N           tell a process 1 of ours by this inherited descriptor
  --help, --version

SMOLVM_AGENT_PORT       the vsock port where neither --listen nor --port is given
LISTEN_FDS, LISTEN_PID  sockets from systemd, where neither --listen nor --port is given
";

/// Where connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Vsock { port: u32 },
    Unix { path: PathBuf },
    Inherited { number: RawFd },
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { port } => write!(formatter, "vsock port {port}"),
            Self::Unix { path } => write!(formatter, "unix socket {}", path.display()),
            Self::Inherited { number } => write!(formatter, "inherited descriptor {number}"),
        }
    }
}

/// What to serve, and whom.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Never empty.
    pub(crate) listen: Vec<Listen>,
    pub(crate) peers: PeerRule,
    /// The descriptor that leads to process 1, where that is ours.
    pub(crate) init: Option<RawFd>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Serve(Arguments),
    Print(String),
}

/// Why a command line is none of ours: a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgumentError(String);

impl fmt::Display for ArgumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Arguments {
    /// The numbers of the inherited descriptors to serve.
    pub(crate) fn inherited(&self) -> Vec<RawFd> {
        let number = |listen: &Listen| match listen {
            Listen::Inherited { number } => Some(*number),
            _ => None,
        };
        self.listen.iter().filter_map(number).collect()
    }

    /// Parses what follows the program's name, with `variable` to look up the environment.
    pub(crate) fn parse(
        arguments: impl Iterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Parsed, ArgumentError> {
        let mut listen = Vec::new();
        let mut peers = PeerRule::default();
        let mut init = None;
        let mut arguments = arguments.map(OsString::into_vec);
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.iter().position(|byte| *byte == b'=') {
                Some(at) if argument.starts_with(b"--") => {
                    (argument[..at].to_vec(), Some(argument[at + 1..].to_vec()))
                }
                _ => (argument, None),
            };
            let mut value = || {
                inline.clone().or_else(|| arguments.next()).ok_or_else(|| {
                    ArgumentError(format!("{} needs a value", String::from_utf8_lossy(&name)))
                })
            };
            match name.as_slice() {
                b"--help" | b"-h" => return Ok(Parsed::Print(HELP.to_owned())),
                b"--version" | b"-V" => {
                    return Ok(Parsed::Print(VERSION_LINE.to_owned()));
                }
                b"--listen" => listen.push(parse_listen(&value()?)?),
                b"--port" => listen.push(Listen::Vsock {
                    port: parse_port("--port", &value()?)?,
                }),
                b"--init" => init = Some(parse_init(&value()?)?),
                b"--allow-cid" => peers.allow(parse_cid(&value()?)?),
                _ => {
                    let shown = String::from_utf8_lossy(&name);
                    return Err(ArgumentError(format!("unknown argument '{shown}'")));
                }
            }
        }
        if let Some(twice) = listen
            .iter()
            .enumerate()
            .find_map(|(at, one)| listen[..at].contains(one).then_some(one))
        {
            return Err(ArgumentError(format!("asked twice to listen on {twice}")));
        }
        if listen.is_empty() {
            listen = systemd_sockets(&variable)?;
        }
        if init.is_some_and(|number| listen.contains(&Listen::Inherited { number })) {
            let sentence = "asked to listen on the descriptor of --init";
            return Err(ArgumentError(sentence.to_owned()));
        }
        if listen.is_empty() {
            let port = match variable("SMOLVM_AGENT_PORT") {
                Some(port) => parse_port("SMOLVM_AGENT_PORT", &port.into_vec())?,
                None => AGENT_PORT,
            };
            listen.push(Listen::Vsock { port });
        }
        Ok(Parsed::Serve(Self {
            listen,
            peers,
            init,
        }))
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_listen(text: &[u8]) -> Result<Listen, ArgumentError> {
    if let Some(port) = text.strip_prefix(b"vsock:") {
        return Ok(Listen::Vsock {
            port: parse_port("--listen vsock", port)?,
        });
    }
    if let Some(path) = text.strip_prefix(b"unix:") {
        if !path.is_empty() {
            return Ok(Listen::Unix {
                path: OsString::from_vec(path.to_vec()).into(),
            });
        }
    }
    if let Some(digits) = text.strip_prefix(b"fd:") {
        if let Some(number) = number(digits) {
            return Ok(Listen::Inherited { number });
        }
    }
    let shown = String::from_utf8_lossy(text);
    Err(ArgumentError(format!(
        "cannot listen on '{shown}': give vsock:PORT, unix:PATH or fd:NUMBER"
    )))
}

fn parse_init(text: &[u8]) -> Result<RawFd, ArgumentError> {
    text.strip_prefix(b"fd:")
        .and_then(number)
        .filter(|number| *number > 2)
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(text);
            ArgumentError(format!("--init takes fd:NUMBER, 3 or more, not '{shown}'"))
        })
}

/// A vsock port; 0 and `VMADDR_PORT_ANY` (all ones) are none (`vsock(7)`).
fn parse_port(what: &str, text: &[u8]) -> Result<u32, ArgumentError> {
    number(text)
        .filter(|port| (1..u32::MAX).contains(port))
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(text);
            ArgumentError(format!(
                "{what} takes a port from 1 to {}, not '{shown}'",
                u32::MAX - 1
            ))
        })
}

/// A CID to serve; `None` is every one.
fn parse_cid(text: &[u8]) -> Result<Option<u32>, ArgumentError> {
    if text == b"any" {
        return Ok(None);
    }
    number(text)
        .filter(|cid| *cid != u32::MAX)
        .map(Some)
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(text);
            ArgumentError(format!(
                "--allow-cid takes a CID from 0 to {} or 'any', not '{shown}'",
                u32::MAX - 1
            ))
        })
}

/// The sockets that systemd passed to this very process (`sd_listen_fds(3)`): from 3 on.
fn systemd_sockets(
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Listen>, ArgumentError> {
    let (Some(count), Some(pid)) = (variable("LISTEN_FDS"), variable("LISTEN_PID")) else {
        return Ok(Vec::new());
    };
    if number(&pid.into_vec()) != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count: RawFd = number(&count.into_vec())
        .filter(|count| *count <= 64)
        .ok_or_else(|| ArgumentError("LISTEN_FDS is no number from 0 to 64".to_owned()))?;
    Ok((3..3 + count)
        .map(|number| Listen::Inherited { number })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Parsed, ArgumentError> {
        Arguments::parse(arguments.iter().map(OsString::from), |name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.into())
        })
    }

    fn listen(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<Listen> {
        match parse(arguments, variables) {
            Ok(Parsed::Serve(arguments)) => arguments.listen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn default_is_the_agents_vsock_port_unless_the_environment_names_another() {
        assert_eq!(listen(&[], &[]), [Listen::Vsock { port: 1024 }]);
        assert_eq!(
            listen(&[], &[("SMOLVM_AGENT_PORT", "7")]),
            [Listen::Vsock { port: 7 }]
        );
        assert_eq!(
            listen(&["--port", "8"], &[("SMOLVM_AGENT_PORT", "7")]),
            [Listen::Vsock { port: 8 }]
        );
    }

    #[test]
    fn listeners_of_each_kind_are_taken_and_may_be_several() {
        assert_eq!(
            listen(
                &[
                    "--listen=vsock:5",
                    "--listen",
                    "unix:/a=b",
                    "--listen",
                    "fd:0"
                ],
                &[]
            ),
            [
                Listen::Vsock { port: 5 },
                Listen::Unix {
                    path: "/a=b".into()
                },
                Listen::Inherited { number: 0 },
            ]
        );
    }

    #[test]
    fn sockets_from_systemd_count_only_for_this_process() {
        let pid = std::process::id().to_string();
        let sockets = [("LISTEN_FDS", "2"), ("LISTEN_PID", pid.as_str())];
        assert_eq!(
            listen(&[], &sockets),
            [
                Listen::Inherited { number: 3 },
                Listen::Inherited { number: 4 }
            ]
        );
        assert_eq!(
            listen(&["--port", "8"], &sockets),
            [Listen::Vsock { port: 8 }]
        );
        let others = [("LISTEN_FDS", "2"), ("LISTEN_PID", "1")];
        assert_eq!(listen(&[], &others), [Listen::Vsock { port: 1024 }]);
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_was_wrong() {
        for (arguments, sentence) in [
            (&["--listen"][..], "--listen needs a value"),
            (
                &["--listen", "tcp:1"],
                "cannot listen on 'tcp:1': give vsock:PORT, unix:PATH or fd:NUMBER",
            ),
            (
                &["--listen", "fd:-1"],
                "cannot listen on 'fd:-1': give vsock:PORT, unix:PATH or fd:NUMBER",
            ),
            (
                &["--port", "0"],
                "--port takes a port from 1 to 4294967294, not '0'",
            ),
            (
                &["--port", "+5"],
                "--port takes a port from 1 to 4294967294, not '+5'",
            ),
            (
                &["--allow-cid", "x"],
                "--allow-cid takes a CID from 0 to 4294967294 or 'any', not 'x'",
            ),
            (
                &["--port", "5", "--listen", "vsock:5"],
                "asked twice to listen on vsock port 5",
            ),
            (
                &["--listen=fd:3", "--listen=fd:3"],
                "asked twice to listen on inherited descriptor 3",
            ),
            (
                &["--init", "fd:2"],
                "--init takes fd:NUMBER, 3 or more, not 'fd:2'",
            ),
            (
                &["--init", "fd:3", "--listen", "fd:3"],
                "asked to listen on the descriptor of --init",
            ),
            (&["serve"], "unknown argument 'serve'"),
        ] {
            assert_eq!(
                parse(arguments, &[]),
                Err(ArgumentError(sentence.to_owned()))
            );
        }
        assert!(parse(&[], &[("SMOLVM_AGENT_PORT", "")]).is_err());
    }
}
