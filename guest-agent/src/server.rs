//! The daemon: accepts connections, gives each a thread, and ends in order.
//!
//! Owns the agent's limits on numbers and the life of its threads. A connection's thread is named
//! `connection`, is owned by nobody once started, and ends when its connection does; the main thread
//! waits for all of them before the agent ends. A panic costs its own connection.
//!
//! | limit | number |
//! |---|---|
//! | connections open at a time; further ones wait in the kernel | `connections::MAX_CONNECTIONS` |
//! | operations served at a time, those that need no permit excepted | [`MAX_SERVED`] |
//! | streams to sockets in the guest served at a time | [`MAX_FORWARDED`] |
//! | control frames over 64 KiB in memory at a time | [`MAX_LARGE_FRAMES`] |
//! | stack of a connection's thread | [`STACK_BYTES`] |

use crate::arguments::{Arguments, Listen};
use crate::connection::{Connection, ConnectionError};
use crate::connections::{Connections, OpenConnection};
use crate::listener::{self, ListenError, Listener, PeerRule, Source};
use crate::permits::Permits;
use crate::pings::{self, Pings};
use crate::process::{self, Inheritance};
use crate::process_one::{self, ProcessOne};
use crate::sys::epoll::{self, Epoll};
use crate::sys::eventfd::EventFd;
use crate::sys::limit::DescriptorLimit;
use crate::sys::socket::{self, Family};
use crate::sys::{inherited, signal, thread};
use crate::{log, oom_score, os_error, session};
use smolvm_protocol::response::{Refusal, Response};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Operations served at a time, those excepted that need no permit (`operation.rs`).
const MAX_SERVED: usize = 64;

/// Streams to sockets in the guest served at a time.
const MAX_FORWARDED: usize = 64;

/// Control frames over 64 KiB in memory at a time.
const MAX_LARGE_FRAMES: usize = 1;

/// Stack of a connection's thread; only touched pages count.
const STACK_BYTES: usize = 256 * 1024;

/// How long accepting rests after it failed for want of descriptors, memory or threads.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Between two lines in the log about refused peers.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a host has to take the answer to a request that failed unexpectedly.
const FAILURE_ANSWER: Duration = Duration::from_secs(1);

/// How long the agent waits in the end for its connections to end theirs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a listener tells while there is no room: its end alone, which comes unasked, and once.
const NOT_ACCEPTING: epoll::Interest = epoll::EDGE;

/// Tokens of the main thread's wait; listeners' follow.
const SIGNAL: u64 = 0;
const CONNECTION_ENDED: u64 = 1;
const PROCESS_ONE: u64 = 2;
const FIRST_LISTENER: u64 = 3;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) inheritance: Inheritance,
    /// Held by each operation that runs a command or moves files, from its request to its last frame.
    pub(crate) served: Permits,
    /// Held by each stream, from its request to its end.
    pub(crate) forwarded: Permits,
    /// Held while a control frame over 64 KiB, or what was parsed from it, is in memory.
    pub(crate) large_frame: Permits,
    /// Raised once, when the agent stops.
    stop: EventFd,
    peers: PeerRule,
    /// When a refused peer was last told of in the log.
    refusal_told: Mutex<Option<Instant>>,
    connections: Connections,
    /// The way to process 1, where that is ours.
    pub(crate) process_one: Option<ProcessOne>,
}

