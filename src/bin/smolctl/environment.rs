//! The variables of a command, as `-e` and `--env-file` say them.
//!
//! Owns their syntax, which is docker's: `NAME=VALUE`, or `NAME` for the one that this process has, if it has one. Files
//! count before `-e`; the later of two counts.

use crate::arguments::EnvironmentArguments;
use crate::failure::Failure;
use anyhow::Error;
use smolvm_host::cancel::Cancel;
use smolvm_host::files::read_short;
use smolvm_host::printable::printable;
use smolvm_protocol::frame::MAX_FRAME_BYTES;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// A variable's name and value.
pub(crate) type Variable = (OsString, OsString);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The variables to set, in their order.
pub(crate) fn environment_of(
    arguments: &EnvironmentArguments,
    cancel: &Cancel,
) -> Result<Vec<Variable>, Failure> {
    let mut variables = Vec::new();
    for path in &arguments.env_file {
        let bytes = read(path, cancel)?;
        variables.extend(variables_in(&bytes, path)?);
    }
    for entry in &arguments.environment {
        let variable = parse(entry.as_bytes());
        variables.extend(variable.map_err(|reason| Failure::usage(format!("-e: {reason}")))?);
    }
    Ok(variables)
}

/// A file, or what a pipe gives until its end; no more than a request can have.
fn read(path: &Path, cancel: &Cancel) -> Result<Vec<u8>, Failure> {
    read_short(path, MAX_FRAME_BYTES as usize, cancel).map_err(|error| {
        if cancel.is_cancelled() {
            return Failure::cancelled();
        }
        if error.kind() == io::ErrorKind::FileTooLarge {
            return Failure::usage(format_args!(
                "{} is longer than the 16 MiB that a request can have",
                path.display()
            ));
        }
        Failure::local(Error::new(error).context(format!("cannot read {}", path.display())))
    })
}

fn variables_in(bytes: &[u8], path: &Path) -> Result<Vec<Variable>, Failure> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut variables = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let variable = parse(line).map_err(|reason| {
            let path = path.display();
            Failure::usage(format!("{path}:{}: {reason}", index + 1))
        });
        variables.extend(variable?);
    }
    Ok(variables)
}

/// A variable; none where it is to be this process's, which has none of that name.
fn parse(entry: &[u8]) -> Result<Option<Variable>, String> {
    let equals = entry.iter().position(|byte| *byte == b'=');
    let name = &entry[..equals.unwrap_or(entry.len())];
    // The value may be secret: it is not shown.
    let shown = printable(&String::from_utf8_lossy(name));
    let hint = "write NAME=VALUE, or NAME for the one that is set here";
    if name.is_empty() {
        return Err(format!("there is no variable's name; {hint}"));
    }
    if name.iter().any(u8::is_ascii_whitespace) {
        return Err(format!(
            "'{shown}' has a space in it and names no variable; {hint}"
        ));
    }
    if entry.contains(&0) {
        return Err(format!(
            "the variable '{shown}' has a NUL byte, which none can have"
        ));
    }
    let name = OsStr::from_bytes(name).to_owned();
    let value = match equals {
        Some(at) => Some(OsString::from_vec(entry[at + 1..].to_vec())),
        None => std::env::var_os(&name),
    };
    Ok(value.map(|value| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8]) -> Result<Vec<String>, String> {
        let variables = variables_in(text, Path::new("f"));
        let variables = variables.map_err(|failure| failure.sentence().unwrap())?;
        let shown = |(name, value): &Variable| {
            format!("{}={}", name.to_string_lossy(), value.to_string_lossy())
        };
        Ok(variables.iter().map(shown).collect())
    }

    #[test]
    fn file_of_variables_is_read_as_docker_reads_it() {
        let text = b"\xef\xbb\xbfA=b=c\n\n# comment\n  #x\n \tB= \"q\" # v \r\nC=\nNO_SUCH_VARIABLE_HERE\nA=2";
        let wanted = ["A=b=c", "B= \"q\" # v ", "C=", "A=2"];
        assert_eq!(words(text).unwrap(), wanted);
        let path = std::env::var("PATH").unwrap();
        assert_eq!(words(b"PATH\n").unwrap(), [format!("PATH={path}")]);
        assert!(words(b"").unwrap().is_empty());
    }

    #[test]
    fn bad_line_is_told_by_its_file_and_number() {
        for (text, told) in [
            (&b"A=1\n=b\n"[..], "f:2: there is no variable's name"),
            (b"\n\nA B=1", "f:3: 'A B' has a space"),
            (b"export A=secret", "f:1: 'export A' has a space"),
            (b"A=secret\0", "f:1: the variable 'A' has a NUL byte"),
        ] {
            let sentence = words(text).unwrap_err();
            assert!(sentence.starts_with(told), "{sentence}");
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }
}
