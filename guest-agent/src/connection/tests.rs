//! What a connection makes of its peer's doings, over a socket pair.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// A connection and its peer.
pub(crate) fn pair(stop: &EventFd) -> (Connection<'_>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (
        Connection::new(ours.into(), Family::Unix, stop).unwrap(),
        theirs,
    )
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

fn patience(milliseconds: u64) -> Patience {
    Patience {
        between_bytes: Duration::from_millis(milliseconds),
        until: None,
    }
}

#[test]
fn close_of_the_peer_ends_a_wait() {
    let stop = EventFd::new().unwrap();
    let (mut connection, peer) = pair(&stop);
    // The first event says that there is room.
    connection.wait(soon()).unwrap();
    drop(peer);
    assert!(matches!(
        connection.wait(None),
        Err(ConnectionError::PeerGone)
    ));
}

#[test]
fn half_close_of_the_peer_is_no_hang_up_and_its_later_close_is() {
    let stop = EventFd::new().unwrap();
    let (mut connection, peer) = pair(&stop);
    connection.wait(soon()).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    connection.wait(None).unwrap();
    assert_eq!(connection.peer, Peer::HalfClosed);
    connection.receive_some().unwrap();
    // No more events until something changes.
    connection
        .wait(Some(Instant::now() + Duration::from_millis(20)))
        .unwrap();
    connection.send_all(b"answer", None).unwrap();
    drop(peer);
    assert!(matches!(
        connection.wait(None),
        Err(ConnectionError::PeerGone)
    ));
}

#[test]
fn stop_ends_a_wait() {
    let stop = EventFd::new().unwrap();
    let (mut connection, _peer) = pair(&stop);
    stop.raise();
    assert!(matches!(
        connection.wait(None),
        Err(ConnectionError::Stopping)
    ));
}

#[test]
fn frame_sent_before_the_peer_closed_still_arrives() {
    let stop = EventFd::new().unwrap();
    let (mut connection, mut peer) = pair(&stop);
    peer.write_all(&frame::encode_frame(FrameType::DATA, b"abc"))
        .unwrap();
    drop(peer);
    let patience = patience(10_000);
    assert!(matches!(
        connection.next_event(&patience),
        Ok(Arrived::Header(_))
    ));
    let Ok(Arrived::Payload(range)) = connection.next_event(&patience) else {
        panic!()
    };
    assert_eq!(connection.bytes(range), b"abc");
    assert!(matches!(connection.next_event(&patience), Ok(Arrived::End)));
    assert!(matches!(
        connection.next_event(&patience),
        Err(ConnectionError::PeerGone)
    ));
}

#[test]
fn silent_peer_is_given_up() {
    let stop = EventFd::new().unwrap();
    let (mut connection, _peer) = pair(&stop);
    assert!(matches!(
        connection.next_event(&patience(20)),
        Err(ConnectionError::TimedOut)
    ));
}

#[test]
fn peer_that_takes_nothing_is_given_up_at_the_deadline() {
    let stop = EventFd::new().unwrap();
    let (mut connection, _peer) = pair(&stop);
    let bulk = vec![0; 8 * 1024 * 1024];
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    assert!(matches!(
        connection.send_all(&bulk, deadline),
        Err(ConnectionError::TimedOut)
    ));
    assert!(connection.has_sent());
}

#[test]
fn writes_on_vsock_are_cut_to_what_every_device_carries() {
    let stop = EventFd::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut connection = Connection::new(ours.into(), Family::Vsock, &stop).unwrap();
    let frame = vec![7; BULK_BUFFER_BYTES];
    assert_eq!(connection.send_some(&frame).unwrap(), MAX_VSOCK_WRITE_BYTES);
    let mut taken = vec![0; MAX_VSOCK_WRITE_BYTES];
    theirs.read_exact(&mut taken).unwrap();
    assert_eq!(taken, frame[..MAX_VSOCK_WRITE_BYTES]);
}

#[test]
fn finish_lets_the_answer_arrive_although_the_peer_is_still_sending() {
    let stop = EventFd::new().unwrap();
    let (mut connection, mut peer) = pair(&stop);
    connection.send_all(b"answer", None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || connection.finish());
        peer.write_all(&vec![0; 1024 * 1024]).unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
        drop(peer);
    });
}
