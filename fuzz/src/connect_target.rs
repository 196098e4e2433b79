//! The target of a stream, as a request's `to` or `smolctl forward` says it, and the guest that a command names.
//!
//! What is understood is understood alike once it is written anew, and the kernel and the resolver can take it.

use smolvm_host::target::{GuestCid, Target as Guest};
use smolvm_protocol::request::{ConnectRequest, MAX_SOCKET_PATH_BYTES, Request, Target};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// The most bytes of a host's name (RFC 1035, as text).
const MAX_HOST_BYTES: usize = 253;

/// Checks what is made of a target.
pub fn check(bytes: &[u8]) {
    if let Ok(target) = Target::parse(bytes) {
        assert_eq!(Target::parse(&target.to_bytes()).as_ref(), Ok(&target));
        match &target {
            Target::Tcp { host, port } => {
                assert!((1..=MAX_HOST_BYTES).contains(&host.len()) && !host.contains(&0));
                assert!(*port > 0);
            }
            Target::Unix { path } => {
                assert!((1..=MAX_SOCKET_PATH_BYTES).contains(&path.len()) && !path.contains(&0));
            }
        }
        let request = Request::Connect(ConnectRequest { to: target });
        assert_eq!(Request::parse(request.to_json().as_bytes()), Ok(request));
    }
    match Guest::parse(OsStr::from_bytes(bytes)) {
        Ok(Guest::Name(name)) => {
            let name = name.as_str();
            assert_eq!(name.as_bytes(), bytes);
            // It is a folder's name, too.
            assert!(
                name.starts_with(|first: char| first.is_ascii_alphanumeric())
                    && !name.contains('/')
            );
        }
        Ok(Guest::Cid(cid)) => assert_eq!(GuestCid::new(cid.number()), Some(cid)),
        Ok(Guest::ConnectSocket(path) | Guest::Unix(path)) => {
            let path = path.as_os_str().as_bytes();
            assert!(!path.is_empty() && !path.contains(&0) && bytes.ends_with(path));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
