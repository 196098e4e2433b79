//! The ssh server of a guest that has one: logins, files, host keys. The system's `ssh` and `sftp` are the clients.

use crate::guest::{Checked, Guest, holds, same};
use crate::report::Case;
use smolvm_host::cancel::Cancel;
use smolvm_host::{Outcome, SshDestination, Transfer};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to come up once the agent answers: under emulation its keys take seconds.
const SERVER_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How a guest's ssh server is reached.
#[derive(clap::Args)]
pub(crate) struct Login {
    /// NAME, cid:N, uds:PATH or unix:PATH of its agent.
    pub(crate) target: std::ffi::OsString,
    /// The port of 127.0.0.1 that leads to the guest's port 22.
    #[arg(long)]
    pub(crate) port: u16,
    /// The private key whose public half the guest was started with.
    #[arg(long)]
    pub(crate) key: std::path::PathBuf,
    /// An empty folder for files of this run.
    #[arg(long)]
    pub(crate) folder: std::path::PathBuf,
}

/// A guest with an ssh server, and how it is logged in to.
pub(crate) struct SshGuest {
    pub(crate) guest: Guest,
    pub(crate) login: Login,
}

pub(crate) const ALL: &[Case<SshGuest>] = &[
    (
        "ssh_login_by_the_key_of_the_kernels_command_line_mirrors_streams_and_exit_code",
        login,
    ),
    ("ssh_login_without_the_key_is_refused", stranger),
    ("file_by_sftp_comes_back_the_same", sftp),
    ("library_by_ssh_does_as_it_does_by_the_agent", library),
    (
        "host_keys_were_made_by_the_guest_and_are_its_own",
        host_keys,
    ),
    ("agent_listens_before_the_ssh_server_is_started", order),
];

/// `ssh` or `sftp` with the options that they share, and none of this user's own.
fn client(program: &str, login: &Login, key: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ])
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "LogLevel=ERROR",
        ])
        .args([
            "-o",
            "ConnectTimeout=20",
            "-o",
            "PreferredAuthentications=publickey",
        ])
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            login.folder.join("known_hosts").display()
        ))
        .arg("-o")
        .arg(format!("Port={}", login.port))
        .arg("-i")
        .arg(key)
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<Output, String> {
    command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))
}

fn remote(login: &Login, line: &str) -> Result<Output, String> {
    run(client("ssh", login, &login.key).args(["root@127.0.0.1", line]))
}

/// The server comes up after the agent, and the first case waits for it.
fn wait_for_server(login: &Login) -> Checked {
    let deadline = Instant::now() + SERVER_LIMIT;
    loop {
        let output = remote(login, "true")?;
        if output.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("no login within {SERVER_LIMIT:?}: {told}"));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn login(SshGuest { guest, login }: &SshGuest) -> Checked {
    wait_for_server(login)?;
    let output = remote(login, "id -u; uname -r; echo problem >&2; exit 7")?;
    let release = guest.text("uname -r")?;
    same("exit code", &output.status.code(), &Some(7))?;
    same(
        "standard output",
        &output.stdout,
        &format!("0\n{release}\n").into_bytes(),
    )?;
    same("standard error", &output.stderr, &b"problem\n".to_vec())
}

fn stranger(SshGuest { login, .. }: &SshGuest) -> Checked {
    let other = login.folder.join("other_key");
    let made = run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&other))?;
    holds("a key could not be made", made.status.success())?;
    let output = run(client("ssh", login, &other).args(["root@127.0.0.1", "echo in"]))?;
    same("exit code", &output.status.code(), &Some(255))?;
    same("standard output", &output.stdout, &Vec::new())
}

