//! Names and addresses: host name, `lo`, `eth0`, `resolv.conf`.
//!
//! Owns the way in which the Python system's images set up their network, by system calls alone:
//! `ip=ADDRESS::GATEWAY:NETMASK::eth0:off` on the kernel's command line, or 172.16.0.2/24 by way of
//! 172.16.0.1. A guest without `eth0` has no network, and nothing is said about it.

use crate::log;
use crate::sys::interface::Interface;
use crate::sys::{file, machine};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

const DEFAULT_HOST_NAME: &str = "smolvm";
const RESOLVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// How `eth0` is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: Ipv4Addr,
    netmask: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
}

const DEFAULT: Network = Network {
    address: Ipv4Addr::new(172, 16, 0, 2),
    netmask: Ipv4Addr::new(255, 255, 255, 0),
    gateway: Some(Ipv4Addr::new(172, 16, 0, 1)),
};

impl Network {
    /// What `ip=` says (the kernel's `nfsroot.rst`); `None` where it has no address. A netmask that
    /// is none counts as 255.255.255.0.
    fn parse(ip: &str) -> Option<Self> {
        let mut fields = ip.split(':');
        let address = fields.next()?.parse().ok()?;
        let gateway = fields.nth(1).and_then(|gateway| gateway.parse().ok());
        let netmask = fields.next().and_then(|netmask| netmask.parse().ok());
        Some(Self {
            address,
            netmask: netmask.unwrap_or(DEFAULT.netmask),
            gateway,
        })
    }
}

/// Names the machine by `/etc/hostname`, and brings `lo` up.
pub(super) fn set_host_name_and_loopback() {
    let name = file::read_text("/etc/hostname").unwrap_or_default();
    let name = match name.trim_ascii() {
        "" => DEFAULT_HOST_NAME,
        name => name,
    };
    tell("set the host name", machine::set_host_name(name.as_bytes()));
    let up = Interface::named("lo").and_then(|lo| lo.bring_up());
    tell("bring lo up", up);
}

/// Sets `eth0` up, where there is one.
pub(super) fn set_up(command_line: &str) {
    if !Path::new("/sys/class/net/eth0").exists() {
        return;
    }
    let ip = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("ip="));
    let Some(network) = ip.map_or(Some(DEFAULT), Network::parse) else {
        return log::failure(
            &"ip= on the kernel's command line has no address: eth0 is left alone",
        );
    };
    tell("set up eth0", apply(network));
    let mut resolvers = String::new();
    if let Some(gateway) = network.gateway {
        let [a, b, c, d] = gateway.octets();
        resolvers = format!("nameserver {a}.{b}.{c}.{d}\n");
    }
    resolvers.push_str(RESOLVERS);
    tell(
        "write /etc/resolv.conf",
        fs::write("/etc/resolv.conf", resolvers),
    );
}

fn apply(network: Network) -> io::Result<()> {
    let eth0 = Interface::named("eth0")?;
    eth0.set_address(network.address)?;
    eth0.set_netmask(network.netmask)?;
    eth0.bring_up()?;
    match network
        .gateway
        .map(|gateway| eth0.add_default_route(gateway))
    {
        // The kernel may have been told the same by itself.
        Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn tell(what: &str, done: io::Result<()>) {
    if let Err(error) = done {
        log::failure(&format_args!("cannot {what}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_gives_address_gateway_and_netmask() {
        assert_eq!(
            Network::parse("10.1.2.3::10.1.2.1:255.255.0.0::eth0:off"),
            Some(Network {
                address: Ipv4Addr::new(10, 1, 2, 3),
                netmask: Ipv4Addr::new(255, 255, 0, 0),
                gateway: Some(Ipv4Addr::new(10, 1, 2, 1)),
            })
        );
        assert_eq!(
            Network::parse("10.1.2.3"),
            Some(Network {
                address: Ipv4Addr::new(10, 1, 2, 3),
                netmask: DEFAULT.netmask,
                gateway: None,
            })
        );
        assert_eq!(Network::parse("dhcp"), None);
        assert_eq!(Network::parse(""), None);
    }
}
