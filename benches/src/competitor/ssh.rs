//! ssh as people use it: a kept-open control connection, commands by the `ssh` client over it, files through `cat`.
//!
//! Owns the server of this machine that is measured, with keys and a configuration of its own on a port of 127.0.0.1, and
//! the client's control connection. The user is who runs this.

use super::{Command, Competitor, Name, Streams, printing, stored};
use crate::process::Server;
use anyhow::{Context, Result, ensure};
use rustix::fd::OwnedFd;
use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What a server of root's sees: another passwd file, and a place for sshd's empty folder.
const NAMESPACE: &str = r#"mount --bind "$1" /etc/passwd && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && shift && exec "$@""#;

/// Which server, and its program.
#[derive(Clone, Debug)]
pub(crate) enum SshServer {
    OpenSsh(PathBuf),
    Dropbear(PathBuf),
}

/// A server with an open control connection.
pub(crate) struct Ssh {
    program: SshServer,
    folder: PathBuf,
    server: Server,
    /// Its end is the control connection's.
    _control: Server,
}

impl Ssh {
    /// Starts server and client with what they need in a folder of their own within `folder`.
    pub(crate) fn start(program: SshServer, folder: &Path) -> Result<Self> {
        let folder = folder.join(match program {
            SshServer::OpenSsh(_) => "o",
            SshServer::Dropbear(_) => "d",
        });
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        make_key("key", &folder)?;
        match &program {
            SshServer::OpenSsh(_) => make_key("host", &folder)?,
            SshServer::Dropbear(program) => {
                let mut generator = process::Command::new(program.with_file_name("dropbearkey"));
                generator
                    .args(["-t", "ed25519", "-f"])
                    .stderr(Stdio::null());
                succeeds(generator.arg(folder.join("host")))?;
            }
        }
        fs::copy(folder.join("key.pub"), folder.join("authorized_keys"))?;
        let (server, port, _) = launch(&program, &folder)?;
        write_client_configuration(&folder, port)?;
        let mut master = process::Command::new("ssh");
        master.arg("-F").arg(folder.join("client"));
        master.args(["-M", "-N", "guest"]).stderr(Stdio::null());
        let mut control = Server::start(&mut master)?;
        let socket = folder.join("control");
        control
            .wait_until(|| socket.exists())
            .context("no control connection comes about")?;
        Ok(Self {
            program,
            folder,
            server,
            _control: control,
        })
    }

    fn command(&self, words: &str) -> process::Command {
        let mut command = process::Command::new("ssh");
        command.arg("-F").arg(self.folder.join("client"));
        command.args(["guest", words]).stdin(Stdio::null());
        command
    }

    fn path(&self, bytes: u64) -> String {
        format!("{}/{}", self.folder.display(), stored(bytes))
    }

    fn timed_run(&self) -> Result<Duration> {
        let began = Instant::now();
        succeeds(&mut self.command("true"))?;
        Ok(began.elapsed())
    }

    /// Runs a command whose output is read here; how long until its end.
    fn drained(&self, words: &str, bytes: u64) -> Result<Duration> {
        let began = Instant::now();
        let mut client = self.command(words).stdout(Stdio::piped()).spawn()?;
        let mut output = client.stdout.take().context("the client has no output")?;
        let mut buffer = vec![0; crate::connection::READ_BYTES];
        let mut drained = 0;
        loop {
            match output.read(&mut buffer)? {
                0 => break,
                got => drained += got as u64,
            }
        }
        let status = client.wait()?;
        ensure!(status.success(), "ssh ended with {status}");
        ensure!(drained == bytes, "{drained} bytes instead of {bytes}");
        Ok(began.elapsed())
    }

    /// A file to send, made once for all servers: clients of ssh have no memory to send from.
    fn source(&self, bytes: u64) -> Result<PathBuf> {
        let path = self.folder.with_file_name(format!("source-{bytes}"));
        if !path.exists() {
            let mut content = std::io::repeat(0x5a).take(bytes);
            std::io::copy(&mut content, &mut File::create(&path)?)?;
        }
        Ok(path)
    }
}

impl Competitor for Ssh {
    fn name(&self) -> Name {
        match self.program {
            SshServer::OpenSsh(_) => Name::OpenSsh,
            SshServer::Dropbear(_) => Name::Dropbear,
        }
    }

    /// There is no such call: a command that does nothing is what people send.
    fn ping(&self) -> Result<Duration> {
        self.timed_run()
    }

    fn runs(&self, command: Command, count: usize) -> Result<Option<Vec<Duration>>> {
        if command == Command::Bare {
            return Ok(None);
        }
        let times: Result<_> = (0..count).map(|_| self.timed_run()).collect();
        times.map(Some)
    }

