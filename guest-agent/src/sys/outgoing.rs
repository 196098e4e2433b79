//! Connecting to sockets in the guest: addresses of names (`getaddrinfo(3)`), and connections that are
//! made without blocking.
#![expect(
    unsafe_code,
    reason = "std resolves and connects in one blocking call, or parses addresses by code of its own"
)]

use super::{checked, socket};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

/// An address as the kernel takes it, with its family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    storage: [u8; size_of::<libc::sockaddr_un>()],
    length: usize,
    family: libc::c_int,
}

/// How an address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The host is an address; nobody is asked.
    Numeric,
    /// By `/etc/hosts` and the name servers of `/etc/resolv.conf`; blocks, for as long as these take.
    Names,
}

impl Address {
    /// Of a Unix socket, whose path has at most 107 bytes.
    pub(crate) fn of_unix(path: &[u8]) -> Self {
        let mut address = Self {
            storage: [0; size_of::<libc::sockaddr_un>()],
            length: 0,
            family: libc::AF_UNIX,
        };
        let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
        for (place, byte) in address.storage.iter_mut().zip(family.iter().chain(path)) {
            *place = *byte;
        }
        address.length = family.len() + path.len() + 1;
        address
    }

    /// Of a TCP port; none where the host is not known.
    pub(crate) fn of_tcp(host: &CStr, port: u16, lookup: Lookup) -> Vec<Self> {
        // SAFETY: all zero is a valid value: no wish.
        let mut wishes: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
        wishes.ai_socktype = libc::SOCK_STREAM;
        if lookup == Lookup::Numeric {
            wishes.ai_flags = libc::AI_NUMERICHOST;
        }
        let mut found: *mut libc::addrinfo = ptr::null_mut();
        let name = host.as_ptr();
        // SAFETY: a C string, wishes and a place for the answer, all of which live through the call.
        let failed =
            unsafe { libc::getaddrinfo(name, ptr::null(), &raw const wishes, &raw mut found) };
        let mut addresses = Vec::new();
        if failed != 0 {
            return addresses;
        }
        let mut next = found;
        // SAFETY: null at the list's end, else an entry of the list, which lives until it is freed.
        while let Some(entry) = unsafe { next.as_ref() } {
            addresses.extend(Self::of_entry(entry, port));
            next = entry.ai_next;
        }
        // SAFETY: as the call above made it, and nobody has it any more.
        unsafe { libc::freeaddrinfo(found) };
        addresses
    }

    fn of_entry(entry: &libc::addrinfo, port: u16) -> Option<Self> {
        let length = entry.ai_addrlen as usize;
        let mut address = Self {
            storage: [0; size_of::<libc::sockaddr_un>()],
            length,
            family: entry.ai_family,
        };
        let place = address.storage.get_mut(..length)?;
        // SAFETY: an entry's address is as long as it says, and `place` is memory of ours of that length.
        unsafe { ptr::copy_nonoverlapping(entry.ai_addr.cast(), place.as_mut_ptr(), length) };
        // `sin_port` and `sin6_port` both follow the family.
        place.get_mut(2..4)?.copy_from_slice(&port.to_be_bytes());
        Some(address)
    }
}

/// Begins a connection to `address`; it is made once the socket can be written to and has a peer.
///
/// # Errors
/// It is refused at once; `EAGAIN` where a Unix socket's listener has too many waiting.
pub(crate) fn connect(address: &Address) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no pointer.
    let made = checked(unsafe { libc::socket(address.family, kind, 0) })?;
    // SAFETY: the call above succeeded, so it is open and nobody else's.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    let place = address.storage.as_ptr().cast();
    let length = address.length as libc::socklen_t;
    // SAFETY: `address` lives through the call, and is at least as long as it is told.
    match checked(unsafe { libc::connect(made.as_raw_fd(), place, length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(made),
    }
}

/// Whether a connection is made by now.
///
/// # Errors
/// It has failed. `ECONNREFUSED` where nobody listens and TCP has connected the socket with itself: it may
/// get the very port that it is to reach.
pub(crate) fn is_made(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let error = match socket::option(socket, libc::SO_ERROR)? {
        0 if socket::is_own_peer(socket) => libc::ECONNREFUSED,
        0 => return Ok(socket::is_connected(socket)),
        error => error,
    };
    Err(io::Error::from_raw_os_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    #[test]
    fn socket_that_is_connected_with_itself_is_refused() {
        // SAFETY: takes no pointer.
        let socket = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }).unwrap();
        // SAFETY: the call above succeeded, so it is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let mut address = Address::of_tcp(c"127.0.0.1", 0, Lookup::Numeric).remove(0);
        let mut length = address.length as libc::socklen_t;
        let place = address.storage.as_mut_ptr().cast();
        let number = socket.as_raw_fd();
        // SAFETY: `address` lives through the call, which is told how long it is.
        checked(unsafe { libc::bind(number, place, length) }).unwrap();
        // SAFETY: the same, and of `length`.
        checked(unsafe { libc::getsockname(number, place, &raw mut length) }).unwrap();
        // SAFETY: as for the first.
        checked(unsafe { libc::connect(number, place, length) }).unwrap();
        let error = is_made(socket.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
    }

    #[test]
    fn socket_that_is_connected_with_a_listener_is_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Address::of_tcp(c"127.0.0.1", port, Lookup::Numeric).remove(0);
        let made = connect(&address).unwrap();
        listener.accept().unwrap();
        assert!(is_made(made.as_fd()).unwrap());
    }
}
