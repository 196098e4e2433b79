//! What each request parses to, and the sentence of each refusal.

use super::super::{Leftovers, MAX_ENVIRONMENT_ENTRIES, RunRequest, Shell, Timeout, Until};
use super::*;
use crate::response::Refusal;
use quickcheck::quickcheck;

pub(super) fn run(json: &str) -> RunRequest {
    match Request::parse(json.as_bytes()) {
        Ok(Request::Run(run)) => run,
        other => panic!("{json}: {other:?}"),
    }
}

pub(super) fn refusal(json: &str) -> String {
    match Request::parse(json.as_bytes()) {
        Err(refusal) => refusal.sentence().to_owned(),
        Ok(request) => panic!("{json}: {request:?}"),
    }
}

quickcheck! {
    fn any_bytes_are_a_request_or_a_refusal_and_never_a_panic(bytes: Vec<u8>) -> bool {
        let _ = Request::parse(&bytes);
        true
    }

    fn what_a_host_encodes_the_agent_parses(
        command: Vec<u8>,
        value: Vec<u8>,
        milliseconds: u32
    ) -> bool {
        let request = Request::Run(RunRequest {
            command: [b"x".as_slice(), &command].concat(),
            shell: Shell::Raw,
            timeout: Timeout::from_seconds(f64::from(milliseconds) / 1000.0),
            environment: vec![(
                b"NAME".to_vec(),
                value.into_iter().filter(|byte| *byte != 0).collect(),
            )],
            ..RunRequest::default()
        });
        Request::parse(request.to_json().as_bytes()) == Ok(request)
    }

    fn additions_that_a_host_encodes_the_agent_parses(
        argument: Vec<u8>,
        directory: Vec<u8>
    ) -> bool {
        let without_nul = |bytes: Vec<u8>| bytes.into_iter().filter(|byte| *byte != 0).collect();
        let request = Request::Run(RunRequest {
            argv: vec![b"program".to_vec(), without_nul(argument), Vec::new()],
            directory: without_nul(directory),
            user: b"bob:\xff".to_vec(),
            usage: true,
            until: Until::Exit(Leftovers::Kill),
            ..RunRequest::default()
        });
        Request::parse(request.to_json().as_bytes()) == Ok(request)
    }
}

