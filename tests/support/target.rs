//! Sockets that streams are carried to, each connection served by a thread of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// A TCP socket on a free port of 127.0.0.1 that serves each connection so; its port.
pub(crate) fn tcp(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

/// One that says back what it hears, and ends when its client does.
pub(crate) fn tcp_echo() -> u16 {
    tcp(|stream| echo(&stream, &stream))
}

/// The same as a Unix socket.
pub(crate) fn unix_echo(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || echo(&stream, &stream));
        }
    });
}

fn echo(mut from: impl Read, mut to: impl Write) {
    let _ = std::io::copy(&mut from, &mut to);
}

/// A connection's end that the other side sees as a reset.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// So many bytes, none like its neighbours.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}
