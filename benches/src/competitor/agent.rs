//! An agent, ours or the published one, asked frame by frame.

use super::{Command, Competitor, Name, Streams, printing, stored};
use crate::connection::{Address, Answer, Connection};
use crate::process::Server;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use smolvm_protocol::frame::{FrameHeader, FrameType, HEADER_BYTES, MAX_CHUNK_BYTES};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How an agent is started, its socket's path left out.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// Our binary.
    Ours(PathBuf),
    /// The published agent: Python, the program that serves it on a Unix socket, the wheel that it is in.
    Published {
        python: PathBuf,
        server: PathBuf,
        wheel: PathBuf,
    },
}

impl Program {
    fn command(&self, socket: &Path) -> process::Command {
        match self {
            Self::Ours(program) => {
                let mut command = process::Command::new(program);
                command.arg("--listen");
                command.arg(format!("unix:{}", socket.display()));
                command
            }
            Self::Published {
                python,
                server,
                wheel,
            } => {
                let mut command = process::Command::new(python);
                command.arg(server).arg(wheel).arg(socket);
                command
            }
        }
    }
}

/// An agent that serves.
pub(crate) struct Agent {
    name: Name,
    address: Address,
    /// Where it keeps files, by its own names.
    folder: String,
    /// How it was started, where this was by us.
    started: Option<(Server, Program)>,
}

impl Agent {
    /// Starts one on a socket in the folder.
    pub(crate) fn start(name: Name, program: Program, folder: &Path) -> Result<Self> {
        let socket = folder.join(format!("{name:?}"));
        let (server, _) = launch(&program, &socket)?;
        Ok(Self {
            name,
            address: Address::Unix(socket),
            folder: format!("{}/{name:?}-", folder.display()),
            started: Some((server, program)),
        })
    }

    /// One that is there already.
    pub(crate) fn at(name: Name, address: Address, folder: &str) -> Self {
        Self {
            name,
            address,
            folder: folder.to_owned(),
            started: None,
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address)
    }

    pub(crate) fn ask(&self, request: &Value) -> Result<(Duration, Answer)> {
        let began = Instant::now();
        let mut connection = self.connect()?;
        connection.request(request)?;
        let answer = connection.answer()?;
        Ok((began.elapsed(), answer))
    }

    fn path(&self, bytes: u64) -> String {
        format!("{}{}", self.folder, stored(bytes))
    }

    fn run(&self, request: &Value, output_bytes: u64) -> Result<Duration> {
        let (took, answer) = self.ask(request)?;
        ensure!(
            answer.exit_code == Some(0),
            "the command ended with {:?}",
            answer.exit_code
        );
        ensure!(
            answer.payload_bytes == output_bytes,
            "{} bytes of output instead of {output_bytes}",
            answer.payload_bytes
        );
        Ok(took)
    }
}

impl Competitor for Agent {
    fn name(&self) -> Name {
        self.name
    }

    fn ping(&self) -> Result<Duration> {
        Ok(self.ask(&json!({"op": "ping"}))?.0)
    }

    fn runs(&self, command: Command, count: usize) -> Result<Option<Vec<Duration>>> {
        let request = match command {
            Command::Shell => shell("true"),
            Command::Bare if self.name == Name::Ours => json!({"op": "run", "argv": ["true"]}),
            Command::Bare => return Ok(None),
        };
        let times: Result<_> = (0..count).map(|_| self.run(&request, 0)).collect();
        times.map(Some)
    }

    fn at_once(&self, count: usize) -> Result<Duration> {
        let request = shell("true");
        let ready = Barrier::new(count + 1);
        std::thread::scope(|scope| {
            let hosts: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| {
                        ready.wait();
                        self.run(&request, 0)
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
        self.run(&shell(&printing(bytes)), bytes)
    }

    fn put(&self, bytes: u64) -> Result<Duration> {
        let request =
            json!({"op": "put_file", "path": self.path(bytes), "size": bytes, "mode": 0o644});
        let whole = data_frame(MAX_CHUNK_BYTES);
        let began = Instant::now();
        let mut connection = self.connect()?;
        connection.request(&request)?;
        let mut remaining = usize::try_from(bytes)?;
        while remaining >= MAX_CHUNK_BYTES {
            connection.write_all(&whole)?;
            remaining -= MAX_CHUNK_BYTES;
        }
        if remaining > 0 {
            connection.write_all(&data_frame(remaining))?;
        }
        connection.answer()?;
        Ok(began.elapsed())
    }

    fn get(&self, bytes: u64) -> Result<Duration> {
        let (took, answer) = self.ask(&json!({"op": "get_file", "path": self.path(bytes)}))?;
        ensure!(
            answer.payload_bytes == bytes,
            "{} bytes of a file of {bytes}",
            answer.payload_bytes
        );
        Ok(took)
    }

    fn streams(&self, count: usize) -> Result<Streams> {
        let mut outputs = Vec::new();
        for _ in 0..count {
            let mut connection = self.connect()?;
            connection.request(&shell("exec cat /dev/zero"))?;
            outputs.push(connection.into_descriptor());
        }
        Ok(Streams {
            outputs,
            clients: Vec::new(),
        })
    }

    fn start_another(&self) -> Result<Option<Duration>> {
        let (Some((_, program)), Address::Unix(socket)) = (&self.started, &self.address) else {
            return Ok(None);
        };
        let socket = socket.with_extension("another");
        let started = launch(program, &socket);
        let _ = std::fs::remove_file(&socket);
        Ok(Some(started?.1))
    }

    fn server(&self) -> Option<&Server> {
        self.started.as_ref().map(|(server, _)| server)
    }
}

/// Starts it and waits until it accepts a connection; how long that took.
fn launch(program: &Program, socket: &Path) -> Result<(Server, Duration)> {
    let address = Address::Unix(socket.to_owned());
    let began = Instant::now();
    let mut command = program.command(socket);
    command.stderr(process::Stdio::null());
    let mut server = Server::start(&mut command)?;
    server
        .wait_until(|| Connection::open(&address).is_ok())
        .context("the agent does not serve")?;
    Ok((server, began.elapsed()))
}

fn shell(command: &str) -> Value {
    json!({"op": "run", "cmd": command, "shell": "raw"})
}

fn data_frame(bytes: usize) -> Vec<u8> {
    let mut frame = FrameHeader::new(FrameType::DATA, bytes).encode().to_vec();
    frame.resize(HEADER_BYTES + bytes, 0x5a);
    frame
}
