//! What is run in the guest, as one command line for whatever shell logs in there.
//!
//! Owns the quoting and the [`Mark`] that tells the scripts' own lines from all else that a guest says.

use super::SshError;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

pub(super) const RUN: &str = include_str!("run.sh");
pub(super) const PUT: &str = include_str!("put.sh");
pub(super) const GET: &str = include_str!("get.sh");
pub(super) const READY: &str = include_str!("ready.sh");

/// The longest argument that Linux passes to a program (MAX_ARG_STRLEN in execve(2)), its last byte, zero, left
/// out.
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;
const NONCE_BYTES: usize = 16;
/// What a script's words follow.
const EXECUTE: &[u8] = b"exec sh -c";

/// What begins a script's own lines. Nobody else can know it beforehand.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    nonce: String,
}

impl Mark {
    const PREFIX: &str = "smolvm-ssh";

    /// One that was never used.
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0; NONCE_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let nonce = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { nonce })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        format!("{}-{}", Self::PREFIX, self.nonce).into_bytes()
    }
}

/// The command line that runs a script with arguments.
///
/// # Errors
/// [`SshError::Unsendable`] where no command line can have them.
pub(super) fn command_line(
    script: &str,
    mark: &Mark,
    arguments: &[&[u8]],
) -> Result<OsString, SshError> {
    let own = [script, "sh", Mark::PREFIX, &mark.nonce].map(str::as_bytes);
    let arguments: Vec<&[u8]> = own.iter().chain(arguments).copied().collect();
    let line = [EXECUTE, &words(&arguments)?].concat();
    Ok(OsString::from_vec(line))
}

/// Words as any shell of the Bourne family takes them for those that they are.
///
/// # Errors
/// [`SshError::Unsendable`] where no command line can have them.
pub(super) fn words(arguments: &[&[u8]]) -> Result<Vec<u8>, SshError> {
    let mut words = Vec::new();
    for argument in arguments {
        if argument.contains(&0) {
            return Err(unsendable("text with a zero byte cannot be sent by ssh"));
        }
        words.push(b' ');
        quote(&mut words, argument);
    }
    if EXECUTE.len() + words.len() > MAX_ARGUMENT_BYTES {
        return Err(unsendable(
            "command line, variables and paths are longer than the 128 KiB that ssh can be given",
        ));
    }
    Ok(words)
}

pub(super) fn unsendable(sentence: &str) -> SshError {
    SshError::Unsendable {
        sentence: sentence.to_owned(),
    }
}

/// A word that any shell of the Bourne family takes as it is.
fn quote(line: &mut Vec<u8>, word: &[u8]) {
    line.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => line.extend(b"'\\''"),
            _ => line.push(byte),
        }
    }
    line.push(b'\'');
}

/// The last component of a name, as `put_file` takes it.
pub(super) fn last_component(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn every_byte_arrives_as_it_was() {
        let all: Vec<u8> = (1..=255).collect();
        let arguments: [&[u8]; 4] = [b"'", b"", b"$HOME `x` \\ \" \n!", &all];
        let mark = Mark::new().unwrap();
        let line = command_line("shift 2; printf '%s|' \"$@\"", &mark, &arguments).unwrap();
        let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
        let mut expected = arguments.join(&b'|');
        expected.push(b'|');
        assert_eq!(output.stdout, expected);
    }

    #[test]
    fn what_no_command_line_can_have_is_refused() {
        let mark = Mark::new().unwrap();
        for argument in [&b"a\0b"[..], &[b'x'; 128 * 1024]] {
            let refused = command_line(READY, &mark, &[argument]);
            assert!(matches!(refused, Err(SshError::Unsendable { .. })));
        }
    }

    #[test]
    fn mark_stands_in_no_list_of_processes() {
        let mark = Mark::new().unwrap();
        let line = command_line(RUN, &mark, &[]).unwrap().into_vec();
        let mark = mark.bytes();
        assert!(!line.windows(mark.len()).any(|window| window == mark));
    }

    #[test]
    fn name_is_what_follows_the_last_slash() {
        for (name, last) in [("../x", "x"), ("x/", ""), ("x", "x"), ("", "")] {
            assert_eq!(last_component(name.as_bytes()), last.as_bytes());
        }
    }
}
