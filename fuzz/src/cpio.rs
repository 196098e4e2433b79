//! An initramfs, as `smolctl image compare` reads it: as a plain reading of the kernel's page on the format says.

use sha2::{Digest as _, Sha256};
use smolvm_host::image::listing::{Listing, of_initramfs};

const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// The longest target of a link that is read.
const MAX_TARGET_BYTES: usize = 64 * 1024;

/// Checks what is made of an archive.
pub fn check(archive: &[u8]) {
    let found = of_initramfs(archive);
    match plainly(archive) {
        Some(expected) => assert_eq!(found.expect("it is a whole archive"), expected),
        // Our reader takes a sign in a number, a plain reading does not; nobody writes one.
        None => assert!(found.is_err() || has_sign(archive), "{found:?}"),
    }
}

/// Whether a header has a sign where a digit should be; headers begin at multiples of four.
fn has_sign(archive: &[u8]) -> bool {
    let headers = archive
        .chunks(4)
        .enumerate()
        .map(|(at, _)| &archive[4 * at..]);
    headers
        .filter(|rest| rest.starts_with(b"07070"))
        .any(|rest| rest[..HEADER_BYTES.min(rest.len())].contains(&b'+'))
}

fn plainly(archive: &[u8]) -> Option<Listing> {
    let mut listing = Listing::new();
    let mut at = 0;
    loop {
        let header = archive.get(at..at + HEADER_BYTES)?;
        if !matches!(&header[..6], b"070701" | b"070702") {
            return None;
        }
        let field = |number: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * number..][..8]).ok()?;
            let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| are_digits)
        };
        let fields: Vec<u32> = (0..13).map(field).collect::<Option<_>>()?;
        let (mode, uid, gid) = (fields[1], fields[2], fields[3]);
        let (size, name_bytes) = (fields[6] as usize, fields[11] as usize);
        let name_at = at + HEADER_BYTES;
        let name = archive.get(name_at..name_at.checked_add(name_bytes)?)?;
        let name = std::str::from_utf8(name.strip_suffix(b"\0")?)
            .ok()?
            .trim_end_matches('\0');
        let content_at = (name_at + name_bytes).next_multiple_of(4);
        if name == TRAILER {
            let rest = archive.get(content_at..).filter(|_| size == 0)?;
            return rest.iter().all(|byte| *byte == 0).then_some(listing);
        }
        let content = archive.get(content_at..content_at.checked_add(size)?)?;
        let device = format!(" device={}:{}", fields[9], fields[10]);
        let (kind, more) = match mode >> 12 & 0o17 {
            0o04 => ("directory", String::new()),
            0o02 => ("character-device", device),
            0o06 => ("block-device", device),
            0o01 => ("pipe", String::new()),
            0o12 => {
                let target = &content[..size.min(MAX_TARGET_BYTES)];
                (
                    "link",
                    format!(" target={}", word(&String::from_utf8_lossy(target))),
                )
            }
            _ => ("file", format!(" size={size} sha256={}", sum(content))),
        };
        let words = format!(
            "kind={kind} mode={:04o} owner={uid}:{gid}{more}",
            mode & !0o170_000
        );
        listing.insert(path_of(name), words);
        at = (content_at + size).next_multiple_of(4);
    }
}

fn path_of(name: &str) -> String {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    match name.trim_start_matches('/') {
        "." => "/".to_owned(),
        name => format!("/{name}"),
    }
}

fn word(text: &str) -> String {
    text.chars()
        .fold(String::new(), |word, character| match character {
            '\\' => word + "\\\\",
            _ if character.is_whitespace() || character.is_control() => {
                format!("{word}\\u{{{:x}}}", u32::from(character))
            }
            _ => format!("{word}{character}"),
        })
}

fn sum(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