/// Why the agent cannot go on.
#[derive(Debug)]
pub(crate) enum ServeError {
    Listen(ListenError),
    System(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(formatter),
            Self::System(error) => write!(formatter, "cannot serve: {error}"),
        }
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Serves until a stop signal, or until there is nothing left to serve.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), ServeError> {
    // Inherited descriptors first: nothing of ours may take their numbers. Then signals: an early one
    // must not leave a socket's file behind.
    let process_one = arguments.init.map(ProcessOne::take).transpose();
    let process_one = process_one.map_err(ServeError::Listen)?;
    let mut sources = listener::take(&arguments.inherited()).map_err(ServeError::Listen)?;
    inherited::close_all_on_exec();
    signal::set_dispositions();
    let signals = signal::block_and_watch(&signal::that_stop())?;
    log::report_panics();
    for listen in &arguments.listen {
        sources.extend(bind(listen).map_err(ServeError::Listen)?);
    }
    // What can fail comes before what would have to be undone then.
    let stop = EventFd::new()?;
    let connections = Connections::new()?;
    let agent: &'static Agent = Box::leak(Box::new(Agent {
        inheritance: Inheritance::of_this_process(
            oom_score::lower_own(),
            DescriptorLimit::raise_own(),
        ),
        served: Permits::new(MAX_SERVED),
        forwarded: Permits::new(MAX_FORWARDED),
        large_frame: Permits::new(MAX_LARGE_FRAMES),
        stop,
        peers: arguments.peers.clone(),
        refusal_told: Mutex::new(None),
        connections,
        process_one,
    }));
    let mut listeners = Vec::new();
    // In the order of `sources`.
    let those = |are_inherited| {
        let is_inherited = |listen: &&Listen| matches!(listen, Listen::Inherited { .. });
        let listen = arguments.listen.iter();
        listen.filter(move |listen| is_inherited(listen) == are_inherited)
    };
    for (listen, source) in those(true).chain(those(false)).zip(sources) {
        match source {
            Source::Listener(listener) => {
                socket::set_nonblocking(&listener.socket)?;
                log::notice(&format_args!("listening on {listen}"));
                listeners.push(listener);
            }
            Source::Connection(socket, family) => {
                if agent.is_served(&socket, family) {
                    let place = agent.connections.open_one();
                    agent.start_connection(socket, family, place)?;
                }
            }
        }
    }
    if let Some(process_one) = &agent.process_one {
        process_one.say_listening()?;
    }
    agent.accept_until_stopped(listeners, &signals)
}

/// Binds what is not inherited.
fn bind(listen: &Listen) -> Result<Option<Source>, ListenError> {
    match listen {
        Listen::Vsock { port } => listener::listen_vsock(*port).map(Some),
        Listen::Unix { path } => listener::listen_unix(path).map(Some),
        Listen::Inherited { .. } => Ok(None),
    }
}

