//! `smolctl forward` against the real agent: what its clients see, and what it leaves.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/target.rs"]
mod target;
#[allow(dead_code, reason = "shared with tests of processes")]
#[path = "support/wait.rs"]
mod wait;

use agent::{Agent, LIMIT};
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use smolvm_host::guest::MAX_FORWARDED_STREAMS;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::channel;
use target::{pattern, tcp, tcp_echo, unix_echo};
use wait::soon;

/// A `smolctl forward` that serves; ended by its own process id.
struct Forwarder {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Forwarder {
    fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let mut child = command(agent, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The port of a line that says `127.0.0.1:PORT -> …`.
    fn port(&mut self) -> u16 {
        let line = self.line();
        let port = line.split([' ', ':']).nth(1);
        port.and_then(|port| port.parse().ok()).expect(&line)
    }

    fn count_of(&self, what: &str) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/{what}", self.child.id()));
        entries.unwrap().count()
    }

    /// Sends a signal, and gives the exit code and what was said on standard error.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(agent: &Agent, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolctl"));
    command
        .arg("forward")
        .arg(target_of(agent))
        .args(arguments)
        .current_dir(agent.folder());
    command
}

fn target_of(agent: &Agent) -> String {
    format!("unix:{}/agent.sock", agent.folder().display())
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn echoed(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut heard = Vec::new();
        let mut reader = stream;
        reader.read_to_end(&mut heard).unwrap();
        heard
    })
}

fn sentence_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}

#[test]
fn several_sockets_each_lead_to_their_own_with_a_line_each() {
    let agent = Agent::start();
    let (one, other) = (
        tcp_echo(),
        tcp(|mut stream| stream.write_all(b"other").unwrap()),
    );
    let ways = [format!("0:{one}"), format!("127.0.0.1:0:localhost:{other}")];
    let mut forwarder = Forwarder::start(&agent, &[&ways[0], &ways[1]]);
    let line = forwarder.line();
    let port: u16 = line.split([' ', ':']).nth(1).unwrap().parse().unwrap();
    let target = target_of(&agent);
    assert_eq!(
        line,
        format!("127.0.0.1:{port} -> tcp:127.0.0.1:{one} in {target}")
    );
    let bytes = pattern(5_000_000);
    assert!(echoed(&connect(port), &bytes) == bytes);
    let mut heard = String::new();
    connect(forwarder.port())
        .read_to_string(&mut heard)
        .unwrap();
    assert_eq!(heard, "other");
    assert_eq!(forwarder.end(Signal::INT), (Some(130), String::new()));
}

#[test]
fn lines_are_json_where_that_is_asked_for() {
    let agent = Agent::start();
    let mut forwarder = Forwarder::start(&agent, &["--json", "0:80", "unix:s:unix:/x"]);
    let line: serde_json::Value = serde_json::from_str(&forwarder.line()).unwrap();
    assert_eq!(line["to"], "tcp:127.0.0.1:80");
    assert_eq!(line["target"], target_of(&agent));
    assert!(line["local"].as_str().unwrap().starts_with("127.0.0.1:"));
    let line: serde_json::Value = serde_json::from_str(&forwarder.line()).unwrap();
    assert_eq!(
        (&line["local"], &line["to"]),
        (&"unix:s".into(), &"unix:/x".into())
    );
}

#[test]
fn path_of_unix_may_be_written_as_elsewhere() {
    let agent = Agent::start();
    let mut forwarder = Forwarder::start(&agent, &["--unix", "unix:s:unix:/x"]);
    assert!(forwarder.line().starts_with("unix:s -> unix:/x in "));
}

