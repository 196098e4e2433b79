//! A peer on a Unix socket that does as a test says: no agent, or a bad one.

use smolvm_host::channel::Channel;
use smolvm_host::transport::Address;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A peer that serves its connections one after the other, each by the next of `acts`.
pub(crate) struct Peer {
    _folder: TempDir,
    path: PathBuf,
}

/// What it does with a connection.
pub(crate) type Act = Box<dyn FnOnce(UnixStream) + Send>;

impl Peer {
    /// One that acts so.
    pub(crate) fn new(acts: Vec<Act>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for act in acts {
                act(listener.accept().unwrap().0);
            }
        });
        Self {
            _folder: folder,
            path,
        }
    }

    /// One that says `bytes` and then waits for our end.
    pub(crate) fn saying(bytes: &'static [u8]) -> Self {
        Self::new(vec![Box::new(move |mut stream| {
            let _ = stream.write_all(bytes);
            drain(stream);
        })])
    }

    /// Its socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A channel to it.
    pub(crate) fn channel(&self) -> Channel {
        let path = self.path.clone();
        Channel::new(Address::Unix { path }).unwrap()
    }

    /// A channel to it that says `CONNECT` first.
    pub(crate) fn connect_channel(&self) -> Channel {
        let path = self.path.clone();
        Channel::new(Address::ConnectSocket { path, port: 1024 }).unwrap()
    }
}

/// Reads until the other side ends.
pub(crate) fn drain(mut stream: UnixStream) {
    let _ = io::copy(&mut stream, &mut io::sink());
}