fn library(SshGuest { guest, login }: &SshGuest) -> Checked {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let port = NonZeroU16::new(login.port).ok_or("port 0")?;
    let destination = SshDestination::forwarded(port)
        .identity(&login.key)
        .option("StrictHostKeyChecking=no")
        .option("UserKnownHostsFile=/dev/null");
    let cancel = Cancel::new().map_err(|error| told(&error))?;
    let by_ssh =
        smolvm_host::Guest::over_ssh(&destination, &cancel).map_err(|error| told(&error))?;
    let output = by_ssh
        .command("uname -r; echo problem >&2; exit 7")
        .output();
    let output = output.map_err(|error| told(&error))?;
    let release = guest.text("uname -r")?;
    same("outcome", &output.outcome, &Outcome::Exited(7))?;
    same(
        "standard output",
        &output.stdout,
        &format!("{release}\n").into_bytes(),
    )?;
    same("standard error", &output.stderr, &b"problem\n".to_vec())?;
    let late = by_ssh
        .command("sleep 77 & sleep 77")
        .timeout(Duration::from_secs(1))
        .run();
    same(
        "time limit",
        &late.map_err(|error| told(&error))?,
        &Outcome::TimedOut(1.0),
    )?;
    let left = guest.text("ps | grep -c '[s]leep 77' || true")?;
    same("what is left of it", &left, &"0".to_owned())?;

    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number / 7) as u8).collect();
    let size = bytes.len() as u64;
    let (mut there, mut back) = (bytes.as_slice(), Vec::new());
    by_ssh
        .put_from(
            &mut there,
            size,
            "/root/by-ssh",
            Transfer::new().mode(0o640),
        )
        .map_err(|error| told(&error))?;
    let fetched = by_ssh
        .get_to("/root/by-ssh", &mut back, Transfer::new())
        .map_err(|error| told(&error))?;
    same("mode", &fetched.mode, &0o640)?;
    holds("the file came back changed", back == bytes)?;
    guest.text("rm /root/by-ssh").map(drop)
}

fn sftp(SshGuest { login, .. }: &SshGuest) -> Checked {
    let (there, back) = (login.folder.join("there"), login.folder.join("back"));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number / 7) as u8).collect();
    std::fs::write(&there, &bytes).map_err(|error| error.to_string())?;
    let batch = login.folder.join("batch");
    let lines = format!(
        "put {} /root/by-sftp\nget /root/by-sftp {}\nrm /root/by-sftp\n",
        there.display(),
        back.display()
    );
    std::fs::write(&batch, lines).map_err(|error| error.to_string())?;
    let output = run(client("sftp", login, &login.key)
        .arg("-b")
        .arg(&batch)
        .arg("root@127.0.0.1"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    holds(&format!("sftp: {told}"), output.status.success())?;
    let returned = std::fs::read(&back).map_err(|error| error.to_string())?;
    holds("the file is another one", returned == bytes)
}

/// What the client was shown is the public half of what lies in the guest, and was made in this boot.
fn host_keys(SshGuest { guest, login }: &SshGuest) -> Checked {
    let known = std::fs::read_to_string(login.folder.join("known_hosts"));
    let known = known.map_err(|error| error.to_string())?;
    let shown = known.split_whitespace().nth(2).unwrap_or_default();
    let line = "for kind in ed25519 ecdsa; do \
                dropbearkey -y -f /etc/dropbear/dropbear_${kind}_host_key | grep -E '^(ssh|ecdsa)-'; done";
    let keys = guest.text(line)?;
    same("keys in the guest", &keys.lines().count(), &2)?;
    holds(
        "the client was shown another key",
        keys.contains(shown) && shown.len() > 20,
    )?;
    let modes = guest.text("stat -c %a:%u:%g /etc/dropbear/*_host_key | sort -u")?;
    same("their modes and owners", &modes, &"600:0:0".to_owned())?;
    // The image's files are from the epoch's beginning.
    guest.text("test -n \"$(find /etc/dropbear -name '*_host_key' -newer /etc/passwd)\"")?;
    Ok(())
}

fn order(SshGuest { guest, .. }: &SshGuest) -> Checked {
    // Process 1 starts the script that starts the server once the agent has said that it listens.
    let started =
        "awk '{print $22}' /proc/$(pidof dropbear | tr ' ' '\\n' | sort -n | head -n 1)/stat";
    let agent = format!("awk '{{print $22}}' /proc/$({})/stat", crate::guest::AGENT);
    let number = |line: &str| -> Result<u64, String> {
        let text = guest.text(line)?;
        text.parse().map_err(|_| format!("'{text}' is no number"))
    };
    let (server, agent) = (number(started)?, number(&agent)?);
    holds(
        &format!("the agent was started at {agent} ticks, the server at {server}"),
        agent <= server,
    )
}