impl Agent {
    /// Whether the peer of a connected socket may be served, inherited or accepted. Refusals are told
    /// one a [`REFUSAL_INTERVAL`]: any process of the guest can cause them.
    fn is_served(&self, socket: &OwnedFd, family: Family) -> bool {
        let Err(refused) = self.peers.check(socket, family) else {
            return true;
        };
        let mut told = self
            .refusal_told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= REFUSAL_INTERVAL) {
            *told = Some(Instant::now());
            log::failure(&refused);
        }
        false
    }

    /// The main thread's loop: accepts while there is room; ends on a signal, or when no listener is
    /// left and every connection has ended; process 1 has that happen when the guest ends.
    fn accept_until_stopped(
        &'static self,
        mut listeners: Vec<Listener>,
        signals: &OwnedFd,
    ) -> Result<(), ServeError> {
        let epoll = Epoll::new()?;
        epoll.add(signals, SIGNAL, epoll::IN)?;
        epoll.add(&self.connections.ended, CONNECTION_ENDED, epoll::IN)?;
        if let Some(process_one) = &self.process_one {
            epoll.add(process_one, PROCESS_ONE, epoll::IN)?;
        }
        for (token, listener) in (FIRST_LISTENER..).zip(&listeners) {
            epoll.add(&listener.socket, token, NOT_ACCEPTING)?;
        }
        if listeners.is_empty() {
            self.connections.tell_every_end();
        }
        let mut guest_ends = false;
        let mut accepting = false;
        let mut resting_until: Option<Instant> = None;
        let mut pings = Pings::new(pings::FIRST_BYTES);
        while !listeners.is_empty() || self.connections.open() > 0 {
            resting_until = resting_until.filter(|until| *until > Instant::now());
            let may_accept = self.connections.has_room() && resting_until.is_none() && !guest_ends;
            if may_accept != accepting {
                match watch(&epoll, &listeners, may_accept) {
                    Ok(()) => accepting = may_accept,
                    Err(error) => {
                        log::failure(&format_args!("cannot wait for connections: {error}"));
                        resting_until = Some(Instant::now() + ACCEPT_REST);
                    }
                }
            }
            let until = [resting_until, pings.close_late()];
            for ready in epoll.wait(until.into_iter().flatten().min())? {
                let may_be_told = matches!(ready.token, SIGNAL | PROCESS_ONE);
                if may_be_told && self.hears_that_the_guest_ends() {
                    guest_ends = true;
                    self.connections.tell_every_end();
                }
                match ready.token {
                    // The signal is process 1's, and everybody's: commands end by their own.
                    SIGNAL if guest_ends => drop(signal::take(signals)),
                    // It has said all that it ever says, or is gone.
                    PROCESS_ONE => self
                        .process_one
                        .iter()
                        .try_for_each(|it| epoll.remove(it))?,
                    SIGNAL => {
                        drop(listeners);
                        drop(pings);
                        self.stop();
                        return Ok(());
                    }
                    CONNECTION_ENDED => self.connections.ended.lower(),
                    pings::FIRST_TOKEN.. => pings.hear(ready.token),
                    token => {
                        let at = usize::try_from(token - FIRST_LISTENER).unwrap_or(usize::MAX);
                        let Some(listener) = listeners.get(at) else {
                            continue;
                        };
                        if self.connections.has_room()
                            && self.accept(listener, &epoll, &mut pings).is_err()
                        {
                            resting_until = Some(Instant::now() + ACCEPT_REST);
                        }
                    }
                }
            }
            if guest_ends {
                listeners.clear();
            }
        }
        Ok(())
    }

    /// Whether process 1 says that the guest ends.
    fn hears_that_the_guest_ends(&self) -> bool {
        let heard = self.process_one.as_ref().and_then(ProcessOne::hear);
        heard == Some(process_one::GUEST_ENDS)
    }

    /// Accepts one connection. An error is one that another try at once would meet again.
    fn accept(
        &'static self,
        listener: &Listener,
        epoll: &Epoll,
        pings: &mut Pings<OpenConnection<'static>>,
    ) -> Result<(), ()> {
        let socket = match socket::accept(&listener.socket) {
            Ok(socket) => socket,
            Err(error) => match error.raw_os_error() {
                // Gone again, or somebody else's: `accept(2)`.
                Some(libc::EAGAIN | libc::EINTR | libc::ECONNABORTED | libc::EPROTO) => {
                    return Ok(());
                }
                _ => {
                    log::failure(&format_args!("cannot accept: {error}"));
                    return Err(());
                }
            },
        };
        process::reap_late_ones();
        if !self.is_served(&socket, listener.family) {
            return Ok(());
        }
        let place = self.connections.open_one();
        let Some((socket, place)) = pings.answer(epoll, socket, place) else {
            return Ok(());
        };
        self.start_connection(socket, listener.family, place)
            .map_err(|error| {
                log::failure(&format_args!("cannot serve a connection: {error}"));
            })
    }

    /// Starts a thread that serves one connection.
    fn start_connection(
        &'static self,
        socket: OwnedFd,
        family: Family,
        place: OpenConnection<'static>,
    ) -> io::Result<()> {
        let serve = move || {
            let _place = place;
            match Connection::new(socket, family, &self.stop) {
                Ok(connection) => self.serve_connection(connection),
                Err(error) => log::failure(&format_args!("cannot serve a connection: {error}")),
            }
        };
        thread::start(c"connection", STACK_BYTES, Box::new(serve))
    }

    fn serve_connection(&self, connection: Connection<'_>) {
        serve_guarded(connection, |connection| session::serve(self, connection));
    }

    /// Ends what runs: every connection sees the flag, ends its command and goes.
    fn stop(&self) {
        self.connections.tell_every_end();
        self.stop.raise();
        let deadline = Instant::now() + STOP_LIMIT;
        let waited = Epoll::new().and_then(|epoll| {
            epoll.add(&self.connections.ended, CONNECTION_ENDED, epoll::IN)?;
            while self.connections.open() > 0 && Instant::now() < deadline {
                epoll.wait(Some(deadline))?.for_each(drop);
                self.connections.ended.lower();
            }
            Ok(())
        });
        if let Err(error) = waited {
            log::failure(&format_args!("cannot wait for connections to end: {error}"));
        }
    }
}

