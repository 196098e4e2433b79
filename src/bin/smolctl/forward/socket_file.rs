//! A Unix socket's file: for this user alone, and gone with us.
//!
//! Owns the file's life. What a dead process left is replaced; a socket that somebody listens on, and a file of another
//! kind, is not.

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as listen_on,
    socket_with,
};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Clients that wait to be accepted; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;

/// The file of a socket that we made; removed with this, unless another took its place.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity_of(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Binds a socket that only this user may connect to.
///
/// # Errors
/// Also where somebody listens there already, or the file is no socket.
pub(crate) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let name = SocketAddrUnix::new(path).map_err(|_| {
        io::Error::other("the path is longer than the 107 bytes a socket's can have")
    })?;
    remove_stale(path, &name)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The file gets the socket's own mode (unix(7) has only the umask): nobody may slip in before it is changed.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &name)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity_of(path),
    };
    listen_on(&socket, BACKLOG)?;
    // Before that, it was to another who came at the same time what a dead process left.
    match identity_of(path) == file.identity {
        true => Ok((socket.into(), file)),
        false => Err(in_use()),
    }
}

fn in_use() -> io::Error {
    io::Error::other("somebody listens there already; choose another path")
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path, name: &SocketAddrUnix) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(file) => file.file_type().is_socket(),
        Err(_) => return Ok(()),
    };
    // A connect to a file that is no socket is refused as well.
    if !is_socket {
        return Err(io::Error::other(
            "there is a file that is no socket; remove it, or choose another path",
        ));
    }
    let found = identity_of(path);
    // Whoever has no room for one more client is not waited for.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&client, name) {
        Ok(()) | Err(Errno::AGAIN) => Err(in_use()),
        Err(Errno::CONNREFUSED) if identity_of(path) == found => fs::remove_file(path),
        // Another has removed it.
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn socket_is_this_users_alone_and_its_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = listen(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn socket_of_a_dead_process_is_replaced_and_one_in_use_or_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path).unwrap();
        assert!(listen(&path).is_err());
        drop((listener, file));
        fs::write(&path, "content").unwrap();
        assert!(listen(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn socket_whose_owner_takes_nobody_is_in_use_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let busy = UnixListener::bind(&path).unwrap();
        listen_on(&busy, 0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(listen(&path).err().unwrap().to_string()));
        let sentence = heard.recv_timeout(std::time::Duration::from_secs(10));
        assert!(sentence.unwrap().contains("somebody listens"));
    }

    #[test]
    fn file_that_took_its_place_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = listen(&path).unwrap();
        fs::write(folder.path().join("other"), "content").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn path_that_no_socket_can_have_is_told_as_such() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        assert!(listen(&path).err().unwrap().to_string().contains("107"));
    }
}
