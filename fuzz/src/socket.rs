//! A pair of sockets whose one end has said all that it will say.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// Our end says `bytes`, and no more.
pub(crate) fn say(ours: &UnixStream, bytes: &[u8]) {
    (&*ours).write_all(bytes).expect("a socket takes so much");
    // The other end may have gone.
    let _ = ours.shutdown(Shutdown::Write);
}

/// Our end, which has sent `bytes` and ended its side, and the other one.
pub(crate) fn said(bytes: &[u8]) -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors left");
    say(&ours, bytes);
    (ours, theirs)
}

/// All that the other end has said; it is closed, perhaps with bytes of ours unread.
pub(crate) fn answer(mut ours: UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A reset comes behind the bytes.
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    answer
}
