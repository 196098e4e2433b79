//! `smolctl shutdown` against a peer that tells what it was asked: the real agent ends no test's machine.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[allow(dead_code, reason = "shared with tests of bad peers")]
#[path = "support/peer.rs"]
mod peer;

use peer::{Act, Peer, drain};
use smolvm_protocol::frame::{FrameType, encode_frame};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

fn request(stream: &mut UnixStream) -> String {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let mut request = vec![0; u32::from_be_bytes(header[1..].try_into().unwrap()) as usize];
    stream.read_exact(&mut request).unwrap();
    String::from_utf8(request).unwrap()
}

#[test]
fn guest_is_told_whether_it_powers_off_or_starts_anew() {
    for (arguments, is_reboot) in [(&[][..], false), (&["--reboot"][..], true)] {
        let (told, asked) = channel();
        let answers = [
            r#"{"ok": true, "op": "pong", "agent_version": "9", "proto": 1, "features": ["shutdown"]}"#,
            r#"{"ok": true}"#,
        ];
        let acts = answers.map(|answer| {
            let told = told.clone();
            let act: Act = Box::new(move |mut stream| {
                told.send(request(&mut stream)).unwrap();
                let frame = encode_frame(FrameType::JSON, answer.as_bytes());
                stream.write_all(&frame).unwrap();
                drain(stream);
            });
            act
        });
        let peer = Peer::new(acts.into());
        let output = Command::new(env!("CARGO_BIN_EXE_smolctl"))
            .arg("shutdown")
            .arg(format!("unix:{}", peer.path().display()))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let limit = Duration::from_secs(10);
        assert!(asked.recv_timeout(limit).unwrap().contains("ping"));
        let request = asked.recv_timeout(limit).unwrap();
        assert!(request.contains("shutdown"), "{request}");
        assert_eq!(request.contains("reboot"), is_reboot, "{request}");
    }
}
