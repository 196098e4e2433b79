//! A real ssh server on a port of 127.0.0.1, whose users have a `sh` of the test's choice.
//!
//! Owns the port, the folder that is the user's home there, and every connection's process: all are gone when it is
//! dropped. Each connection is served in a mount namespace of its own, where `/etc/passwd`, `/bin/sh` and the keys
//! are the test's. What a machine lacks for that is said.

use smolvm_host::SshDestination;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Which `sh` the server's users have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestShell {
    Dash,
    /// busybox, which takes its own applets for the other programs, too.
    Ash,
    /// For logins as well; it reads `~/.bashrc` then.
    Bash,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dropbear,
    OpenSsh,
}

/// What serves a connection: passwd file, sh, folder of keys, then the server's own words.
const NAMESPACE: &str = r#"
mount --bind "$1" /etc/passwd && mount --bind "$2" /bin/sh && mount --bind "$3" /mnt &&
    mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && shift 3 && exec "$@"
"#;

/// A listening server.
pub(crate) struct SshServer {
    folder: TempDir,
    port: NonZeroU16,
    is_ending: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<Child>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl SshServer {
    /// Starts a server on a free port, or says what this machine lacks.
    pub(crate) fn start(kind: Kind, shell: GuestShell) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        Self::start_on(listener, kind, shell)
    }

    /// The same on a port that is there already.
    pub(crate) fn start_on(
        listener: TcpListener,
        kind: Kind,
        shell: GuestShell,
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut server = words(kind, shell, folder.path())?;
        let port = listener.local_addr().unwrap().port();
        let is_ending = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let acceptor = std::thread::spawn({
            let (is_ending, connections) = (Arc::clone(&is_ending), Arc::clone(&connections));
            move || {
                while let Ok((connection, _)) = listener.accept() {
                    if is_ending.load(Ordering::SeqCst) {
                        return;
                    }
                    let input = OwnedFd::from(connection);
                    let output = input.try_clone().unwrap();
                    server.stdin(input).stdout(output).stderr(Stdio::null());
                    connections.lock().unwrap().push(server.spawn().unwrap());
                    // The command keeps the descriptors until the next one.
                    server.stdin(Stdio::null()).stdout(Stdio::null());
                }
            }
        });
        Ok(Self {
            folder,
            port: NonZeroU16::new(port).unwrap(),
            is_ending,
            connections,
            acceptor: Some(acceptor),
        })
    }

    /// The home of the user who logs in.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where it is reached, as a person would type it.
    pub(crate) fn address(&self) -> String {
        format!("root@127.0.0.1:{}", self.port)
    }

    /// The private key that it lets in.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Where it is reached, by the key that it knows.
    pub(crate) fn destination(&self) -> SshDestination {
        self.stranger().identity(self.key())
    }

    /// Where it is reached, by a key that it does not know.
    pub(crate) fn destination_with_other_key(&self) -> SshDestination {
        self.stranger().identity(self.folder.path().join("other"))
    }

    fn stranger(&self) -> SshDestination {
        destination(self.port)
    }

    /// Ends every connection as a server does that is killed.
    pub(crate) fn cut_connections(&self) {
        for mut connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.kill();
            let _ = connection.wait();
        }
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port.get()));
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.cut_connections();
    }
}

/// A server of this machine whose host key is taken as it is.
pub(crate) fn destination(port: NonZeroU16) -> SshDestination {
    SshDestination::forwarded(port)
        .option("StrictHostKeyChecking=no")
        .option("UserKnownHostsFile=/dev/null")
        .option("GlobalKnownHostsFile=/dev/null")
}

