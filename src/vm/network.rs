//! A guest's network: none, or QEMU's own, which needs no right and no interface of the host's.
//!
//! Owns the addresses, which are those that guests of the Python system take without being told:
//! 172.16.0.2 by way of 172.16.0.1.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

const NETWORK: &str = "172.16.0.0/24";
const GATEWAY: &str = "172.16.0.1";
const GUEST: &str = "172.16.0.2";
const NAME_SERVER: &str = "172.16.0.3";

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
    }
}