/// Serves a connection such that a failure, a panic among them, costs that connection alone.
fn serve_guarded<'stop>(
    mut connection: Connection<'stop>,
    serve: impl FnOnce(&mut Connection<'stop>) -> Result<(), ConnectionError>,
) {
    // Sound: after a panic the connection is only asked whether it has sent anything, told one
    // frame and closed; permits and processes are given back by their drops.
    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut connection)));
    let answered = match served {
        Ok(Err(ConnectionError::System(error))) => {
            answer_failure(&mut connection, &os_error::sentence(&error))
        }
        Ok(outcome) => outcome,
        Err(_) => answer_failure(&mut connection, "an unexpected failure, see its log"),
    };
    match answered {
        Ok(()) => connection.finish(),
        Err(ConnectionError::Stopping) => {}
        // A peer that only looked whether somebody listens is no failure.
        Err(ConnectionError::PeerGone) if !connection.has_received() => {}
        Err(error) => log::failure(&format_args!("a request ended early: {error}")),
    }
}

/// Begins or ends waiting for connections. No listener is taken off and put back, which would take memory when there is none.
fn watch(epoll: &Epoll, listeners: &[Listener], accepting: bool) -> io::Result<()> {
    let interest = match accepting {
        true => epoll::IN,
        false => NOT_ACCEPTING,
    };
    for (token, listener) in (FIRST_LISTENER..).zip(listeners) {
        epoll.change(&listener.socket, token, interest)?;
    }
    Ok(())
}

/// Answers a request that failed for no fault of the host's, where nothing of the answer is sent
/// yet; elsewhere closing without a last frame is all that can be told.
fn answer_failure(connection: &mut Connection<'_>, reason: &str) -> Result<(), ConnectionError> {
    log::failure(&format_args!("a request failed: {reason}"));
    if connection.has_sent() {
        return Err(ConnectionError::PeerGone);
    }
    let refusal = Refusal::new(["agent error: ", reason].concat());
    connection.answer(
        &Response::Refused(&refusal),
        Some(Instant::now() + FAILURE_ANSWER),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::tests::pair;
    use std::io::Read as _;

    fn served(
        serve: impl FnOnce(&mut Connection<'_>) -> Result<(), ConnectionError> + Send,
    ) -> Vec<u8> {
        let stop = EventFd::new().unwrap();
        let (connection, mut peer) = pair(&stop);
        std::thread::scope(|scope| {
            scope.spawn(|| serve_guarded(connection, serve));
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            drop(peer);
            answer
        })
    }

    #[test]
    fn panic_is_answered_as_an_agent_error() {
        let answer = served(|_| panic!("on purpose"));
        let json = br#"{"ok": false, "error": "agent error: an unexpected failure, see its log"}"#;
        assert_eq!(&answer[5..], json);
    }

    #[test]
    fn panic_after_a_part_of_the_answer_closes_without_a_last_frame() {
        let answer = served(|connection| {
            connection.send_all(b"part", None)?;
            panic!("on purpose")
        });
        assert_eq!(answer, b"part");
    }
}
