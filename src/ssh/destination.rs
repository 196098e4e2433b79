//! Where a guest's ssh server is, and how the system's `ssh` is told so.
//!
//! Owns the syntax, parsed once, and the arguments of `ssh`. Nothing of a destination can be taken for an option.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where a guest's ssh server is, and who logs in: `[USER@]HOST[:PORT]`, an IPv6 address in brackets where a port
/// follows. What is not given is as the user's own configuration of ssh has it, the policy on host keys included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDestination {
    user: Option<String>,
    host: String,
    port: Option<NonZeroU16>,
    identity: Option<PathBuf>,
    options: Vec<OsString>,
}

/// Text that is no [`SshDestination`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationError {
    text: String,
}

impl fmt::Display for DestinationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "'{}' is no ssh destination: write [USER@]HOST[:PORT], as in root@127.0.0.1:2222",
            self.text.escape_debug()
        )
    }
}

impl std::error::Error for DestinationError {}

impl SshDestination {
    /// The server behind a port of this machine's 127.0.0.1, for root.
    #[must_use]
    pub fn forwarded(port: NonZeroU16) -> Self {
        Self {
            user: Some("root".to_owned()),
            host: "127.0.0.1".to_owned(),
            port: Some(port),
            identity: None,
            options: Vec::new(),
        }
    }

    /// The private key to log in with, and no other; otherwise those that ssh would try.
    #[must_use]
    pub fn identity(mut self, file: impl Into<PathBuf>) -> Self {
        self.identity = Some(file.into());
        self
    }

    /// An option for ssh, as in ssh_config(5): `StrictHostKeyChecking=accept-new`. Of two with a name, the first
    /// counts.
    #[must_use]
    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_owned());
        self
    }

    /// The arguments that have ssh run `command` there: no question, no terminal, at most `connect_limit` to
    /// connect, and what ssh itself has to say in the file `log`.
    pub(super) fn arguments(
        &self,
        connect_limit: Duration,
        log: &OsStr,
        command: &OsStr,
    ) -> Vec<OsString> {
        let seconds = connect_limit.as_secs().clamp(1, 3600);
        let mut arguments: Vec<OsString> = ["-T", "-o", "BatchMode=yes", "-o"]
            .iter()
            .map(OsString::from)
            .collect();
        arguments.push(format!("ConnectTimeout={seconds}").into());
        for option in &self.options {
            arguments.extend(["-o".into(), option.clone()]);
        }
        if let Some(identity) = &self.identity {
            arguments.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into()]);
            arguments.push(identity.into());
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".into(), port.to_string().into()]);
        }
        arguments.extend(["-E".into(), log.to_owned(), "--".into()]);
        arguments.push(match &self.user {
            Some(user) => format!("{user}@{}", self.host).into(),
            None => (&self.host).into(),
        });
        arguments.push(command.to_owned());
        arguments
    }
}

impl fmt::Display for SshDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(formatter, "[{}]:{port}", self.host),
            Some(port) => write!(formatter, "{}:{port}", self.host),
            None => formatter.write_str(&self.host),
        }
    }
}

impl FromStr for SshDestination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        parse(text).ok_or_else(|| DestinationError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<SshDestination> {
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':')?)),
        },
        // More than one colon: an IPv6 address alone.
        None => match place.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (place, None),
        },
    };
    let is_plain = |word: &str| {
        // What a shell would act on as well: a ProxyCommand of the user's may have the word in it.
        let is_shells = |c: char| "'\"\\`$&;<>|(){}*?!#~".contains(c);
        let is_odd =
            |c: char| c.is_whitespace() || c.is_control() || "@/[]".contains(c) || is_shells(c);
        !word.is_empty() && !word.starts_with('-') && !word.contains(is_odd)
    };
    let has_plain_user = user.is_none_or(is_plain);
    (has_plain_user && is_plain(host)).then_some(SshDestination {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port: match port {
            None => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            Some(_) => return None,
        },
        identity: None,
        options: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(destination: &SshDestination) -> String {
        let limit = Duration::from_millis(2500);
        let arguments = destination.arguments(limit, OsStr::new("LOG"), OsStr::new("a b"));
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join("|")
    }

    #[test]
    fn destinations_become_arguments_and_are_shown_as_typed() {
        let always = "-T|-o|BatchMode=yes|-o|ConnectTimeout=2";
        for (text, end) in [
            ("guest", "-E|LOG|--|guest|a b"),
            ("root@guest:2222", "-p|2222|-E|LOG|--|root@guest|a b"),
            ("::1", "-E|LOG|--|::1|a b"),
            ("u@[fe80::1%eth0]:22", "-p|22|-E|LOG|--|u@fe80::1%eth0|a b"),
        ] {
            let destination: SshDestination = text.parse().unwrap();
            assert_eq!(words(&destination), format!("{always}|{end}"));
            assert_eq!(destination.to_string(), text);
        }
        let full = SshDestination::forwarded(NonZeroU16::new(2222).unwrap())
            .option("A=b")
            .identity("/k");
        assert_eq!(
            words(&full),
            format!(
                "{always}|-o|A=b|-o|IdentitiesOnly=yes|-i|/k|-p|2222|-E|LOG|--|root@127.0.0.1|a b"
            )
        );
    }

    #[test]
    fn text_that_is_none_is_refused() {
        for text in [
            "", "@h", "u@", "-oX=y", "u@-h", "-u@h", "h:", "h:0", "h:x", "h:65536", "h:+22",
            "[::1", "[::1]22", "[]:22", "a b", "h\n", "ssh://h", "h/x", "$(id)@h", "u@`id`",
            "u;id@h", "u@h|id", "u@h&", "u@{a,b}",
        ] {
            assert!(text.parse::<SshDestination>().is_err(), "{text}");
        }
    }
}
