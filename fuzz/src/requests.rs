//! Requests, and the JSON below them.
//!
//! The walk over JSON agrees with `serde_json`'s values; numbers are the floats that std reads; a request that is
//! understood is understood alike once it is written anew; and none is much larger than its frame.

use serde_json::Value;
use smolvm_protocol::fuzzing::{Walked, float, walk};
use smolvm_protocol::request::{
    Control, MAX_ARGUMENTS, MAX_CELLS, MAX_ENVIRONMENT_ENTRIES, Request, RunRequest,
};

/// A number that Python prints is longer than its JSON; `TERM` may come from nowhere.
const GROWTH: usize = 8;
const SLACK: usize = 64;
/// The most bytes of a sentence: what it shows of a request is cut, and may be escaped.
const MAX_SENTENCE_BYTES: usize = 128 * 1024;

/// Checks what is made of a control frame's `payload`.
pub fn check(payload: &[u8]) {
    if let Ok(text) = std::str::from_utf8(payload) {
        check_walk(text);
        check_float(text);
    }
    match Request::parse(payload) {
        Ok(request) => check_request(&request, payload.len()),
        Err(refusal) => assert!(refusal.sentence().len() <= MAX_SENTENCE_BYTES),
    }
    match Control::parse(payload) {
        Ok(control) => {
            assert_eq!(Control::parse(control.to_json().as_bytes()), Ok(control));
            match control {
                Control::Signal(number) => assert!((1..=31).contains(&number)),
                Control::Resize(size) => {
                    assert!(
                        [size.rows, size.cols]
                            .iter()
                            .all(|cells| (1..=MAX_CELLS).contains(cells))
                    );
                }
            }
        }
        Err(error) => assert!(error.refusal.sentence().len() <= MAX_SENTENCE_BYTES),
    }
}

fn check_walk(text: &str) {
    match (walk(text), serde_json::from_str::<Value>(text)) {
        (Walked::Value(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{text}"),
        (Walked::NoJson | Walked::Other, Err(_)) => {}
        // A text of which no value is built is skipped by both, but for the walk that need not build.
        (Walked::Value(_), Err(error)) => panic!("{error}, and the walk reads it: {text}"),
        (other, Ok(theirs)) => panic!("the walk says {other:?} of {theirs}"),
    }
}

fn check_float(text: &str) {
    let digits = text.trim_matches([' ', '\t', '\n', '\r']);
    let is_number = digits.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number && walk(digits) != Walked::NoJson {
        let theirs: f64 = digits.parse().expect("JSON's numbers are Rust's, too");
        assert_eq!(float(digits).to_bits(), theirs.to_bits(), "{digits}");
    }
}

fn check_request(request: &Request, payload_bytes: usize) {
    let again = Request::parse(request.to_json().as_bytes());
    match (request, again) {
        // Why its destination is refused is not written.
        (Request::PutFile(put), Ok(Request::PutFile(again))) if put.destination.is_err() => {
            assert_eq!(put.size, again.size);
        }
        (_, again) => assert_eq!(again.as_ref(), Ok(request)),
    }
    if let Request::Run(run) = request {
        check_run(run, payload_bytes);
    }
}

fn check_run(run: &RunRequest, payload_bytes: usize) {
    assert!(run.command.is_empty() != run.argv.is_empty());
    assert!(run.argv.len() <= MAX_ARGUMENTS);
    assert!(run.environment.len() <= MAX_ENVIRONMENT_ENTRIES);
    assert!(
        run.timeout
            .is_none_or(|timeout| timeout.seconds() > 0.0 && timeout.seconds().is_finite())
    );
    let variables = run.environment.iter();
    let bytes: usize = variables
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + run.argv.iter().map(Vec::len).sum::<usize>()
        + [&run.command, &run.directory, &run.user]
            .map(Vec::len)
            .iter()
            .sum::<usize>();
    assert!(
        bytes <= GROWTH * payload_bytes + SLACK,
        "{bytes} bytes of {payload_bytes}"
    );
    for (name, value) in &run.environment {
        assert!(
            !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0)
        );
    }
    assert!(
        run.argv
            .iter()
            .chain([&run.directory, &run.user])
            .all(|each| !each.contains(&0))
    );
}