    fn at_once(&self, count: usize) -> Result<Duration> {
        let ready = Barrier::new(count + 1);
        std::thread::scope(|scope| {
            let hosts: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| {
                        ready.wait();
                        self.timed_run()
                    })
                })
                .collect();
            let began = Instant::now();
            ready.wait();
            for host in hosts {
                host.join().expect("a host does not panic")?;
            }
            Ok(began.elapsed())
        })
    }

    fn output(&self, bytes: u64) -> Result<Duration> {
        self.drained(&printing(bytes), bytes)
    }

    fn put(&self, bytes: u64) -> Result<Duration> {
        let source = File::open(self.source(bytes)?)?;
        let path = self.path(bytes);
        let began = Instant::now();
        let words = format!("cat >{path}.new && mv {path}.new {path}");
        succeeds(self.command(&words).stdin(source))?;
        let took = began.elapsed();
        ensure!(
            fs::metadata(&path)?.len() == bytes,
            "the upload is not whole"
        );
        Ok(took)
    }

    fn get(&self, bytes: u64) -> Result<Duration> {
        self.drained(&format!("cat {}", self.path(bytes)), bytes)
    }

    fn streams(&self, count: usize) -> Result<Streams> {
        let mut streams = Streams {
            outputs: Vec::new(),
            clients: Vec::new(),
        };
        for _ in 0..count {
            let mut command = self.command("exec cat /dev/zero");
            let mut client = command.stdout(Stdio::piped()).spawn()?;
            let output = client.stdout.take().map(OwnedFd::from);
            streams.outputs.extend(output);
            streams.clients.push(client);
        }
        Ok(streams)
    }

    fn start_another(&self) -> Result<Option<Duration>> {
        Ok(Some(launch(&self.program, &self.folder)?.2))
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }
}

/// Starts a server on a free port and waits until it greets; how long it took until it accepted a connection.
fn launch(program: &SshServer, folder: &Path) -> Result<(Server, u16, Duration)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = match program {
        SshServer::OpenSsh(program) => openssh(program, folder, port)?,
        SshServer::Dropbear(program) => dropbear(program, folder, port)?,
    };
    let began = Instant::now();
    let log = File::create(folder.join("log"))?;
    let mut server = Server::start(command.stderr(log))?;
    let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    server
        .wait_until(|| TcpStream::connect(address(port)).is_ok())
        .with_context(log)?;
    let took = began.elapsed();
    server.wait_until(|| greets(port)).with_context(log)?;
    Ok((server, port, took))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn greets(port: u16) -> bool {
    TcpStream::connect(address(port)).is_ok_and(|mut stream| stream.read_exact(&mut [0; 4]).is_ok())
}

fn openssh(program: &Path, folder: &Path, port: u16) -> Result<process::Command> {
    let configuration = folder.join(format!("server-{port}"));
    let mut text = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\n\
         StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         MaxSessions 256\nLogLevel ERROR\n",
        folder.display()
    );
    // A server that is unpacked somewhere has to be told where its parts are.
    let parts = program
        .parent()
        .and_then(Path::parent)
        .map(|usr| usr.join("lib/openssh"));
    if let Some(parts) = parts.filter(|parts| parts.join("sshd-session").exists()) {
        text += &format!("SshdSessionPath {}/sshd-session\n", parts.display());
        text += &format!("SshdAuthPath {}/sshd-auth\n", parts.display());
    }
    fs::write(&configuration, text)?;
    let mut command = served(program, folder)?;
    command.args(["-D", "-e", "-f"]).arg(configuration);
    Ok(command)
}

/// A server's program. Where it is root's, the user's home is empty and the shell is `/bin/sh`, as for agents: what a login
/// shell reads at home would be measured otherwise. Others serve the user as they are.
fn served(program: &Path, folder: &Path) -> Result<process::Command> {
    if !rustix::process::geteuid().is_root() {
        return Ok(process::Command::new(program));
    }
    let passwd = folder.join("passwd");
    let text = format!(
        "root:x:0:0::{}:/bin/sh\nsshd:x:9999:9999::/run/sshd:/bin/false\n",
        folder.display()
    );
    fs::write(&passwd, text)?;
    let mut command = process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", NAMESPACE, "sh"]);
    command.arg(passwd).arg(program);
    Ok(command)
}

fn dropbear(program: &Path, folder: &Path, port: u16) -> Result<process::Command> {
    let mut command = served(program, folder)?;
    command.args(["-F", "-E", "-s", "-m", "-D"]).arg(folder);
    command.arg("-r").arg(folder.join("host"));
    command.args(["-p", &format!("127.0.0.1:{port}"), "-P", "/dev/null"]);
    Ok(command)
}

fn make_key(name: &str, folder: &Path) -> Result<()> {
    let mut generator = process::Command::new("ssh-keygen");
    generator.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
    succeeds(generator.arg(folder.join(name)))
}

fn write_client_configuration(folder: &Path, port: u16) -> Result<()> {
    let text = format!(
        "Host guest\n HostName 127.0.0.1\n Port {port}\n IdentityFile {0}/key\n IdentitiesOnly yes\n BatchMode yes\n\
         StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n GlobalKnownHostsFile /dev/null\n LogLevel ERROR\n\
         ControlPath {0}/control\n",
        folder.display()
    );
    Ok(fs::write(folder.join("client"), text)?)
}

fn succeeds(command: &mut process::Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{name} cannot be run"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
