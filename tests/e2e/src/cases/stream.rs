//! Streams to sockets in the guest: opened by the library, and forwarded from a socket here.

use crate::guest::{Checked, Guest, same};
use smolvm_host::cancel::Cancel;
use smolvm_host::guest::ErrorKind;
use smolvm_host::{Guest as LibraryGuest, StreamTarget};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// Where the guest's echo listens.
const PORT: u16 = 7007;

/// How long the echo, or an answer, may take under emulation.
const LIMIT: Duration = Duration::from_secs(60);

/// How much one client sends at most: several windows of what may be under way, and no whole number of them.
const MAX_BYTES: u64 = 1_500_007;

/// How many clients are carried at once.
const CLIENTS: usize = 8;

pub(crate) fn forwarded(guest: &Guest) -> Checked {
    let library = library(guest)?;
    // One cat a client; the server ends with its request.
    let server = library
        .command(format!("exec nc -ll -p {PORT} -e cat"))
        .stdout(io::sink())
        .stderr(io::sink())
        .spawn()
        .map_err(text)?;
    guest.wait_until(&format!("netstat -ltn | grep -q :{PORT}"), LIMIT)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
    let address = listener.local_addr().map_err(text)?;
    let to: StreamTarget = format!("tcp:localhost:{PORT}").parse().map_err(text)?;
    let bytes = MAX_BYTES.min(guest.max_transfer_bytes / 3) as usize;
    let outcome = std::thread::scope(|scope| {
        let forward = scope.spawn(|| library.forward(listener, &to, &|error| eprintln!("{error}")));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || echoed(TcpStream::connect(address)?, bytes, number)))
            .collect();
        let outcomes = clients.into_iter().map(|client| match client.join() {
            Ok(outcome) => outcome.map_err(text),
            Err(_) => Err("a client panicked".to_owned()),
        });
        let outcome: Result<Vec<bool>, String> = outcomes.collect();
        server.kill();
        library.canceller().cancel();
        let end = forward.join();
        outcome.map(|echoes| (echoes, end))
    });
    let (echoes, end) = outcome?;
    same(
        "echoes that came back the same",
        &echoes,
        &vec![true; CLIENTS],
    )?;
    match end {
        Ok(Err(error)) => same(
            "the end of forwarding",
            &error.kind(),
            &ErrorKind::Cancelled,
        ),
        Err(_) => Err("forwarding panicked".to_owned()),
    }
}

/// Whether all of it comes back, and the end behind it.
fn echoed(client: TcpStream, bytes: usize, number: usize) -> io::Result<bool> {
    client.set_read_timeout(Some(LIMIT))?;
    client.set_nodelay(true)?;
    let sent: Vec<u8> = (0..bytes)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 9) ^ number) as u8)
        .collect();
    // nc has room for two clients that it has not accepted. Of further ones the kernel keeps nothing (syncookies), and resets
    // whoever's second segment comes before that: hence one byte, and its echo, first.
    let mut heard = vec![0];
    (&client).write_all(&sent[..1])?;
    (&client).read_exact(&mut heard)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = &client;
            writer.write_all(&sent[1..])?;
            writer.shutdown(Shutdown::Write)
        });
        let mut reader = &client;
        reader.read_to_end(&mut heard)
    })?;
    Ok(heard == sent)
}

pub(crate) fn refused(guest: &Guest) -> Checked {
    let library = library(guest)?;
    for (to, reason) in [
        ("tcp:localhost:1", "[Errno 111] Connection refused"),
        ("unix:/none", "[Errno 2] No such file or directory"),
    ] {
        let target: StreamTarget = to.parse().map_err(text)?;
        let error = match library.open_stream(&target, LIMIT) {
            Ok(_) => return Err(format!("a stream to {to} was opened")),
            Err(error) => error,
        };
        same(to, &error.kind(), &ErrorKind::Refused)?;
        let sentence = error.to_string();
        if !sentence.contains(reason) {
            return Err(format!("a refusal without {reason:?}: {sentence}"));
        }
    }
    Ok(())
}

fn library(guest: &Guest) -> Result<LibraryGuest, String> {
    let cancel = Cancel::new().map_err(text)?;
    LibraryGuest::over_channel(&guest.channel()?, &cancel).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
