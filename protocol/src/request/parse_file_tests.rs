//! What requests for files and trees parse to, and the sentence of each refusal.

use super::super::Owner;
use super::tests::refusal;
use super::*;

fn put(json: &str) -> PutFileRequest {
    match Request::parse(json.as_bytes()) {
        Ok(Request::PutFile(put)) => put,
        other => panic!("{json}: {other:?}"),
    }
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
