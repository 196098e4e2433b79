//! A guest's network: none, or QEMU's own, which needs no right and no interface of the host's.
//!
//! Owns the addresses, which are those that guests of the Python system take without being told:
//! 172.16.0.2 by way of 172.16.0.1.

use super::VmError;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU16;
use std::str::FromStr;

const NETWORK: &str = "172.16.0.0/24";
const GATEWAY: &str = "172.16.0.1";
const GUEST: &str = "172.16.0.2";
const NAME_SERVER: &str = "172.16.0.3";
/// Where a guest's ssh server listens.
const SSH_PORT: u16 = 22;
/// What QEMU says of a port that it cannot have, up to its number.
const PORT_REFUSED: &str = "Could not set up host forwarding rule 'tcp:127.0.0.1:";

/// What a guest's network is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// There is none.
    #[default]
    None,
    /// QEMU's: the guest reaches what this user reaches, and is reached by forwarded ports alone.
    User(Vec<Forward>),
}

/// A TCP port of this host, on 127.0.0.1, that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The host's.
    pub host_port: NonZeroU16,
    /// The guest's.
    pub guest_port: NonZeroU16,
}

impl Network {
    /// Asks this machine for the ports that it should lead to the guest, and gives them back: whoever takes one
    /// before QEMU does has it say so ([`refused_port`]).
    pub(super) fn check_ports(&self) -> Result<(), VmError> {
        let Self::User(forwards) = self else {
            return Ok(());
        };
        let listen = |forward: &Forward| {
            let port = forward.host_port;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.get()))
                .map_err(|source| VmError::HostPort { port, source })
        };
        // Held together, since a port can be named twice.
        forwards
            .iter()
            .map(listen)
            .collect::<Result<Vec<_>, _>>()
            .map(drop)
    }

    /// The port of this machine that leads to the guest's ssh server, where one does.
    pub(super) fn ssh_port(&self) -> Option<NonZeroU16> {
        let Self::User(forwards) = self else {
            return None;
        };
        let mut forwards = forwards.iter();
        let forward = forwards.find(|forward| forward.guest_port.get() == SSH_PORT)?;
        Some(forward.host_port)
    }

    /// QEMU's `-netdev`, where there is a network.
    pub(super) fn backend(&self) -> Option<String> {
        let Self::User(forwards) = self else {
            return None;
        };
        let mut backend =
            format!("user,id=network,net={NETWORK},host={GATEWAY},dns={NAME_SERVER},ipv6=off");
        for Forward {
            host_port,
            guest_port,
        } in forwards
        {
            backend.push_str(&format!(
                ",hostfwd=tcp:127.0.0.1:{host_port}-{GUEST}:{guest_port}"
            ));
        }
        Some(backend)
    }
}

/// The port of this machine that QEMU could not have, where its log tells of one.
pub(super) fn refused_port(log: &str) -> Option<NonZeroU16> {
    let (_, rule) = log.split_once(PORT_REFUSED)?;
    let digits = rule.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A text that is no forwarded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoForward(String);

impl fmt::Display for NoForward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "'{}' is no HOSTPORT:GUESTPORT: give two numbers from 1 to 65535, as in 2222:22",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for NoForward {}

impl FromStr for Forward {
    type Err = NoForward;

    fn from_str(text: &str) -> Result<Self, NoForward> {
        let parse = || {
            let (host, guest) = text.split_once(':')?;
            Some(Self {
                host_port: host.parse().ok()?,
                guest_port: guest.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NoForward(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_two_numbers() {
        let forward: Forward = "2222:22".parse().unwrap();
        assert_eq!(
            (forward.host_port.get(), forward.guest_port.get()),
            (2222, 22)
        );
        for text in ["", "22", "0:22", "22:0", "65536:1", "a:b", "1:2:3", "-1:2"] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
        assert_eq!(Network::None.backend(), None);
        let network = Network::User(vec!["8080:80".parse().unwrap(), forward]);
        assert_eq!(network.ssh_port(), NonZeroU16::new(2222));
    }

    #[test]
    fn port_that_qemu_could_not_have_is_read_from_its_log() {
        let said = "qemu: -netdev user,id=network: Could not set up host forwarding rule \
                    'tcp:127.0.0.1:2222-172.16.0.2:22'\n";
        assert_eq!(refused_port(said), NonZeroU16::new(2222));
        assert_eq!(refused_port("qemu: no such machine"), None);
    }

    #[test]
    fn ports_are_refused_where_one_is_taken_or_named_twice() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = NonZeroU16::new(taken.local_addr().unwrap().port()).unwrap();
        let guest_port = host_port;
        let forward = Forward {
            host_port,
            guest_port,
        };
        let network = Network::User(vec![forward]);
        assert!(
            matches!(network.check_ports(), Err(VmError::HostPort { port, .. }) if port == host_port)
        );
        drop(taken);
        // A child that another test starts at this moment has the socket until it executes.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while network.check_ports().is_err() {
            assert!(std::time::Instant::now() < deadline, "the port stays taken");
            std::thread::yield_now();
        }
        assert!(Network::User(vec![forward, forward]).check_ports().is_err());
    }
}
