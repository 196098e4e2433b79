//! A VMM's answer to `CONNECT`: what is taken for a yes, and that not a byte of the stream behind it is.

use crate::socket::said;
use smolvm_host::cancel::Cancel;
use smolvm_host::transport::handshake_by;
use std::io::Read as _;
use std::time::Duration;

/// The most bytes of the answer's line, its end included.
const MAX_LINE_BYTES: usize = 64;

/// Checks what the host makes of an answer, and of what comes behind it.
pub fn check(answer: &[u8]) {
    if answer.len() > 16 * 1024 {
        return;
    }
    let end = answer.iter().position(|byte| *byte == b'\n');
    let is_yes = answer.starts_with(b"OK") && end.is_some_and(|end| end < MAX_LINE_BYTES);
    let (mut ours, theirs) = said(answer);
    let cancel = Cancel::new().expect("there are descriptors left");
    let outcome = handshake_by(theirs.into(), 1024, &cancel);
    let mut asked = [0; 13];
    ours.read_exact(&mut asked).expect("the host speaks first");
    assert_eq!(&asked, b"CONNECT 1024\n");
    match outcome {
        Ok(connection) => {
            assert!(is_yes, "{} is no yes", answer.escape_ascii());
            let mut rest = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(Some(count @ 1..)) = connection.try_read(&mut buffer) {
                rest.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(Some(rest.as_slice()), end.map(|end| &answer[end + 1..]));
        }
        Err(error) => {
            assert!(!is_yes, "{} is a yes: {error}", answer.escape_ascii());
            assert!(error.to_string().len() < 1024);
        }
    }
    let limit = Some(Duration::from_secs(1));
    ours.set_read_timeout(limit).expect("it is a socket");
    // Nothing more is said.
    assert!(!matches!(ours.read(&mut asked), Ok(1..)));
}