#[test]
fn unix_socket_is_this_users_alone_replaces_a_stale_one_and_is_gone_in_the_end() {
    let agent = Agent::start();
    unix_echo(&agent.folder().join("echo"));
    let path = agent.folder().join("local.sock");
    drop(UnixListener::bind(&path).unwrap());
    let mut forwarder = Forwarder::start(&agent, &["--unix", "local.sock:unix:echo"]);
    assert!(
        forwarder
            .line()
            .starts_with("unix:local.sock -> unix:echo in ")
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    let refused = command(&agent, &["unix:local.sock:80"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        sentence_of(&refused).contains("somebody listens there"),
        "{refused:?}"
    );
    assert_eq!(forwarder.end(Signal::TERM), (Some(143), String::new()));
    assert!(!path.exists());
}

#[test]
fn refused_target_resets_its_client_is_told_once_a_second_and_costs_nobody_else() {
    let agent = Agent::start();
    let ways = [format!("0:{}", tcp_echo()), "0:unix:/no/such".to_owned()];
    let mut forwarder = Forwarder::start(&agent, &[&ways[0], &ways[1]]);
    let (good, bad) = (forwarder.port(), forwarder.port());
    for _ in 0..5 {
        let error = connect(bad).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(echoed(&connect(good), b"still"), b"still");
    let (_, said) = forwarder.end(Signal::TERM);
    let sentence = "refused by the agent: cannot connect to 'unix:/no/such': [Errno 2] No such file or directory";
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("smolctl: a client was turned away: "),
        "{said}"
    );
    assert!(first.ends_with(sentence), "{said}");
    assert!((1..5).contains(&said.lines().count()), "{said}");
}

#[test]
fn standard_error_that_nobody_reads_costs_lines_and_nothing_else() {
    let agent = Agent::start();
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    let ways = [format!("0:{}", tcp_echo()), "0:unix:/no/such".to_owned()];
    let mut command = command(&agent, &[&ways[0], &ways[1]]);
    let command = command.stdout(Stdio::piped()).stderr(writer);
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut forwarder = Forwarder { child, stdout };
    let (good, bad) = (forwarder.port(), forwarder.port());
    for _ in 0..MAX_FORWARDED_STREAMS {
        let error = connect(bad).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(echoed(&connect(good), b"still"), b"still");
    kill_process(Pid::from_child(&forwarder.child), Signal::TERM).unwrap();
    assert!(soon(|| forwarder.child.try_wait().unwrap().is_some()));
    assert_eq!(forwarder.child.wait().unwrap().code(), Some(143));
}

#[test]
fn ends_and_resets_go_through_both_ways() {
    let agent = Agent::start();
    let (told, heard) = channel();
    let port = tcp(move |mut stream| {
        let mut request = Vec::new();
        let end = stream.read_to_end(&mut request);
        told.send((request, end.map_err(|error| error.kind()).map(drop)))
            .unwrap();
        let _ = stream.write_all(b"answer");
    });
    let resetting = tcp(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        target::reset(stream);
    });
    let ways = [format!("0:{port}"), format!("0:{resetting}")];
    let mut forwarder = Forwarder::start(&agent, &[&ways[0], &ways[1]]);
    let (there, back) = (forwarder.port(), forwarder.port());
    assert_eq!(echoed(&connect(there), b"request"), b"answer");
    assert_eq!(
        heard.recv_timeout(LIMIT).unwrap(),
        (b"request".to_vec(), Ok(()))
    );

    // What is gone for good is closed in the guest: a silent target hears of its client's end.
    let mut client = connect(there);
    client.write_all(b"half a request").unwrap();
    target::reset(client);
    assert!(heard.recv_timeout(LIMIT).is_ok());

    let mut client = connect(back);
    client.write_all(b"x").unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn client_whose_machine_may_be_gone_is_asked_for() {
    let agent = Agent::start();
    let mut forwarder = Forwarder::start(&agent, &[&format!("0:{}", tcp_echo())]);
    let port = forwarder.port();
    let mut client = connect(port);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let ends = format!(
        "0100007F:{port:04X} 0100007F:{:04X} 01",
        client.local_addr().unwrap().port()
    );
    // proc(5): the timer that is active, 02 for keep-alive, stands behind the queues.
    let has_timer = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let line = table.lines().find(|line| line.contains(&ends)).unwrap();
        line.split_whitespace()
            .nth(5)
            .is_some_and(|timer| timer.starts_with("02:"))
    };
    assert!(soon(has_timer));
}

#[test]
fn sixty_four_are_carried_at_once_a_further_one_waits_and_nothing_is_left() {
    let agent = Agent::start();
    let way = format!("0:{}", tcp_echo());
    let mut forwarder = Forwarder::start(&agent, &[&way]);
    let port = forwarder.port();
    echoed(&connect(port), b"x");
    let at_rest = |forwarder: &Forwarder| (forwarder.count_of("task"), forwarder.count_of("fd"));
    assert!(soon(|| at_rest(&forwarder).0 == 2));
    let before = at_rest(&forwarder);
    let clients: Vec<TcpStream> = (0..64).map(|_| connect(port)).collect();
    for mut client in &clients {
        client.write_all(b"x").unwrap();
    }
    for mut client in &clients {
        client.read_exact(&mut [0]).unwrap();
    }
    let late = connect(port);
    (&late).write_all(b"late").unwrap();
    late.set_nonblocking(true).unwrap();
    assert!(agent.channel().ping(LIMIT).is_ok());
    assert_eq!(
        (&late).read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    late.set_nonblocking(false).unwrap();
    // One that ends in order, 63 that break.
    let mut clients = clients.into_iter();
    echoed(&clients.next().unwrap(), b"");
    let mut heard = [0; 4];
    (&late).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"late");
    clients.for_each(target::reset);
    drop(late);
    assert!(soon(|| at_rest(&forwarder) == before), "{before:?}");
}

#[test]
fn wrong_targets_calls_and_taken_ports_fail_at_once_with_one_sentence() {
    let agent = Agent::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let taken_way = format!("{port}:80");
    for (arguments, code) in [
        (&["80"][..], 2),
        (&["8080:0"], 2),
        (&[], 2),
        // The first of them leaves nothing behind.
        (&["unix:left.sock:80", &taken_way], 1),
        (&["unix:/no/such/folder/s:80"], 1),
    ] {
        let output = command(&agent, arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        assert_eq!(sentence_of(&output).lines().count(), 1, "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert!(!agent.folder().join("left.sock").exists());
    let nobody = Command::new(env!("CARGO_BIN_EXE_smolctl"))
        .args(["forward", "unix:/no/such.sock", "0:80"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(125), "{nobody:?}");
}
