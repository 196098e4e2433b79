//! One `LOCAL:REMOTE` as typed.
//!
//! Owns the syntax, which docker, ssh and kubectl users know; refuses to look a name up.
//!
//! ```text
//! LOCAL    [BIND:]PORT     port 0 picks a free one; BIND is 127.0.0.1 unless given
//!          unix:PATH       without a colon in PATH
//! REMOTE   [HOST:]PORT     HOST is 127.0.0.1 unless given, and a name is resolved in the guest
//!          unix:PATH
//! ```
//!
//! An IPv6 address stands in brackets. Of three parts, `A:B:C`, where A is a number, B is HOST: `8080:db:5432`; else A is
//! BIND: `0.0.0.0:8080:80`.

use smolvm_host::StreamTarget;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Who listens, unless told otherwise, and who is connected to.
const LOOPBACK: &str = "127.0.0.1";

/// One way from here into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The socket here.
    pub(crate) local: Local,
    /// The socket in the guest.
    pub(crate) to: StreamTarget,
}

/// A socket here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// TCP.
    Tcp {
        /// A name, or an address without brackets.
        host: String,
        /// 0 for a free one.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Local {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// What stands between two colons.
#[derive(Clone, Copy, Debug)]
enum Part<'word> {
    /// A name, an address or a port.
    Plain(&'word [u8]),
    /// `unix:` and what is behind it.
    Unix(&'word [u8]),
}

impl Way {
    /// Reads a word.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(crate) fn parse(word: &OsStr) -> Result<Self, String> {
        let wrong = |what: &str| {
            let shown = word.to_string_lossy();
            format!("'{}' {what}", shown.escape_debug())
        };
        Self::from_parts(&parts_of(word.as_bytes())).map_err(|what| wrong(&what))
    }

    fn from_parts(parts: &[Part<'_>]) -> Result<Self, String> {
        use Part::{Plain, Unix};
        let loopback = LOOPBACK.as_bytes();
        match *parts {
            [Unix(path), Unix(to)] => unix(path, unix_target(to)?),
            [Unix(path), Plain(port)] => unix(path, tcp_target(loopback, port)?),
            [Unix(path), Plain(host), Plain(port)] => unix(path, tcp_target(host, port)?),
            [Plain(local), Unix(to)] => tcp(loopback, local, unix_target(to)?),
            [Plain(bind), Plain(local), Unix(to)] => tcp(bind, local, unix_target(to)?),
            [Plain(local), Plain(port)] => tcp(loopback, local, tcp_target(loopback, port)?),
            [Plain(local), Plain(host), Plain(port)] if is_number(local) => {
                tcp(loopback, local, tcp_target(host, port)?)
            }
            [Plain(bind), Plain(local), Plain(port)] => tcp(bind, local, tcp_target(loopback, port)?),
            [Plain(bind), Plain(local), Plain(host), Plain(port)] => {
                tcp(bind, local, tcp_target(host, port)?)
            }
            [_] => Err("says where from or where to, but not both; write LOCAL:REMOTE, such as 8080:80".to_owned()),
            _ => Err(
                "has too many colons; write [BIND:]PORT:[HOST:]PORT, with an IPv6 address in brackets, or unix:PATH on either side"
                    .to_owned(),
            ),
        }
    }
}

/// Cuts at the colons outside of brackets. `unix:` at the front has its path up to the next colon; behind anything else, all
/// the rest.
fn parts_of(word: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = word;
    if let Some(path) = word.strip_prefix(b"unix:") {
        let Some(colon) = path.iter().position(|&byte| byte == b':') else {
            return vec![Part::Unix(path)];
        };
        parts.push(Part::Unix(&path[..colon]));
        rest = &path[colon + 1..];
    }
    loop {
        if let Some(path) = rest.strip_prefix(b"unix:") {
            parts.push(Part::Unix(path));
            return parts;
        }
        let bracket = match rest.starts_with(b"[") {
            true => rest.iter().position(|&byte| byte == b']').unwrap_or(0),
            false => 0,
        };
        let colon = rest[bracket..].iter().position(|&byte| byte == b':');
        let Some(colon) = colon.map(|at| at + bracket) else {
            parts.push(Part::Plain(rest));
            return parts;
        };
        parts.push(Part::Plain(&rest[..colon]));
        rest = &rest[colon + 1..];
    }
}

fn is_number(part: &[u8]) -> bool {
    !part.is_empty() && part.iter().all(u8::is_ascii_digit)
}

fn unix(path: &[u8], to: StreamTarget) -> Result<Way, String> {
    if path.is_empty() {
        return Err("has an empty path; write unix:PATH".to_owned());
    }
    let local = Local::Unix(PathBuf::from(OsStr::from_bytes(path)));
    Ok(Way { local, to })
}

fn tcp(bind: &[u8], port: &[u8], to: StreamTarget) -> Result<Way, String> {
    let port = std::str::from_utf8(port)
        .ok()
        .filter(|port| is_number(port.as_bytes()));
    let Some(port) = port.and_then(|port| port.parse().ok()) else {
        return Err(
            "needs a port from 0 to 65535 to listen on; a socket's path is written unix:PATH"
                .to_owned(),
        );
    };
    let host = match bind {
        [b'[', within @ .., b']'] => within,
        plain => plain,
    };
    let host = std::str::from_utf8(host)
        .ok()
        .filter(|host| !host.is_empty() && *host != "*");
    let Some(host) = host else {
        return Err(
            "names no address to listen on; write 0.0.0.0 or [::] for all of this machine's"
                .to_owned(),
        );
    };
    let host = host.to_owned();
    Ok(Way {
        local: Local::Tcp { host, port },
        to,
    })
}

fn tcp_target(host: &[u8], port: &[u8]) -> Result<StreamTarget, String> {
    StreamTarget::parse(&[b"tcp:", host, b":", port].concat()).map_err(|_| {
        "names no socket in the guest; write PORT (1 to 65535), HOST:PORT or unix:PATH behind LOCAL".to_owned()
    })
}

fn unix_target(path: &[u8]) -> Result<StreamTarget, String> {
    StreamTarget::parse(&[b"unix:", path].concat())
        .map_err(|_| "names no socket in the guest; its path has 1 to 107 bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Result<String, String> {
        Way::parse(OsStr::new(word)).map(|way| format!("{} -> {}", way.local, way.to))
    }

    #[test]
    fn each_form_is_read_as_its_users_expect() {
        for (word, way) in [
            ("8080:80", "127.0.0.1:8080 -> tcp:127.0.0.1:80"),
            ("0:80", "127.0.0.1:0 -> tcp:127.0.0.1:80"),
            (
                "8080:db.internal:5432",
                "127.0.0.1:8080 -> tcp:db.internal:5432",
            ),
            ("0.0.0.0:8080:80", "0.0.0.0:8080 -> tcp:127.0.0.1:80"),
            (
                "localhost:8080:10.0.0.2:80",
                "localhost:8080 -> tcp:10.0.0.2:80",
            ),
            ("[::1]:8080:[fd00::2]:80", "[::1]:8080 -> tcp:[fd00::2]:80"),
            ("8080:[::1]:80", "127.0.0.1:8080 -> tcp:[::1]:80"),
            ("[::]:8080:80", "[::]:8080 -> tcp:127.0.0.1:80"),
            ("8080:unix:/run/a:b", "127.0.0.1:8080 -> unix:/run/a:b"),
            ("[::1]:8080:unix:x", "[::1]:8080 -> unix:x"),
            ("unix:a.sock:80", "unix:a.sock -> tcp:127.0.0.1:80"),
            ("unix:/a:db:80", "unix:/a -> tcp:db:80"),
            ("unix:/a:[::1]:80", "unix:/a -> tcp:[::1]:80"),
            ("unix:/a:unix:/b:c", "unix:/a -> unix:/b:c"),
        ] {
            assert_eq!(parse(word).as_deref(), Ok(way), "{word}");
        }
    }

    #[test]
    fn what_is_no_way_is_told_in_a_sentence_that_names_the_forms() {
        for (word, told) in [
            ("", "LOCAL:REMOTE"),
            ("80", "LOCAL:REMOTE"),
            ("unix:/a", "LOCAL:REMOTE"),
            ("::1:8080:80", "brackets"),
            ("a:1:b:2:c", "brackets"),
            ("unix::80", "unix:PATH"),
            ("x:80", "0 to 65535"),
            ("65536:80", "0 to 65535"),
            ("+1:80", "0 to 65535"),
            ("/a.sock:80", "unix:PATH"),
            (":8080:80", "0.0.0.0"),
            ("*:8080:80", "0.0.0.0"),
            ("[]:8080:80", "0.0.0.0"),
            ("8080:0", "1 to 65535"),
            ("8080:http", "1 to 65535"),
            ("8080:", "1 to 65535"),
            ("8080::80", "HOST:PORT"),
            ("8080:[::1:80", "brackets"),
            ("8080:unix:", "107 bytes"),
        ] {
            let sentence = parse(word).unwrap_err();
            assert!(sentence.contains(told), "{word}: {sentence}");
        }
    }
}
