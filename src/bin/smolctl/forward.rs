//! `smolctl forward`: sockets here that lead to sockets in a guest.
//!
//! Owns what is said: a line a socket once all of them listen, and why a client was turned away.

mod socket_file;
mod way;

use crate::arguments::ForwardArguments;
use crate::failure::Failure;
use crate::guest::channel_to;
use crate::output::print_line;
use anyhow::Context;
use rustix::io::Errno;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::CONNECT;
use smolvm_host::guest::{ErrorKind, Listener};
use smolvm_host::printable::printable;
use smolvm_host::standard_stream::show;
use smolvm_host::{Guest, GuestError, StreamTarget};
use socket_file::SocketFile;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use way::{Local, Way};

/// How long nothing is said of further clients that were turned away.
const SILENCE: Duration = Duration::from_secs(1);

pub(crate) fn forward(arguments: &ForwardArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let target = &arguments.target;
    let unix = arguments.unix.iter().map(|way| {
        // Also as it is written without the option: else the socket would be called `unix`.
        let is_whole = way.as_encoded_bytes().starts_with(b"unix:");
        let mut whole = OsString::from(if is_whole { "" } else { "unix:" });
        whole.push(way);
        whole
    });
    let ways = arguments.ways.iter().cloned().chain(unix);
    let ways = ways.map(|way| Way::parse(&way));
    let ways: Vec<Way> = ways.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let channel = channel_to(target, cancel)?;
    let guest = Guest::over_channel(&channel, cancel).map_err(Failure::local)?;
    guest
        .require(CONNECT)
        .map_err(|error| Failure::guest(target, error))?;
    let bound: Vec<Bound> = ways.iter().map(Bound::new).collect::<Result<_, _>>()?;
    for bound in &bound {
        print_line(&bound.line(target, arguments.json))?;
    }
    serve(&guest, target, bound)
}

/// A socket that listens.
struct Bound {
    listener: Listener,
    shown: String,
    to: StreamTarget,
    file: Option<SocketFile>,
}

impl Bound {
    fn new(way: &Way) -> Result<Self, Failure> {
        let (listener, shown, file) = match &way.local {
            Local::Tcp { host, port } => {
                let cannot = || format!("cannot listen on {}", way.local);
                let addresses = (host.as_str(), *port).to_socket_addrs();
                let listener = addresses.and_then(listen_at);
                let listener = listener.with_context(cannot).map_err(Failure::local)?;
                let address = listener.local_addr().map_err(Failure::local)?;
                (Listener::from(listener), address.to_string(), None)
            }
            Local::Unix(path) => {
                let (listener, file) = socket_file::listen(path)
                    .with_context(|| format!("cannot listen on {}", way.local))
                    .map_err(Failure::local)?;
                (Listener::from(listener), way.local.to_string(), Some(file))
            }
        };
        Ok(Self {
            listener,
            shown,
            to: way.to.clone(),
            file,
        })
    }

    fn line(&self, target: &OsStr, as_json: bool) -> String {
        let target = target.to_string_lossy();
        let to = printable(&self.to.to_string());
        match as_json {
            true => json!({ "local": self.shown, "to": to, "target": target }).to_string(),
            false => format!("{} -> {to} in {target}", printable(&self.shown)),
        }
    }
}

/// Listens at the first address that this machine has: one that is taken is not made up for by another of the same name.
fn listen_at(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpListener> {
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpListener::bind(address) {
            Err(error) if is_of_another_machine(&error) => last = error,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// Also where it has no addresses of that kind, such as IPv6.
fn is_of_another_machine(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// Serves until we are told to end, or one of the sockets cannot be served any more.
fn serve(guest: &Guest, target: &OsStr, bound: Vec<Bound>) -> Result<u8, Failure> {
    let complaints = Complaints {
        target,
        last: Mutex::new(None),
    };
    let one = |bound: Bound| {
        let Err(error) = guest.forward(bound.listener, &bound.to, &|error| complaints.tell(error));
        guest.canceller().cancel();
        drop(bound.file);
        error
    };
    let one = &one;
    let errors: Vec<GuestError> = thread::scope(|scope| {
        let threads = bound.into_iter().map(|bound| {
            let thread = thread::Builder::new().name("forward".to_owned());
            thread.spawn_scoped(scope, move || one(bound))
        });
        let threads: Vec<_> = threads.collect();
        let ends = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => {
                guest.canceller().cancel();
                GuestError::Process(error)
            }
        });
        ends.collect()
    });
    // The first that is not the others' consequence.
    let mut errors = errors.into_iter();
    let first = errors.find(|error| error.kind() != ErrorKind::Cancelled);
    Err(first.map_or_else(Failure::cancelled, |error| Failure::guest(target, error)))
}

/// What is said of clients that were turned away.
struct Complaints<'target> {
    target: &'target OsStr,
    last: Mutex<Option<Instant>>,
}

impl Complaints<'_> {
    fn tell(&self, error: GuestError) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < SILENCE) {
            return;
        }
        *last = Some(Instant::now());
        if let Some(sentence) = Failure::guest(self.target, error).sentence() {
            show(format!("smolctl: a client was turned away: {sentence}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_is_taken_is_not_made_up_for_by_another_of_the_name() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let [foreign, ours, other] =
            [[192, 0, 2, 1], [127, 0, 0, 1], [127, 0, 0, 2]].map(|host| (host, port).into());
        let error = listen_at([foreign, ours, other].into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let listener = listen_at([foreign, other].into_iter()).unwrap();
        assert_eq!(listener.local_addr().unwrap(), other);
        let error = listen_at([foreign].into_iter()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
