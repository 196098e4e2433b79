//! What each request parses to, and the sentence of each refusal.

use super::super::{Leftovers, MAX_ENVIRONMENT_ENTRIES, Owner, RunRequest, Shell, Timeout, Until};
use super::*;
use crate::response::Refusal;
use quickcheck::quickcheck;

pub(super) fn run(json: &str) -> RunRequest {
    match Request::parse(json.as_bytes()) {
        Ok(Request::Run(run)) => run,
        other => panic!("{json}: {other:?}"),
    }
}

fn put(json: &str) -> PutFileRequest {
    match Request::parse(json.as_bytes()) {
        Ok(Request::PutFile(put)) => put,
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

#[test]
fn put_file_takes_its_members_and_a_file_type_in_mode_is_dropped() {
    assert_eq!(
        put(r#"{"op":"put_file","path":"/a","name":"b","mode":33188,"size":3}"#),
        PutFileRequest {
            size: 3,
            destination: Ok(Destination {
                path: b"/a".to_vec(),
                name: Some(b"b".to_vec()),
                mode: Some(0o644),
                ..Destination::default()
            }),
        }
    );
    assert_eq!(put(r#"{"op":"put_file","path":"/a"}"#).size, 0);
}

#[test]
fn put_file_with_a_valid_size_keeps_it_beside_the_refusal() {
    for (members, sentence) in [
        (r#""size":4"#, "missing 'path'"),
        (r#""size":4,"path":"""#, "missing 'path'"),
        (r#""size":4,"path":7"#, "'path' must be a string"),
        (r#""size":4,"path":"a","name":7"#, "'name' must be a string"),
        (
            r#""size":4,"path":"a","mode":-1"#,
            "'mode' must be a whole number, the permission bits (0o7777 at most; a file type's bits are dropped)",
        ),
        (
            r#""size":4,"path":"a","sha256":"00""#,
            "'sha256' must be 64 hex digits, the SHA-256 sum of the content",
        ),
        (
            r#""size":4,"path":"a","uid":-1"#,
            "'uid' must be a whole number, 0 to 4294967294",
        ),
        (
            r#""size":4,"path":"a","gid":4294967295"#,
            "'gid' must be a whole number, 0 to 4294967294",
        ),
        (
            r#""size":4,"path":"a","sync":1"#,
            "'sync' must be true or false",
        ),
    ] {
        let put = put(&format!(r#"{{"op":"put_file",{members}}}"#));
        assert_eq!(
            (put.size, put.destination),
            (4, Err(Refusal::new(sentence)))
        );
    }
}

#[test]
fn additions_to_put_file_and_get_file_are_taken_and_null_counts_as_absent() {
    let destination = Destination {
        path: b"/a".to_vec(),
        mode: Some(0o600),
        sha256: Checksum::from_hex(&[b'A'; 64]).map(ExpectedSum::Given),
        owner: Owner {
            uid: Some(MAX_ID),
            gid: Some(0),
        },
        sync: true,
        ..Destination::default()
    };
    for request in [
        Request::PutFile(PutFileRequest {
            size: 3,
            destination: Ok(destination),
        }),
        Request::PutFile(PutFileRequest {
            size: 3,
            destination: Ok(Destination {
                path: b"/a".to_vec(),
                sha256: Some(ExpectedSum::Follows),
                ..Destination::default()
            }),
        }),
        Request::GetFile(GetFileRequest {
            path: b"/a".to_vec(),
            sha256: true,
        }),
    ] {
        assert_eq!(Request::parse(request.to_json().as_bytes()), Ok(request));
    }
    let null = r#"{"op":"put_file","path":"/a","sha256":null,"uid":null,"gid":null,"sync":null}"#;
    assert_eq!(put(null), put(r#"{"op":"put_file","path":"/a"}"#));
}

#[test]
fn sum_behind_an_upload_is_read_as_it_is_written_and_nothing_else_is_one() {
    let sum = FollowingSum(Checksum([0xa5; Checksum::BYTES]));
    assert_eq!(FollowingSum::parse(sum.to_json().as_bytes()), Ok(sum));
    let no_sum = "'sha256' must be 64 hex digits, the SHA-256 sum of the content";
    for (json, sentence) in [
        ("{}", no_sum),
        (r#"{"sha256":null}"#, no_sum),
        (r#"{"sha256":"follows"}"#, no_sum),
        (r#"{"sha256":"00"}"#, no_sum),
        (r#"{"sha256":7}"#, no_sum),
        ("[]", "bad request: not a JSON object"),
    ] {
        let refusal = FollowingSum::parse(json.as_bytes()).unwrap_err();
        assert_eq!(refusal, Refusal::new(sentence), "{json}");
    }
}

#[test]
fn put_file_with_a_size_that_is_no_whole_number_is_refused() {
    for size in [
        "null",
        "-1",
        "1.0",
        "\"1\"",
        "true",
        "18446744073709551616",
        "[]",
    ] {
        let json = format!(r#"{{"op":"put_file","path":"/a","size":{size}}}"#);
        assert_eq!(
            refusal(&json),
            "'size' must be a whole number of bytes, 0 or more"
        );
    }
}

#[test]
fn get_file_needs_a_path() {
    assert_eq!(
        Request::parse(br#"{"op":"get_file","path":"a/../b"}"#),
        Ok(Request::GetFile(GetFileRequest {
            path: b"a/../b".to_vec(),
            sha256: false,
        }))
    );
    assert_eq!(refusal(r#"{"op":"get_file"}"#), "missing 'path'");
    assert_eq!(
        refusal(r#"{"op":"get_file","path":"a","sha256":"00"}"#),
        "'sha256' must be true or false"
    );
}

#[test]
fn trees_need_a_path_and_a_name_is_optional() {
    for (json, request) in [
        (
            r#"{"op":"put_tree","path":"/a\udcff","name":"b","mode":1,"size":-1}"#,
            Request::PutTree(PutTreeRequest {
                path: b"/a\xff".to_vec(),
                name: Some(b"b".to_vec()),
            }),
        ),
        (
            r#"{"op":"put_tree","path":"a","name":null}"#,
            Request::PutTree(PutTreeRequest {
                path: b"a".to_vec(),
                name: None,
            }),
        ),
        (
            r#"{"op":"get_tree","path":"a/"}"#,
            Request::GetTree(GetTreeRequest {
                path: b"a/".to_vec(),
            }),
        ),
    ] {
        assert_eq!(Request::parse(json.as_bytes()), Ok(request.clone()));
        let encoded = request.to_json();
        assert_eq!(Request::parse(encoded.as_bytes()), Ok(request));
    }
    for op in ["put_tree", "get_tree"] {
        let json = format!(r#"{{"op":"{op}","path":""}}"#);
        assert_eq!(refusal(&json), "missing 'path'");
    }
    let json = r#"{"op":"put_tree","path":"a","name":1}"#;
    assert_eq!(refusal(json), "'name' must be a string");
}