#[test]
fn versions_absent_null_and_one_are_served_and_others_are_not() {
    for version in ["null", "1", "1.0"] {
        let json = format!(r#"{{"op":"ping","v":{version}}}"#);
        assert_eq!(Request::parse(json.as_bytes()), Ok(Request::Ping));
    }
    for (version, shown) in [
        ("2", "2"),
        ("\"1\"", "1"),
        ("true", "True"),
        ("[1]", "[1]"),
        ("1.5", "1.5"),
        ("-1", "-1"),
    ] {
        let json = format!(r#"{{"op":"ping","v":{version}}}"#);
        assert_eq!(
            refusal(&json),
            format!("unsupported protocol version {shown}")
        );
    }
}

#[test]
fn operations_that_are_unknown_absent_or_no_string_are_refused() {
    for (json, sentence) in [
        (r#"{"op":"x"}"#, "unknown op 'x'"),
        (r#"{"op":"it's"}"#, "unknown op \"it's\""),
        (r#"{}"#, "unknown op None"),
        (r#"{"op":null}"#, "unknown op None"),
        (r#"{"op":5}"#, "unknown op 5"),
        (r#"{"op":["run"]}"#, "unknown op [\"run\"]"),
    ] {
        assert_eq!(refusal(json), sentence);
    }
}

#[test]
fn shutdown_powers_off_unless_it_says_reboot() {
    for (member, mode) in [
        ("", ShutdownMode::PowerOff),
        (",\"mode\":null", ShutdownMode::PowerOff),
        (",\"mode\":\"poweroff\"", ShutdownMode::PowerOff),
        (",\"mode\":\"reboot\"", ShutdownMode::Reboot),
    ] {
        let json = format!("{{\"op\":\"shutdown\"{member}}}");
        assert_eq!(Request::parse(json.as_bytes()), Ok(Request::Shutdown(mode)));
    }
    for (mode, sentence) in [
        (
            "\"halt\"",
            "unknown mode 'halt': use 'poweroff' or 'reboot'",
        ),
        ("1", "'mode' must be a string"),
    ] {
        let json = format!("{{\"op\":\"shutdown\",\"mode\":{mode}}}");
        assert_eq!(refusal(&json), sentence);
    }
    for request in [
        Request::Timings,
        Request::Shutdown(ShutdownMode::PowerOff),
        Request::Shutdown(ShutdownMode::Reboot),
    ] {
        assert_eq!(Request::parse(request.to_json().as_bytes()), Ok(request));
    }
}

#[test]
fn payload_that_is_no_json_object_is_a_bad_request() {
    for json in [
        "",
        "[]",
        "1",
        "{",
        "{\"op\":\"ping\"}x",
        "{\"a\":\"\n\"}",
        "{\"a\":NaN}",
    ] {
        assert!(refusal(json).starts_with("bad request: "), "{json}");
    }
    let refusal = Request::parse(b"{\"op\":\"ping\",\"x\":\"\xff\"}").unwrap_err();
    assert!(refusal.sentence().starts_with("bad request: "));
}

#[test]
fn run_takes_its_members_and_null_counts_as_absent() {
    assert_eq!(
        run(r#"{"op":"run","cmd":"a\udc80","shell":"raw","timeout":1.5,"env":{"A":"1"},"x":[]}"#),
        RunRequest {
            command: b"a\x80".to_vec(),
            shell: Shell::Raw,
            timeout: Timeout::from_seconds(1.5),
            environment: vec![(b"A".to_vec(), b"1".to_vec())],
            ..RunRequest::default()
        }
    );
    assert_eq!(
        run(r#"{"op":"run","cmd":"a","shell":null,"timeout":null,"env":null}"#),
        RunRequest {
            command: b"a".to_vec(),
            ..RunRequest::default()
        }
    );
}

#[test]
fn bad_runs_are_refused_with_their_sentence_and_op_error() {
    for (members, sentence) in [
        (r#""x":1"#, "missing 'cmd'"),
        (r#""cmd":null"#, "missing 'cmd'"),
        (r#""cmd":"""#, "missing 'cmd'"),
        (r#""cmd":5"#, "'cmd' must be a string"),
        (
            r#""cmd":"\ud800""#,
            "bad request: 'cmd' has the lone surrogate U+D800, which stands for no byte",
        ),
        (
            r#""cmd":"a","shell":"zsh""#,
            "unknown shell 'zsh': use 'login' or 'raw'",
        ),
        (r#""cmd":"a","shell":1"#, "'shell' must be a string"),
        (
            r#""cmd":"a","env":[]"#,
            "'env' must be an object of strings",
        ),
        (r#""cmd":"a","env":{"":"x"}"#, "'env' has an empty name"),
        (r#""argv":"a""#, "'argv' must be an array of strings"),
        (r#""argv":{}"#, "'argv' must be an array of strings"),
        (
            r#""argv":[]"#,
            "'argv' names no program: its first entry is missing or empty",
        ),
        (
            r#""argv":["","a"]"#,
            "'argv' names no program: its first entry is missing or empty",
        ),
        (r#""argv":["a",1]"#, "an entry of 'argv' must be a string"),
        (
            r#""argv":["a",null]"#,
            "an entry of 'argv' must be a string",
        ),
        (
            r#""argv":["\ud800"]"#,
            "an entry of 'argv' has the lone surrogate U+D800, which stands for no byte",
        ),
        (
            r#""argv":["a","b\u0000"]"#,
            "an entry of 'argv' has a NUL byte",
        ),
        (
            r#""argv":["a"],"cmd":"""#,
            "'argv' is run without a shell: leave 'cmd' and 'shell' out",
        ),
        (
            r#""argv":["a"],"shell":"raw""#,
            "'argv' is run without a shell: leave 'cmd' and 'shell' out",
        ),
        (r#""cmd":"a","cwd":1"#, "'cwd' must be a string"),
        (r#""cmd":"a","until":true"#, "'until' must be a string"),
        (
            r#""cmd":"a","until":"end""#,
            "unknown until 'end': use 'eof' or 'exit'",
        ),
        (
            r#""cmd":"a","until":"exit","leftovers":"stop""#,
            "unknown leftovers 'stop': use 'keep' or 'kill'",
        ),
        (
            r#""cmd":"a","leftovers":"keep""#,
            "'leftovers' needs 'until': 'exit'",
        ),
        (
            r#""cmd":"a","until":"eof","leftovers":"kill""#,
            "'leftovers' needs 'until': 'exit'",
        ),
        (r#""cmd":"a","user":1000"#, "'user' must be a string"),
        (
            r#""cmd":"a","user":"\u0000""#,
            "'user' is empty or has a NUL byte",
        ),
        (r#""cmd":"a","usage":1"#, "'usage' must be true or false"),
        (
            r#""cmd":"a","usage":"true""#,
            "'usage' must be true or false",
        ),
        (
            r#""cmd":"a","cwd":"/\u0000""#,
            "'cwd' is empty or has a NUL byte",
        ),
        (r#""cmd":"a","cwd":"""#, "'cwd' is empty or has a NUL byte"),
        (
            r#""cmd":"a","env":{"A=":"x"}"#,
            "the name 'A=' in 'env' has a '=' or a NUL byte",
        ),
        (
            r#""cmd":"a","env":{"A":"\u0000"}"#,
            "the value of 'A' in 'env' has a NUL byte",
        ),
        (
            r#""cmd":"a","env":{"A":[]}"#,
            "the value of 'A' in 'env' must be a string, not an array or an object",
        ),
        (
            r#""cmd":"a","env":{"A":1e999}"#,
            "the value of 'A' in 'env' is a number out of range: send it as a string",
        ),
        (
            r#""cmd":"a","env":{"A":9223372036854775808}"#,
            "the value of 'A' in 'env' is a number out of range: send it as a string",
        ),
    ] {
        let json = format!(r#"{{"op":"run",{members}}}"#);
        let refused = Request::parse(json.as_bytes());
        assert_eq!(refused, Err(Refusal::new(sentence).of_run()), "{json}");
    }
}

#[test]
fn timeouts_are_positive_and_finite_or_none_or_refused() {
    for (timeout, seconds) in [
        ("0", None),
        ("0.0", None),
        ("-0", None),
        ("2", Some(2.0)),
        ("0.25", Some(0.25)),
        ("1e300", Some(1e300)),
    ] {
        let run = run(&format!(r#"{{"op":"run","cmd":"a","timeout":{timeout}}}"#));
        assert_eq!(run.timeout.map(Timeout::seconds), seconds, "{timeout}");
    }
    let beyond_floats = format!(r#"{{"op":"run","cmd":"a","timeout":1{}}}"#, "0".repeat(400));
    assert_eq!(run(&beyond_floats).timeout, None);
    assert_eq!(Timeout::from_seconds(1e300).unwrap().duration(), None);
    for timeout in ["-1", "-0.1", "1e999", "\"1\"", "true", "[]"] {
        let sentence = refusal(&format!(r#"{{"op":"run","cmd":"a","timeout":{timeout}}}"#));
        assert!(sentence.starts_with("'timeout' must be "), "{timeout}");
    }
}

#[test]
fn scalars_in_the_environment_are_printed_as_python_prints_them() {
    let json = r#"{"op":"run","cmd":"a","env":
        {"A":true,"B":false,"C":null,"D":1,"E":1.5,"F":-0,"G":1e16,"H":-9223372036854775808}}"#;
    let values: Vec<Vec<u8>> = run(json)
        .environment
        .into_iter()
        .map(|entry| entry.1)
        .collect();
    let expected = [
        "True",
        "False",
        "None",
        "1",
        "1.5",
        "0",
        "1e+16",
        "-9223372036854775808",
    ];
    assert_eq!(values, expected.map(|text| text.as_bytes().to_vec()));
}

#[test]
fn environment_of_the_limit_is_served_and_one_entry_more_is_refused() {
    let json = |entries: usize| {
        let entries: Vec<String> = (0..entries).map(|n| format!("\"N{n}\":\"\"")).collect();
        format!(
            r#"{{"op":"run","cmd":"a","env":{{{}}}}}"#,
            entries.join(",")
        )
    };
    assert_eq!(
        run(&json(MAX_ENVIRONMENT_ENTRIES)).environment.len(),
        MAX_ENVIRONMENT_ENTRIES
    );
    assert_eq!(
        refusal(&json(MAX_ENVIRONMENT_ENTRIES + 1)),
        "'env' has more than 16384 entries"
    );
}
