//! Stream sockets: binding, accepting, sending and receiving without blocking.
#![expect(
    unsafe_code,
    reason = "flags of send and recv, vsock addresses and socket options"
)]

use super::{checked, checked_length, uninterrupted};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use vsock::VsockListener;

/// As long as any address is.
const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_storage>();

/// Options of vsock sockets (`linux/vm_sockets.h`), which the crate `libc` lacks.
const SO_VM_SOCKETS_BUFFER_SIZE: libc::c_int = 0;
const SO_VM_SOCKETS_BUFFER_MAX_SIZE: libc::c_int = 2;

/// A socket's address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Vsock,
    Unix,
}

/// A listening vsock socket on `port` of any CID, backlog 128.
pub(crate) fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    let listener = VsockListener::bind_with_cid_port(libc::VMADDR_CID_ANY, port)?;
    // SAFETY: `into_raw_fd` gives up the descriptor, which is open.
    Ok(unsafe { OwnedFd::from_raw_fd(listener.into_raw_fd()) })
}

/// Lets at most `backlog` connections wait in the kernel; std asks for as many as there can be.
pub(crate) fn set_backlog(listener: impl AsFd, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::listen(listener.as_fd().as_raw_fd(), backlog) })?;
    Ok(())
}

/// The family of a stream socket; `None` where `fd` is no stream socket of a family we serve.
pub(crate) fn stream_family(fd: impl AsFd) -> Option<Family> {
    if option(&fd, libc::SO_TYPE).ok()? != libc::SOCK_STREAM {
        return None;
    }
    match option(&fd, libc::SO_DOMAIN).ok()? {
        libc::AF_VSOCK => Some(Family::Vsock),
        libc::AF_UNIX => Some(Family::Unix),
        _ => None,
    }
}

/// Whether a socket listens.
pub(crate) fn is_listening(fd: impl AsFd) -> io::Result<bool> {
    Ok(option(fd, libc::SO_ACCEPTCONN)? != 0)
}

/// Whether a socket is connected (`unix(7)` and `vsock(7)` know a peer then).
pub(crate) fn is_connected(fd: impl AsFd) -> bool {
    address(fd.as_fd(), libc::getpeername).is_some()
}

/// Whether a socket is connected with itself.
pub(crate) fn is_own_peer(fd: BorrowedFd<'_>) -> bool {
    let peer = address(fd, libc::getpeername);
    peer.is_some() && peer == address(fd, libc::getsockname)
}

type AskForAddress =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// What `getpeername` or `getsockname` says of a socket, zero behind its end.
fn address(fd: BorrowedFd<'_>, ask: AskForAddress) -> Option<[u8; ADDRESS_BYTES]> {
    let mut address = [0; ADDRESS_BYTES];
    let mut length = ADDRESS_BYTES as libc::socklen_t;
    let place = address.as_mut_ptr().cast();
    // SAFETY: `address` and `length` live through the call, and `length` is `address`'s size.
    checked(unsafe { ask(fd.as_raw_fd(), place, &raw mut length) }).ok()?;
    Some(address)
}

/// A number among a socket's options.
pub(super) fn option(fd: impl AsFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` and `length` live through the call, and `length` is `value`'s size.
    checked(unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// Makes `fd` non-blocking, for whoever shares its open file description, too.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: takes no pointer.
    let flags = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: takes no pointer.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Accepts a connection.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let listener = listener.as_fd().as_raw_fd();
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: no address is asked for, which null pointers say.
    let fd = checked(unsafe { libc::accept4(listener, address, length, libc::SOCK_CLOEXEC) })?;
    // SAFETY: the call above succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The CID of a connected vsock socket's peer.
pub(crate) fn peer_cid(socket: impl AsFd) -> io::Result<u32> {
    let mut address = libc::sockaddr_vm {
        svm_family: 0,
        svm_reserved1: 0,
        svm_port: 0,
        svm_cid: 0,
        svm_zero: [0; 4],
    };
    let mut length = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: `address` and `length` live through the call, and `length` is `address`'s size.
    checked(unsafe { libc::getpeername(socket, (&raw mut address).cast(), &raw mut length) })?;
    if libc::c_int::from(address.svm_family) != libc::AF_VSOCK {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    Ok(address.svm_cid)
}

/// Has the kernel send a credit update for a connected vsock socket: it does where the size of the socket's
/// buffer changes (`vsock_update_buffer_size` in `net/vmw_vsock/af_vsock.c`), and the size grows by a byte for that. Never
/// less, since a peer may be sending what it was allowed before.
pub(crate) fn send_credit_update(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let mut bytes = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both live through the call, and say how much of them it may write.
    checked(unsafe {
        libc::getsockopt(
            socket,
            libc::AF_VSOCK,
            SO_VM_SOCKETS_BUFFER_SIZE,
            (&raw mut bytes).cast(),
            &raw mut length,
        )
    })?;
    bytes += 1;
    for option in [SO_VM_SOCKETS_BUFFER_MAX_SIZE, SO_VM_SOCKETS_BUFFER_SIZE] {
        // SAFETY: `bytes` lives through the call, which only reads it.
        checked(unsafe {
            libc::setsockopt(
                socket,
                libc::AF_VSOCK,
                option,
                (&raw const bytes).cast(),
                length,
            )
        })?;
    }
    Ok(())
}

/// Replaces `buffer` by what has arrived, at most what it has capacity for; 0 is the peer's end.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive_with(socket.as_fd(), buffer, usize::MAX, 0)
}

/// The same, but no more than `limit` bytes.
pub(crate) fn receive_at_most(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    receive_with(socket.as_fd(), buffer, limit, 0)
}

/// The same, but what has arrived can be received once more.
pub(crate) fn peek(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive_with(socket.as_fd(), buffer, usize::MAX, libc::MSG_PEEK)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    limit: usize,
    flags: libc::c_int,
) -> io::Result<usize> {
    let socket = socket.as_raw_fd();
    buffer.clear();
    uninterrupted(|| {
        let spare = buffer.spare_capacity_mut();
        // SAFETY: `spare` is memory of ours of that length, and `recv` only writes to it.
        let returned = unsafe {
            libc::recv(
                socket,
                spare.as_mut_ptr().cast(),
                spare.len().min(limit),
                libc::MSG_DONTWAIT | flags,
            )
        };
        let length = checked_length(returned)?;
        // SAFETY: the kernel has written `length` bytes at the start of the empty buffer.
        unsafe { buffer.set_len(length) };
        Ok(length)
    })
}

/// Hands bytes to the kernel, as many as it takes at once. With none, it only asks whether the
/// connection still takes any: `EPIPE` says no.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let socket = socket.as_fd().as_raw_fd();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    uninterrupted(|| {
        // SAFETY: `bytes` lives through the call, which only reads it.
        checked_length(unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) })
    })
}

/// Ends the sending side.
pub(crate) fn shut_down_sending(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::shutdown(socket.as_fd().as_raw_fd(), libc::SHUT_WR) })?;
    Ok(())
}
