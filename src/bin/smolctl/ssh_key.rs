//! A public key as a word of the kernel's command line, as images with an ssh server read it.

use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest file that is read; an RSA key of 16,384 bits has 2.8 KB.
const MAX_KEY_BYTES: u64 = 4096;
/// What a kernel for x86_64 takes, all words together.
const MAX_COMMAND_LINE_BYTES: usize = 2048;

/// `smolvm.authorized_key_b64=` and the key's only line.
pub(crate) fn word_of(path: &Path) -> Result<String, Failure> {
    let refuse = |reason: &str| {
        Failure::usage(format_args!(
            "{} {reason}; name a public key file, such as ~/.ssh/id_ed25519.pub",
            path.display()
        ))
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY_BYTES).read_to_string(&mut text))
        .map_err(|error| refuse(&format!("cannot be read ({error})")))?;
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
    let word = format!("smolvm.authorized_key_b64={}", STANDARD.encode(key));
    if word.len() > MAX_COMMAND_LINE_BYTES / 2 {
        return Err(refuse("is longer than a kernel's command line allows"));
    }
    Ok(word)
}
