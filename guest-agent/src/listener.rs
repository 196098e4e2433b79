//! Where connections come from, and whom the agent serves.
//!
//! Owns binding, taking over inherited sockets, and the rule that only the host (CID 2) reaches the
//! agent over vsock: with `vsock_loopback` any process of the guest could otherwise become the
//! agent's user through CID 1, and so could a sibling VM. Refuses sockets of other families: an
//! agent that acts for whoever connects has no business on a network.

use crate::sys::{file, inherited, socket, socket::Family};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The CID of the VM's host, `VMADDR_CID_HOST`.
const HOST_CID: u32 = 2;

/// Connections that wait in the kernel; the `vsock` crate asks for as many.
const BACKLOG: i32 = 128;

/// Which vsock peers are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerRule {
    any: bool,
    allowed: Vec<u32>,
}

impl PeerRule {
    /// Serves `cid`, too; `None` is every one.
    pub(crate) fn allow(&mut self, cid: Option<u32>) {
        match cid {
            Some(cid) => self.allowed.push(cid),
            None => self.any = true,
        }
    }

    fn serves(&self, cid: u32) -> bool {
        self.any || cid == HOST_CID || self.allowed.contains(&cid)
    }

    /// Whether the peer of a connected socket is served: a Unix socket's own permissions have
    /// decided already.
    pub(crate) fn check(&self, socket: &OwnedFd, family: Family) -> Result<(), PeerError> {
        match family {
            Family::Unix => Ok(()),
            Family::Vsock => match socket::peer_cid(socket) {
                Ok(cid) if self.serves(cid) => Ok(()),
                Ok(cid) => Err(PeerError::Refused { cid }),
                Err(error) => Err(PeerError::Unknown(error)),
            },
        }
    }
}

/// Why a peer is not served.
#[derive(Debug)]
pub(crate) enum PeerError {
    Refused { cid: u32 },
    Unknown(io::Error),
}

impl fmt::Display for PeerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { cid } => write!(
                formatter,
                "refused a connection from CID {cid}: only the host is served (--allow-cid)"
            ),
            Self::Unknown(error) => {
                write!(
                    formatter,
                    "refused a connection whose peer is unknown: {error}"
                )
            }
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) family: Family,
    /// To be removed in the end, where we made it.
    file: Option<SocketFile>,
}

/// The file of a Unix socket: its path, and by device and inode which file it was.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn identity_of(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path)
            .ok()
            .map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(SocketFile { path, identity }) = &self.file {
            // Another agent may have bound the path meanwhile.
            if identity.is_some() && SocketFile::identity_of(path) == *identity {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Source {
    Listener(Listener),
    /// An inherited connection, to be served once.
    Connection(OwnedFd, Family),
}

/// Why there is nothing to serve.
#[derive(Debug)]
pub(crate) enum ListenError {
    Vsock { port: u32, error: io::Error },
    Unix { path: PathBuf, error: io::Error },
    InUse { path: PathBuf },
    Inherited { number: i32, error: io::Error },
    NotServable { number: i32 },
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { port, error } if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                write!(
                    formatter,
                    "cannot listen on vsock port {port}: this kernel has no vsock; load the module \
                 vmw_vsock_virtio_transport"
                )
            }
            Self::Vsock { port, error } => {
                write!(formatter, "cannot listen on vsock port {port}: {error}")
            }
            Self::Unix { path, error } => {
                write!(
                    formatter,
                    "cannot listen on unix socket {}: {error}",
                    path.display()
                )
            }
            Self::InUse { path } => write!(
                formatter,
                "cannot listen on unix socket {}: somebody listens there already",
                path.display()
            ),
            Self::Inherited { number, error } => {
                write!(formatter, "cannot serve descriptor {number}: {error}")
            }
            Self::NotServable { number } => write!(
                formatter,
                "cannot serve descriptor {number}: it is no vsock or Unix stream socket that \
                 listens or is connected"
            ),
        }
    }
}

