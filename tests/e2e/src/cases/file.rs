//! Files: sizes, modes, and what cannot be stored.

use crate::checksum::{Checksum, Pattern};
use crate::guest::{Checked, Guest, holds, same};
use smolvm_host::channel::{ChannelError, Fetched};
use smolvm_protocol::checksum::Checksum as Sum;
use smolvm_protocol::request::{Destination, ExpectedSum, Owner};
use std::time::Instant;

/// Around each boundary of a frame and of a write; the largest transfer, which fills every buffer on the way where it is
/// 64 MiB, follows.
const SIZES: [u64; 10] = [
    0,
    1,
    4096,
    28_667,
    28_672,
    28_673,
    65_535,
    65_536,
    65_537,
    1 << 20,
];

fn put(
    guest: &Guest,
    path: &str,
    seed: u64,
    size: u64,
    mode: Option<u32>,
) -> Result<(), ChannelError> {
    let channel = guest.channel().map_err(|error| ChannelError::Write {
        what: "a channel".to_owned(),
        source: std::io::Error::other(error),
    })?;
    let destination = Destination {
        path: path.into(),
        mode,
        ..Destination::default()
    };
    channel.put_file(
        &mut Pattern::new(seed, size),
        size,
        destination,
        guest.deadline(),
    )
}

fn get(guest: &Guest, path: &str) -> Result<(Fetched, Checksum), String> {
    let mut content = Checksum::default();
    let fetched = guest
        .channel()?
        .get_file(path.as_bytes(), &mut content, guest.deadline())
        .map_err(|error| error.to_string())?;
    Ok((fetched, content))
}

pub(crate) fn sizes(guest: &Guest) -> Checked {
    for size in SIZES.into_iter().chain([guest.max_transfer_bytes]) {
        there_and_back(guest, size)?;
    }
    Ok(())
}

/// Four times what fits into any buffer on the way; the guest needs memory for it.
pub(crate) fn large(guest: &Guest) -> Checked {
    there_and_back(guest, 256 << 20)
}

/// Stores a file, fetches it again and compares. Neither is kept here.
fn there_and_back(guest: &Guest, size: u64) -> Checked {
    let began = Instant::now();
    put(guest, "/tmp/sized", size, size, None).map_err(|error| format!("{size} bytes: {error}"))?;
    let there = began.elapsed().as_secs_f64();
    let (fetched, content) = get(guest, "/tmp/sized")?;
    let back = began.elapsed().as_secs_f64() - there;
    if size >= guest.max_transfer_bytes {
        let mib = size >> 20;
        println!("measured: {mib} MiB there in {there:.2} s, back in {back:.2} s");
    }
    same("bytes", &(fetched.bytes, content.bytes), &(size, size))?;
    let sent = Checksum::of(Pattern::new(size, size)).map_err(|error| error.to_string())?;
    let what = format!("checksum of {size} bytes");
    same(&what, &content.sha256(), &sent.sha256())?;
    guest.text("rm /tmp/sized").map(drop)
}

pub(crate) fn mode(guest: &Guest) -> Checked {
    put(guest, "/tmp/moded", 1, 10, Some(0o4751)).map_err(|error| error.to_string())?;
    same(
        "mode",
        &guest.text("stat -c %a /tmp/moded")?,
        &"4751".to_owned(),
    )?;
    put(guest, "/tmp/moded", 2, 20, None).map_err(|error| error.to_string())?;
    let (fetched, _) = get(guest, "/tmp/moded")?;
    same(
        "the new file",
        &fetched,
        &Fetched {
            mode: 0o600,
            bytes: 20,
        },
    )?;
    guest.text("rm /tmp/moded").map(drop)
}

/// With the right sum, before or behind it, it is stored, synced, and sent back with that sum; with another, nothing is.
pub(crate) fn verified(guest: &Guest) -> Checked {
    let size = guest.max_transfer_bytes.min(3 << 20);
    let failed = |error: ChannelError| error.to_string();
    let sum = Checksum::of(Pattern::new(7, size)).map_err(|error| error.to_string())?;
    let sum = Sum(sum.sha256());
    let channel = guest.channel()?;
    let store = |seed, expected| {
        let destination = Destination {
            path: b"/tmp/verified".to_vec(),
            sha256: Some(expected),
            sync: true,
            ..Destination::default()
        };
        channel.put_file(
            &mut Pattern::new(seed, size),
            size,
            destination,
            guest.deadline(),
        )
    };
    store(9, ExpectedSum::Follows).map_err(failed)?;
    store(7, ExpectedSum::Given(sum)).map_err(failed)?;
    match store(8, ExpectedSum::Given(sum)) {
        Err(ChannelError::Refused { sentence }) => {
            holds(&sentence, sentence.contains(&sum.to_string()))?;
        }
        other => return Err(format!("{other:?} where it should be refused")),
    }
    let told = guest.text("sha256sum /tmp/verified; ls -A /tmp | grep smolvm-put || true")?;
    same("the sum there", &told, &format!("{sum}  /tmp/verified"))?;
    let mut content = Checksum::default();
    channel
        .get_file_verified(b"/tmp/verified", &mut content, guest.deadline())
        .map_err(failed)?;
    same("the sum here", &Sum(content.sha256()), &sum)?;
    guest.text("rm /tmp/verified").map(drop)
}

pub(crate) fn owner(guest: &Guest) -> Checked {
    let destination = Destination {
        path: b"/tmp/owned".to_vec(),
        mode: Some(0o4751),
        owner: Owner {
            uid: Some(1234),
            gid: Some(5678),
        },
        ..Destination::default()
    };
    guest
        .channel()?
        .put_file(&mut &b"four"[..], 4, destination, guest.deadline())
        .map_err(|error| error.to_string())?;
    let told = guest.text("stat -c %u:%g:%a /tmp/owned")?;
    same("the owner", &told, &"1234:5678:4751".to_owned())?;
    guest.text("rm /tmp/owned").map(drop)
}

pub(crate) fn full_disk(guest: &Guest) -> Checked {
    guest.text("mkdir /tmp/small && mount -t tmpfs -o size=1m none /tmp/small && echo old >/tmp/small/file")?;
    let refused = put(guest, "/tmp/small/file", 1, 4 << 20, None);
    let left = guest.text("ls -A /tmp/small; cat /tmp/small/file")?;
    guest.text("umount /tmp/small && rmdir /tmp/small")?;
    match refused {
        Err(ChannelError::Refused { .. }) => {}
        other => return Err(format!("{other:?} where it should be refused")),
    }
    same("what is left", &left, &"file\nold".to_owned())
}

pub(crate) fn proc(guest: &Guest) -> Checked {
    let (_, content) = get(guest, "/proc/kallsyms")?;
    holds("it is short", content.bytes > 100_000)
}
