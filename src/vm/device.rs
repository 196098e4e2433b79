//! What provides the guest's vsock device on this host.
//!
//! Owns the choice between the kernel's `/dev/vhost-vsock` and the program `vhost-device-vsock`, and
//! that program's arguments. Never its mode that forwards to a CID: that would use the host's own
//! AF_VSOCK.

use super::VmError;
use super::registry::state_error;
use crate::places;
use crate::target::GuestCid;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program that provides a vsock device over vhost-user.
pub const DEVICE_PROGRAM: &str = "vhost-device-vsock";
/// The kernel's vsock device for VMs.
pub const KERNEL_DEVICE: &str = "/dev/vhost-vsock";
/// The longest path of a Unix socket, in bytes (unix(7): 108, with the NUL at its end).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// What provides the guest's vsock device on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceProvider {
    /// The kernel.
    Kernel,
    /// This program.
    Program(PathBuf),
}

/// What somebody wants to provide the guest's vsock device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The kernel where `/dev/vhost-vsock` can be opened, else the program.
    #[default]
    Auto,
    /// The kernel, or an error.
    Kernel,
    /// The program, or an error.
    Program,
}

impl DeviceProvider {
    /// What the choice comes to on this host; the program is looked for on the `PATH` and in the
    /// cache.
    ///
    /// # Errors
    /// [`VmError::DeviceMissing`], [`VmError::KernelDevice`] and [`VmError::DeviceProgramMissing`].
    pub fn find(choice: DeviceChoice) -> Result<Self, VmError> {
        let kernel = || File::options().read(true).write(true).open(KERNEL_DEVICE);
        match choice {
            DeviceChoice::Auto if kernel().is_ok() => Ok(Self::Kernel),
            DeviceChoice::Auto => Self::program().ok_or(VmError::DeviceMissing),
            DeviceChoice::Program => Self::program().ok_or(VmError::DeviceProgramMissing),
            DeviceChoice::Kernel => match kernel() {
                Ok(_) => Ok(Self::Kernel),
                Err(source) => Err(VmError::KernelDevice { source }),
            },
        }
    }

    /// The CID of this machine where it is a VM itself, which no VM of it can have: what is sent to
    /// that CID stays here. Only the kernel's device shares its number space.
    #[must_use]
    pub fn own_cid(&self) -> Option<GuestCid> {
        match self {
            Self::Kernel => vsock::get_local_cid().ok().and_then(GuestCid::new),
            Self::Program(_) => None,
        }
    }

    fn program() -> Option<Self> {
        device_program().map(Self::Program)
    }
}

/// The program that provides a vsock device, on the `PATH` or in the cache.
pub(crate) fn device_program() -> Option<PathBuf> {
    let cached = places::cache_dir().map(|cache| cache.join("bin").join(DEVICE_PROGRAM));
    find_program(DEVICE_PROGRAM).or_else(|| cached.ok().filter(|path| is_program(path)))
}

/// The sockets of one VM's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSockets {
    /// Where QEMU reaches the device.
    pub vhost_user: PathBuf,
    /// Where the host reaches the guest, after `CONNECT`.
    pub guest: PathBuf,
}

impl DeviceSockets {
    /// The sockets in a VM's directory.
    ///
    /// # Errors
    /// [`VmError::SocketPathTooLong`], and [`VmError::State`] where the path cannot be told to the
    /// program, whose options are comma-separated.
    pub fn in_dir(dir: &Path) -> Result<Self, VmError> {
        let sockets = Self {
            vhost_user: dir.join("device.sock"),
            guest: dir.join("vsock.sock"),
        };
        if sockets.vhost_user.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(VmError::SocketPathTooLong {
                path: sockets.vhost_user,
            });
        }
        if dir.as_os_str().as_bytes().contains(&b',') {
            let reason = "vhost-device-vsock takes no path with a comma; set SMOLVM_STATE_DIR";
            return Err(state_error(dir)(std::io::Error::other(reason)));
        }
        Ok(sockets)
    }

    /// The program's arguments.
    #[must_use]
    pub fn arguments(&self, cid: GuestCid) -> Vec<OsString> {
        let mut vm = OsString::from(format!("guest-cid={},uds-path=", cid.number()));
        vm.push(&self.guest);
        vm.push(",socket=");
        vm.push(&self.vhost_user);
        vec!["--vm".into(), vm]
    }
}

/// A program on the `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    find_in(&path, name)
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_absolute() && is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_is_told_cid_and_both_sockets() {
        let sockets = DeviceSockets::in_dir(Path::new("/s")).unwrap();
        assert_eq!(
            sockets.arguments(GuestCid::FIRST),
            [
                "--vm",
                "guest-cid=3,uds-path=/s/vsock.sock,socket=/s/device.sock"
            ]
        );
    }

    #[test]
    fn socket_path_of_more_than_107_bytes_is_refused() {
        let fits = "/".to_owned() + &"a".repeat(94);
        assert!(DeviceSockets::in_dir(Path::new(&fits)).is_ok());
        let error = DeviceSockets::in_dir(Path::new(&(fits + "a"))).unwrap_err();
        assert!(error.to_string().contains("SMOLVM_STATE_DIR"));
        assert!(DeviceSockets::in_dir(Path::new("/a,b")).is_err());
    }

    #[test]
    fn only_executable_files_on_the_path_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), b"").unwrap();
        assert_eq!(find_in(folder.path().as_os_str(), "x"), None);
        assert!(find_in(OsStr::new("/nowhere:/bin:/usr/bin"), "sh").is_some());
    }
}
