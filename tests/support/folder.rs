//! A folder for one test of the command line, with inputs for images that pass every check.
//!
//! Owns the folder and an environment that keeps state and cache inside it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// One test's folder.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        // Sockets have short paths, so not below the build's folder.
        let folder = tempfile::Builder::new()
            .prefix("smolctl-")
            .tempdir()
            .unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match bytes.starts_with(b"#!") {
            true => write_by_another(&path, bytes),
            false => fs::write(&path, bytes).unwrap(),
        }
        path
    }

    /// `smolctl` with state and cache in this folder, and nothing on its `PATH` but `bin/` and what makes a disk.
    pub(crate) fn smolctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SMOLVM_STATE_DIR", self.path("s"))
            .env("SMOLVM_CACHE_DIR", self.path("c"))
            .env("SMOLVM_CID_POOL", self.path("cids.pool"))
            .env("PATH", self.search_path());
        command
    }

    /// `bin/`, and where e2fsprogs is on this machine's `PATH`: it need not be one of the folders where smolctl looks by itself.
    fn search_path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = std::env::split_paths(&path).find(|folder| folder.join("mke2fs").exists());
        let tools = tools.filter(|folder| !folder.join("sh").exists());
        std::env::join_paths(std::iter::once(self.path("bin")).chain(tools)).unwrap()
    }

    /// The names in a folder, sorted.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Inputs of an image for x86_64: `kernel`, `modules`, `busybox`, `agent`.
    pub(crate) fn write_image_inputs(&self) {
        self.write("kernel", &kernel());
        self.write("busybox", &elf(62, 1, b"busybox"));
        self.write("agent", &elf(62, 1, b"smolvm-guest-agent 1.2.3\n"));
        self.write(
            "modules/modules.builtin",
            b"kernel/drivers/virtio/virtio.ko\n",
        );
        let modules = [
            ("virtio_pci", "depends=virtio\0vermagic=6.1.0-test SMP\0"),
            ("vsock", "depends=\0vermagic=6.1.0-test SMP\0"),
            (
                "vmw_vsock_virtio_transport",
                "depends=vsock\0vermagic=6.1.0-test SMP\0",
            ),
        ];
        for (name, info) in modules {
            let file = format!("modules/kernel/{name}.ko");
            self.write(&file, &elf(62, 1, info.as_bytes()));
        }
    }

    /// `smolctl image build` of those inputs.
    pub(crate) fn image_build(&self, output: &Path) -> Command {
        let mut command = self.smolctl(&["image", "build", "--arch", "x86_64"]);
        for input in ["kernel", "modules", "busybox", "agent"] {
            command.arg(format!("--{input}")).arg(self.path(input));
        }
        command.arg("-o").arg(output);
        command
    }
}

/// The shortest file that passes for an x86_64 kernel.
pub(crate) fn kernel() -> Vec<u8> {
    let mut image = vec![0; 2048];
    image[0x1F1] = 1;
    image[0x1F4] = 64;
    image[0x1FE..0x206].copy_from_slice(b"\x55\xAA\0\0HdrS");
    image[0x20F] = 1;
    image[0x236] = 1;
    image[0x300..0x30A].copy_from_slice(b"6.1.0-test");
    image
}

/// An ELF file for a machine, with one segment and a section `.modinfo`, both of `content`.
pub(crate) fn elf(machine: u16, segment_kind: u32, content: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let content_at = 120 + names.len();
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for number in [0x40_0000, 64, content_at + content.len()] {
        file.extend((number as u64).to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for number in [64u16, 56, 1, 64, 2, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(u64::from(segment_kind).to_le_bytes());
    for number in [content_at, 0, 0, content.len(), 0, 0] {
        file.extend((number as u64).to_le_bytes());
    }
    file.extend(names);
    file.extend(content);
    for (name, at, length) in [(0u32, 120, names.len()), (1, content_at, content.len())] {
        file.extend(name.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        for number in [0, 0, at, length, 0, 0, 0] {
            file.extend((number as u64).to_le_bytes());
        }
    }
    file
}

/// Sets a mode, and tells it: without set-user-ID and set-group-ID bits where nobody may set them, as in Nix's sandbox.
#[allow(dead_code, reason = "shared with tests that set no mode")]
pub(crate) fn set_mode(path: impl AsRef<Path>, mode: u32) -> u32 {
    let set = |mode| fs::set_permissions(path.as_ref(), Permissions::from_mode(mode));
    match set(mode) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && mode & 0o6000 != 0 => {
            set(mode & 0o1777).unwrap();
            mode & 0o1777
        }
        result => {
            result.unwrap();
            mode
        }
    }
}

/// Writes a program: where this process had it open itself, a child that another test starts meanwhile would have it open,
/// too, and nobody could execute it (ETXTBSY in execve(2)).
fn write_by_another(path: &Path, bytes: &[u8]) {
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "exec cat >\"$1\"", "sh"])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(writer.wait().unwrap().success());
}
