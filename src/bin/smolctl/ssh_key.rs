//! A public key's file, as images with an ssh server take it.

use crate::failure::Failure;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The longest file that is read; an RSA key of 16,384 bits has 2.8 KB.
const MAX_KEY_BYTES: u64 = 4096;

/// The key's only line.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let refuse = |reason: &str| {
        Failure::usage(format_args!(
            "{} {reason}; name a public key file, such as ~/.ssh/id_ed25519.pub",
            path.display()
        ))
    };
    let text = read_text(path).map_err(|error| refuse(&format!("cannot be read ({error})")))?;
    if text.contains("PRIVATE KEY") {
        return Err(refuse("is a private key"));
    }
    let key = text.trim();
    let is_key = key.lines().count() == 1
        && ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|kind| key.starts_with(kind))
        && key.split(' ').count() >= 2;
    if !is_key {
        return Err(refuse("is no public key of one line"));
    }
    Ok(key.to_owned())
}

fn read_text(path: &Path) -> io::Result<String> {
    // Asked before it is opened, for which a pipe would have us wait.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(MAX_KEY_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}