/// The command that serves a connection on its standard input and output.
fn words(kind: Kind, shell: GuestShell, folder: &Path) -> Result<Command, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can give a server a /bin/sh of its own".to_owned());
    }
    succeeds(Command::new("unshare").args(["--mount", "true"]))?;
    succeeds(Command::new("ssh").arg("-V"))?;
    let shell_program = match shell {
        GuestShell::Dash => found(&["/bin/dash", "/usr/bin/dash"])?,
        GuestShell::Bash => found(&["/bin/bash", "/usr/bin/bash"])?,
        GuestShell::Ash => brought("fetch-busybox.sh")?,
    };
    let login_shell = match shell {
        GuestShell::Bash => "/bin/bash",
        GuestShell::Dash | GuestShell::Ash => "/bin/sh",
    };
    let keys = write_files(folder, login_shell)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", NAMESPACE, "sh"]);
    command.arg(folder.join("passwd"));
    command.args([&shell_program, &keys]);
    match kind {
        Kind::Dropbear => dropbear(&mut command, &keys)?,
        Kind::OpenSsh => openssh(&mut command, folder)?,
    }
    Ok(command)
}

/// Passwords, keys and the home; the folder of what a server knows.
fn write_files(folder: &Path, login_shell: &str) -> Result<PathBuf, String> {
    let (home, keys) = (folder.join("home"), folder.join("keys"));
    for folder in [&home, &keys] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    }
    let passwd = format!(
        "root:x:0:0::{}:{login_shell}\nsshd:x:9999:9999::/run/sshd:/bin/false\n",
        home.display()
    );
    fs::write(folder.join("passwd"), passwd).unwrap();
    for name in ["key", "other"] {
        succeeds(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(name)),
        )?;
    }
    let authorized = keys.join("authorized_keys");
    fs::copy(folder.join("key.pub"), &authorized).unwrap();
    fs::set_permissions(authorized, Permissions::from_mode(0o600)).unwrap();
    Ok(keys)
}

fn dropbear(command: &mut Command, keys: &Path) -> Result<(), String> {
    let packages = brought("fetch-ssh-packages.sh")?;
    // Its own libc's loader, since this machine's may be older.
    let libraries = packages.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let name = match std::env::consts::ARCH {
        "x86_64" => "ld-linux-x86-64.so.2",
        _ => "ld-linux-aarch64.so.1",
    };
    let loader = [libraries.join(name), "--library-path".into(), libraries];
    let host_key = keys.join("host");
    let mut generator = Command::new(&loader[0]);
    generator.args(&loader[1..]);
    generator.arg(packages.join("usr/bin/dropbearkey"));
    succeeds(generator.args(["-t", "ed25519", "-f"]).arg(&host_key))?;
    command.args(loader).arg(packages.join("usr/sbin/dropbear"));
    command.args(["-i", "-E", "-s", "-m", "-D", "/mnt", "-r"]);
    command.arg("/mnt/host");
    Ok(())
}

fn openssh(command: &mut Command, folder: &Path) -> Result<(), String> {
    // A server that is unpacked somewhere wants to be named.
    let named = std::env::var_os("SMOLVM_SSHD").map(PathBuf::from);
    let program = match named {
        Some(program) => program,
        None => found(&["/usr/sbin/sshd", "/usr/bin/sshd"])?,
    };
    let host_key = folder.join("host");
    succeeds(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&host_key),
    )?;
    let configuration = folder.join("sshd_config");
    let text = format!(
        "HostKey {}\nAuthorizedKeysFile /mnt/authorized_keys\nPidFile none\nStrictModes no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n",
        host_key.display()
    );
    fs::write(&configuration, text).unwrap();
    command.arg(program).args(["-i", "-e", "-f"]);
    command.arg(configuration);
    Ok(())
}

fn found(paths: &[&str]) -> Result<PathBuf, String> {
    let path = paths.iter().map(Path::new).find(|path| path.exists());
    path.map(Path::to_owned)
        .ok_or_else(|| format!("there is no {} here", paths[0]))
}

/// What one of the project's scripts brings for this machine's architecture; asked once, since a machine without a
/// mirror may take long to say so.
fn brought(script: &'static str) -> Result<PathBuf, String> {
    static BROUGHT: Mutex<BTreeMap<&str, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut brought = BROUGHT.lock().unwrap();
    brought
        .entry(script)
        .or_insert_with(|| bring(script))
        .clone()
}

fn bring(script: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut command = Command::new("bash");
    command.arg(folder.join(script)).arg(std::env::consts::ARCH);
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = said.lines().last().unwrap_or("no reason given");
        return Err(format!("scripts/{script} failed: {reason}"));
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(path.trim()))
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