/// Takes inherited sockets over, by their numbers; to be called once, before anything is opened.
pub(crate) fn take(numbers: &[RawFd]) -> Result<Vec<Source>, ListenError> {
    let sockets = inherited::take(numbers)
        .map_err(|(number, error)| ListenError::Inherited { number, error })?;
    let mut sources = Vec::new();
    for (&number, socket) in numbers.iter().zip(sockets) {
        sources.push(source_of(number, socket)?);
    }
    Ok(sources)
}

/// Binds a vsock socket that the host can connect to.
pub(crate) fn listen_vsock(port: u32) -> Result<Source, ListenError> {
    let socket = socket::listen_vsock(port).map_err(|error| ListenError::Vsock { port, error })?;
    Ok(Source::Listener(Listener {
        socket,
        family: Family::Vsock,
        file: None,
    }))
}

/// Binds a Unix socket that only the agent's user may connect to. A socket file that a dead agent
/// left is replaced; one that somebody listens on, and a file of another kind, is not.
pub(crate) fn listen_unix(path: &Path) -> Result<Source, ListenError> {
    let failed = |error| ListenError::Unix {
        path: path.to_owned(),
        error,
    };
    // A connect to a file that is no socket is refused as well.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        match UnixStream::connect(path) {
            Ok(_) => {
                return Err(ListenError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    // Masked, not changed afterwards: nobody may slip in between.
    let socket = file::with_umask(0o177, || UnixListener::bind(path))
        .map_err(failed)?
        .into();
    let listener = Listener {
        socket,
        family: Family::Unix,
        file: Some(SocketFile {
            path: path.to_owned(),
            identity: SocketFile::identity_of(path),
        }),
    };
    socket::set_backlog(&listener.socket, BACKLOG).map_err(failed)?;
    Ok(Source::Listener(listener))
}

fn source_of(number: RawFd, socket: OwnedFd) -> Result<Source, ListenError> {
    let failed = |error| ListenError::Inherited { number, error };
    let Some(family) = socket::stream_family(socket.as_fd()) else {
        return Err(ListenError::NotServable { number });
    };
    if socket::is_listening(socket.as_fd()).map_err(failed)? {
        return Ok(Source::Listener(Listener {
            socket,
            family,
            file: None,
        }));
    }
    if !socket::is_connected(socket.as_fd()) {
        return Err(ListenError::NotServable { number });
    }
    Ok(Source::Connection(socket, family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_served_unless_more_is_allowed() {
        let mut rule = PeerRule::default();
        assert!(rule.serves(2) && !rule.serves(1) && !rule.serves(3) && !rule.serves(0));
        rule.allow(Some(1));
        assert!(rule.serves(2) && rule.serves(1) && !rule.serves(3));
        rule.allow(None);
        assert!(rule.serves(3));
    }

    #[test]
    fn file_in_the_sockets_place_is_left_as_it_is() {
        let path = std::env::temp_dir().join(format!("smolvm-listener-{}", std::process::id()));
        std::fs::write(&path, "content").unwrap();
        assert!(matches!(listen_unix(&path), Err(ListenError::Unix { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn socket_of_a_dead_agent_is_replaced_and_one_in_use_is_not() {
        let path = std::env::temp_dir().join(format!("smolvm-dead-{}", std::process::id()));
        drop(UnixListener::bind(&path).unwrap());
        let listener = listen_unix(&path).unwrap();
        assert!(matches!(listen_unix(&path), Err(ListenError::InUse { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn inherited_descriptor_that_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = source_of(9, file.into()).unwrap_err();
        assert!(matches!(error, ListenError::NotServable { .. }));
    }

    #[test]
    fn inherited_network_socket_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = source_of(9, listener.into()).unwrap_err();
        assert!(matches!(error, ListenError::NotServable { .. }));
    }

    #[test]
    fn inherited_pair_is_a_connection_and_a_bound_socket_a_listener() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let source = source_of(9, ours.into()).unwrap();
        assert!(matches!(source, Source::Connection(_, Family::Unix)));
    }
}
