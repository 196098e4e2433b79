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

/// A connection whose peer has sent more than is received at a stretch, and goes on sending for all that anybody knows.
fn flooded(stop: &EventFd) -> (Connection<'_>, UnixStream) {
    let (connection, mut peer) = pair(stop);
    let more = RECEIVED_AT_A_STRETCH as usize + 8;
    peer.set_nonblocking(true).unwrap();
    peer.write_all(&vec![7; more * REQUEST_BUFFER_BYTES])
        .unwrap();
    (connection, peer)
}

/// How often was received until that fails, and why.
fn fills(connection: &mut Connection<'_>, patience: &Patience) -> (u32, ConnectionError) {
    let mut count = 0;
    loop {
        match connection.fill(patience) {
            Ok(()) => count += 1,
            Err(error) => return (count, error),
        }
    }
}

#[test]
fn peer_that_sends_without_end_is_left_when_its_time_is_over() {
    let stop = EventFd::new().unwrap();
    let (mut connection, _peer) = flooded(&stop);
    let patience = Patience {
        between_bytes: Duration::from_secs(10),
        until: Some(Instant::now()),
    };
    let (count, error) = fills(&mut connection, &patience);
    assert!(matches!(error, ConnectionError::TimedOut));
    assert_eq!(count, RECEIVED_AT_A_STRETCH);
}

#[test]
fn stop_is_seen_though_the_peer_sends_without_end() {
    let stop = EventFd::new().unwrap();
    let (mut connection, _peer) = flooded(&stop);
    stop.raise();
    let (count, error) = fills(&mut connection, &patience(10_000));
    assert!(matches!(error, ConnectionError::Stopping));
    assert_eq!(count, RECEIVED_AT_A_STRETCH);
}

#[test]
fn all_that_a_peer_sent_before_it_went_is_received_however_much() {
    let stop = EventFd::new().unwrap();
    let (mut connection, peer) = flooded(&stop);
    drop(peer);
    let (count, error) = fills(&mut connection, &patience(10_000));
    assert!(matches!(error, ConnectionError::PeerGone));
    assert!(count > RECEIVED_AT_A_STRETCH);
}

#[test]
fn buffer_of_a_payload_is_given_back_within_a_frame_and_nothing_of_that_is_lost() {
    let stop = EventFd::new().unwrap();
    let (mut connection, mut peer) = pair(&stop);
    let frame = frame::encode_frame(FrameType::DATA, &[7; 20_000]);
    let (first, rest) = frame.split_at(6_000);
    connection.expect_bulk();
    peer.write_all(first).unwrap();
    let mut arrived = 0;
    let mut take_all = |connection: &mut Connection<'_>| {
        connection.receive_some().unwrap();
        while let Some(event) = connection.received_event().unwrap() {
            if let Arrived::Payload(range) = event {
                arrived += connection.bytes(range).len();
            }
        }
    };
    take_all(&mut connection);
    assert_eq!(connection.received.capacity(), BULK_BUFFER_BYTES);
    connection
        .wait(Some(Instant::now() + 2 * BULK_PATIENCE))
        .unwrap();
    assert_eq!(connection.received.capacity(), 0);
    peer.write_all(rest).unwrap();
    connection.wait(soon()).unwrap();
    take_all(&mut connection);
    assert_eq!(arrived, 20_000);
}
