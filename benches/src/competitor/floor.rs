//! The same work with no agent, by `benches/floor.c`; what each is stands there.

use super::{Command, Competitor, Name, PRINTED_AT_ONCE, Streams, stored};
use crate::connection::{Address, Connection};
use crate::process::Server;
use anyhow::{Context, Result, ensure};
use smolvm_protocol::frame::MAX_CHUNK_BYTES;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::{Duration, Instant};

/// As long as the shortest request with its header, `{"op":"ping"}`.
const ECHOED: &[u8] = b"Echo me, as it is.";

/// The program that serves.
pub(crate) struct Floor {
    address: Address,
    folder: String,
    started: Option<(Server, PathBuf)>,
}

impl Floor {
    /// Starts it on a socket in the folder.
    pub(crate) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let socket = folder.join("floor");
        let (server, _) = launch(program, &socket)?;
        Ok(Self {
            address: Address::Unix(socket),
            folder: format!("{}/floor-", folder.display()),
            started: Some((server, program.to_owned())),
        })
    }

    /// One that is there already.
    pub(crate) fn at(address: Address, folder: &str) -> Self {
        Self {
            address,
            folder: folder.to_owned(),
            started: None,
        }
    }

    fn ask(&self, request: &str) -> Result<Connection> {
        let mut connection = Connection::open(&self.address)?;
        connection.write_all(request.as_bytes())?;
        Ok(connection)
    }

    /// Times that the program itself took, a line each.
    fn told(&self, request: &str, count: usize) -> Result<Vec<Duration>> {
        let mut told = String::new();
        self.ask(request)?.read_to_string(&mut told)?;
        let times: Vec<_> = told
            .lines()
            .filter_map(|line| line.parse().ok())
            .map(Duration::from_nanos)
            .collect();
        ensure!(
            times.len() == count,
            "the floor told {} times instead of {count}",
            times.len()
        );
        Ok(times)
    }

    fn drained(&self, request: &str, bytes: u64) -> Result<Duration> {
        let began = Instant::now();
        let drained = self.ask(request)?.drain()?;
        ensure!(drained == bytes, "{drained} bytes instead of {bytes}");
        Ok(began.elapsed())
    }
}

impl Competitor for Floor {
    fn name(&self) -> Name {
        Name::Floor
    }

    fn ping(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut connection = Connection::open(&self.address)?;
        connection.write_all(ECHOED)?;
        let mut echo = [0; ECHOED.len()];
        connection.read_exact(&mut echo)?;
        Ok(began.elapsed())
    }

    fn runs(&self, command: Command, count: usize) -> Result<Option<Vec<Duration>>> {
        let letter = match command {
            Command::Shell => 'S',
            Command::Bare => 'T',
        };
        self.told(&format!("{letter} {count}\n"), count).map(Some)
    }

    fn at_once(&self, count: usize) -> Result<Duration> {
        Ok(self.told(&format!("A {count}\n"), 1)?[0])
    }

    fn output(&self, bytes: u64) -> Result<Duration> {
        self.drained(&format!("O {}\n", bytes / PRINTED_AT_ONCE), bytes)
    }

    fn put(&self, bytes: u64) -> Result<Duration> {
        let chunk = vec![0x5a; MAX_CHUNK_BYTES];
        let began = Instant::now();
        let path = stored(bytes);
        let mut connection = self.ask(&format!("P {bytes} {}{path}\n", self.folder))?;
        let mut remaining = usize::try_from(bytes)?;
        while remaining > 0 {
            let part = remaining.min(chunk.len());
            connection.write_all(&chunk[..part])?;
            remaining -= part;
        }
        connection
            .read_exact(&mut [0])
            .context("the upload is not stored")?;
        Ok(began.elapsed())
    }

    fn get(&self, bytes: u64) -> Result<Duration> {
        self.drained(&format!("G {}{}\n", self.folder, stored(bytes)), bytes)
    }

    fn streams(&self, count: usize) -> Result<Streams> {
        let mut outputs = Vec::new();
        for _ in 0..count {
            outputs.push(self.ask("O 0\n")?.into_descriptor());
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

fn launch(program: &Path, socket: &Path) -> Result<(Server, Duration)> {
    let address = Address::Unix(socket.to_owned());
    let began = Instant::now();
    let mut server =
        Server::start(Program::new(program).arg(format!("unix:{}", socket.display())))?;
    server
        .wait_until(|| Connection::open(&address).is_ok())
        .context("the floor does not serve")?;
    Ok((server, began.elapsed()))
}
