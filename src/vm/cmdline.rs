//! The kernel's command line of one VM.
//!
//! Owns which words it has: the image's, those of a root on a disk of the caller's, the public key that may
//! log in, the caller's own; and how long it may get. Of several words of a kind a kernel takes the last.

use super::VmError;
use super::machine::Machine;
use super::qemu::MAX_ADDED_BYTES;
use super::start::StartOptions;
use crate::image::{Image, Variant};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a kernel takes for x86_64 or aarch64 (`COMMAND_LINE_SIZE`, 2048, has room for a NUL).
const MAX_BYTES: usize = 2047;
/// As images/ssh/boot-ssh reads it.
const KEY_WORD: &str = "smolvm.authorized_key_b64=";
/// The only disk that there is.
const ROOT_WORDS: &str = "root=/dev/vda rw";

/// The command line for `image` with what the options add.
pub(super) fn of(image: &Image, options: &StartOptions) -> Result<String, VmError> {
    let of_image = image.manifest.cmdline.as_str();
    let mut cmdline = match options.disk {
        None => of_image.to_owned(),
        Some(_) => format!("{} {ROOT_WORDS}", without_root_words(of_image)),
    };
    let key = match &options.authorized_key {
        None => None,
        Some(_) if !may_have_ssh_server(image, options) => {
            let image = image.folder.clone();
            return Err(VmError::NoSshServer { image });
        }
        Some(key) => Some(format!("{KEY_WORD}{}", STANDARD.encode(key))),
    };
    for words in [&key, &options.kernel_append].into_iter().flatten() {
        cmdline.push(' ');
        cmdline.push_str(words);
    }
    let limit = match options.machine {
        Some(Machine::Microvm) => MAX_BYTES - MAX_ADDED_BYTES,
        _ => MAX_BYTES,
    };
    match cmdline.len() {
        bytes if bytes <= limit => Ok(cmdline),
        bytes => Err(VmError::CommandLineTooLong { bytes, limit }),
    }
}

/// What an image says of its own disk holds for no other: that one's init may be elsewhere.
fn without_root_words(cmdline: &str) -> String {
    let is_of_root = |word: &str| {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        matches!(
            name,
            "root" | "rootfstype" | "rootflags" | "init" | "ro" | "rw"
        )
    };
    let words: Vec<&str> = cmdline
        .split(' ')
        .filter(|word| !is_of_root(word))
        .collect();
    words.join(" ")
}

/// Whether there can be somebody who reads the key: what a disk of the caller's or a layout of theirs has is
/// not known here.
fn may_have_ssh_server(image: &Image, options: &StartOptions) -> bool {
    let variant = image.manifest.variant.parse();
    options.disk.is_some() || !matches!(variant, Ok(Variant::Minimal | Variant::Disk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_another_root_go_and_all_others_stay() {
        for (cmdline, left) in [
            (
                "console=ttyS0 panic=-1 quiet",
                "console=ttyS0 panic=-1 quiet",
            ),
            ("console=ttyS0 root=/dev/vda rw init=/init", "console=ttyS0"),
            (
                "ro rootwait rootflags=a,b=c rdinit=/i",
                "rootwait rdinit=/i",
            ),
        ] {
            assert_eq!(without_root_words(cmdline), left);
        }
    }
}
