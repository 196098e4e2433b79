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

/// The device where nothing is said about it.
const DEVICE: &str = "eth0";

/// How a device is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network<'a> {
    pub(super) device: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) netmask: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
}

const DEFAULT: Network<'_> = Network {
    device: DEVICE,
    address: Ipv4Addr::new(172, 16, 0, 2),
    netmask: Ipv4Addr::new(255, 255, 255, 0),
    gateway: Some(Ipv4Addr::new(172, 16, 0, 1)),
};

impl<'a> Network<'a> {
    /// What `ip=` says (the kernel's `nfsroot.rst`); `None` where it has no address.
    /// 0.0.0.0 is none, as it is to the kernel. A netmask that is none counts as 255.255.255.0.
    fn parse(ip: &'a str) -> Option<Self> {
        let mut fields = ip.split(':');
        let address = address_of(fields.next())?;
        let gateway = address_of(fields.nth(1));
        let netmask = address_of(fields.next());
        let device = fields.nth(1).filter(|device| !device.is_empty());
        Some(Self {
            device: device.unwrap_or(DEVICE),
            address,
            netmask: netmask.unwrap_or(DEFAULT.netmask),
            gateway,
        })
    }
}

fn address_of(field: Option<&str>) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = field?.parse().ok()?;
    (!address.is_unspecified()).then_some(address)
}

/// Names the machine by `/etc/hostname`, and brings `lo` up.
pub(super) fn set_host_name_and_loopback() {
    let text = file::read_text("/etc/hostname").unwrap_or_default();
    let name = host_name(&text).as_bytes();
    tell("set the host name", machine::set_host_name(name));
    let up = Interface::named("lo").and_then(|lo| lo.bring_up());
    tell("bring lo up", up);
}

/// The name that `/etc/hostname` gives: its first line that has one and is no comment (`hostname(5)`).
fn host_name(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim_ascii);
    lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or(DEFAULT_HOST_NAME)
}

/// What the kernel's command line asks for; `None` where its `ip=` has no address.
pub(super) fn asked_for(command_line: &str) -> Option<Network<'_>> {
    let ip = command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("ip="));
    ip.map_or(Some(DEFAULT), Network::parse)
}

/// Sets `eth0` up, where there is one, or the device that `ip=` names.
pub(super) fn set_up(command_line: &str) {
    let network = asked_for(command_line);
    let device = network.map_or(DEVICE, |network| network.device);
    // No link of that folder leads to it by another name.
    if device.contains('/') || !Path::new(&format!("/sys/class/net/{device}")).exists() {
        if device != DEVICE {
            log::failure(&format_args!(
                "ip= on the kernel's command line names {device}, which is not there: name a device of \
                 this machine, such as {DEVICE}"
            ));
        }
        return;
    }
    let Some(network) = network else {
        return log::failure(
            &"ip= on the kernel's command line has no address: eth0 is left alone",
        );
    };
    if let Err(error) = apply(network) {
        log::failure(&format_args!("cannot set up {device}: {error}"));
    }
    let mut resolvers = String::new();
    if let Some(gateway) = network.gateway {
        let [a, b, c, d] = gateway.octets();
        resolvers = format!("nameserver {a}.{b}.{c}.{d}\n");
    }
    resolvers.push_str(RESOLVERS);
    tell(
        "write /etc/resolv.conf",
        write_resolvers(Path::new("/etc/resolv.conf"), &resolvers),
    );
}

/// A link that leads nowhere, as one to the file of a resolver that does not run here, is replaced.
fn write_resolvers(path: &Path, resolvers: &str) -> io::Result<()> {
    match fs::write(path, resolvers) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::remove_file(path)?;
            fs::write(path, resolvers)
        }
        written => written,
    }
}

fn apply(network: Network<'_>) -> io::Result<()> {
    let device = Interface::named(network.device)?;
    device.set_address(network.address)?;
    device.set_netmask(network.netmask)?;
    device.bring_up()?;
    match network
        .gateway
        .map(|gateway| device.add_default_route(gateway))
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
    use std::os::unix::fs::symlink;

    #[test]
    fn command_line_gives_address_gateway_and_netmask() {
        assert_eq!(
            Network::parse("10.1.2.3::10.1.2.1:255.255.0.0::eth0:off"),
            Some(Network {
                device: "eth0",
                address: Ipv4Addr::new(10, 1, 2, 3),
                netmask: Ipv4Addr::new(255, 255, 0, 0),
                gateway: Some(Ipv4Addr::new(10, 1, 2, 1)),
            })
        );
        assert_eq!(
            Network::parse("10.1.2.3"),
            Some(Network {
                device: "eth0",
                address: Ipv4Addr::new(10, 1, 2, 3),
                netmask: DEFAULT.netmask,
                gateway: None,
            })
        );
        assert_eq!(Network::parse("dhcp"), None);
        assert_eq!(Network::parse(""), None);
    }

    #[test]
    fn command_line_names_another_device_and_0_0_0_0_is_no_address() {
        let network = Network::parse("10.1.2.3::0.0.0.0:0.0.0.0::eth1:off").unwrap();
        assert_eq!(network.device, "eth1");
        assert_eq!(network.gateway, None);
        assert_eq!(network.netmask, DEFAULT.netmask);
        let network = Network::parse("10.1.2.3::::::off").unwrap();
        assert_eq!((network.device, network.gateway), ("eth0", None));
        assert_eq!(
            Network::parse("0.0.0.0::10.1.2.1:255.0.0.0::eth0:off"),
            None
        );
    }

    #[test]
    fn host_name_is_the_first_line_that_has_one() {
        assert_eq!(host_name("# of the image\n\n web-1 \nsecond\n"), "web-1");
        assert_eq!(host_name(" \n"), DEFAULT_HOST_NAME);
        assert_eq!(host_name(""), DEFAULT_HOST_NAME);
    }

    #[test]
    fn resolvers_replace_a_link_that_leads_nowhere_and_are_written_through_any_other() {
        let base = std::env::temp_dir().join(format!("smolvm-resolvers-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let (path, other) = (base.join("resolv.conf"), base.join("other"));
        symlink(base.join("absent/resolv.conf"), &path).unwrap();
        write_resolvers(&path, "first").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::remove_file(&path).unwrap();
        fs::write(&other, "").unwrap();
        symlink(&other, &path).unwrap();
        write_resolvers(&path, "second").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&other).unwrap(), "second");
        fs::remove_dir_all(&base).unwrap();
    }
}
