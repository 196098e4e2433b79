//! Network interfaces (`netdevice(7)`): address, netmask, up, the default route.
#![expect(
    unsafe_code,
    reason = "requests to interfaces are ioctls on raw structures"
)]

use super::checked;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `IFNAMSIZ` without the closing NUL.
const MAX_NAME_BYTES: usize = libc::IFNAMSIZ - 1;

/// The kernel's `struct rtentry` (`linux/route.h`), on 64-bit architectures.
#[repr(C)]
struct Route {
    padding_1: libc::c_ulong,
    destination: libc::sockaddr,
    gateway: libc::sockaddr,
    netmask: libc::sockaddr,
    flags: libc::c_ushort,
    padding_2: libc::c_short,
    padding_3: libc::c_ulong,
    padding_4: *const libc::c_void,
    metric: libc::c_short,
    device: *const libc::c_char,
    mtu: libc::c_ulong,
    window: libc::c_ulong,
    round_trip_time: libc::c_ushort,
}

/// An interface, named.
pub(crate) struct Interface {
    socket: OwnedFd,
    name: [u8; MAX_NAME_BYTES],
}

impl Interface {
    /// The interface `name`, which need not be there. A name that is too long is cut.
    pub(crate) fn named(name: &str) -> io::Result<Self> {
        let mut bytes = [0; MAX_NAME_BYTES];
        for (byte, character) in bytes.iter_mut().zip(name.bytes()) {
            *byte = character;
        }
        // Any socket of the family will do.
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointer.
        let socket = checked(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
        // SAFETY: the call above succeeded, so it is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        Ok(Self {
            socket,
            name: bytes,
        })
    }

    pub(crate) fn set_address(&self, address: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.ask(libc::SIOCSIFADDR as libc::Ioctl, &mut request)
    }

    pub(crate) fn set_netmask(&self, netmask: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_netmask = socket_address(netmask);
        self.ask(libc::SIOCSIFNETMASK as libc::Ioctl, &mut request)
    }

    pub(crate) fn bring_up(&self) -> io::Result<()> {
        let mut request = self.request();
        self.ask(libc::SIOCGIFFLAGS as libc::Ioctl, &mut request)?;
        // SAFETY: the kernel has filled in this member, as the request says.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ask(libc::SIOCSIFFLAGS as libc::Ioctl, &mut request)
    }

    /// Sends everything that has no route of its own to `gateway`.
    pub(crate) fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let name = self.request().ifr_name;
        // SAFETY: numbers, arrays of numbers and pointers: all zero is a valid value.
        let mut route: Route = unsafe { mem::zeroed() };
        route.destination = socket_address(Ipv4Addr::UNSPECIFIED);
        route.netmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.gateway = socket_address(gateway);
        route.flags = libc::RTF_UP | libc::RTF_GATEWAY;
        route.device = name.as_ptr();
        let socket = self.socket.as_raw_fd();
        let request = libc::SIOCADDRT as libc::Ioctl;
        // SAFETY: `route` and the name that it points to live through the call.
        checked(unsafe { libc::ioctl(socket, request, &raw const route) })?;
        Ok(())
    }

    /// A request about this interface, all zero but for its name.
    fn request(&self) -> libc::ifreq {
        // SAFETY: numbers, and a union of numbers and pointers: all zero is a valid value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ask(&self, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: `request` lives through the call, and is what all requests of this file take.
        checked(unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut *request) })?;
        Ok(())
    }
}

/// An address as the kernel takes it; the port is 0.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}
